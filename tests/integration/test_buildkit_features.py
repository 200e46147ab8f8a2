"""Every feature of the BuildKit client against real daemons: what it does, or that the client says it cannot.

Effects are read where they land: in images, registries, layers and in what steps print.
"""

# Fixtures are imported by name.
# ruff: noqa: F401, F811

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks_engine.backends.buildkit import session as sessions
from tasks_engine.backends.buildkit.build_secrets import SecretEnv, SecretFile, SecretValue
from tasks_engine.backends.buildkit.client import BuildKitClient
from tasks_engine.backends.buildkit.destinations import ToFile, ToPath
from tasks_engine.backends.buildkit.docker_config import Credential
from tasks_engine.backends.buildkit.docker_load import load_into_docker
from tasks_engine.backends.buildkit.errors import (
    BuildFailed,
    BuildKitError,
    BuildTimedOut,
    ConnectError,
    ConnectionLost,
    CredentialError,
    SecretError,
    UnsupportedFeature,
)
from tasks_engine.backends.buildkit.exporters import (
    Exporter,
    docker_tar,
    files_tar,
    image,
    local,
    moby,
    oci_tar,
)
from tasks_engine.backends.buildkit.ids import random_id
from tasks_engine.backends.buildkit.progress import (
    BuildWarning,
    Event,
    LogClipped,
    LogOutput,
    VertexChanged,
)
from tasks_engine.backends.buildkit.solve import BuildOptions, Cache, inline_cache, registry_cache
from tasks_engine.backends.buildkit.sources import GitSource, ImageSource, UrlSource
from tasks_engine.backends.buildkit.ssh_agent import AgentSocket
from tasks_engine.backends.buildkit.ssh_keys import PrivateKeys
from tests.integration.buildkit_daemons import (
    MANIFEST,
    SHELL,
    Daemon,
    OciTar,
    Registry,
    Relay,
    add_busybox,
    buildkit_address,
    client,
    context,
    daemon,
    docker_api,
    fresh,
    in_run_step,
    inspect,
    nothing_is_left,
    outer_address,
    output_of,
    registry_proxy,
    remove_image,
    run_image,
    serving_files,
    steps_of,
    tar_of,
    transferred,
    write,
)
from tests.services import require

pytestmark = pytest.mark.buildkit


@pytest.fixture
def registry() -> Registry:
    return Registry(require("TASKS_TEST_REGISTRY"))


def fresh_name() -> str:
    """A repository that nobody else uses."""
    return f"features/{random_id()}"


def pushed(name: str, **others: Any) -> Exporter:
    """Into a registry only."""
    return image([name], push=True, store=False, **others)


# --- solve: options ---------------------------------------------------------------------------------------------------


def test_arguments_target_and_labels_reach_the_image(daemon: Daemon, context: Path) -> None:
    who = random_id()
    options = write(
        context,
        f"{SHELL.replace('scratch', 'scratch AS one')}ARG WHO=nobody\nRUN echo hello $WHO\nENV HELLO=$WHO\n"
        "FROM one AS two\nRUN echo never\n",
    )
    options = replace(
        options, build_args={"WHO": who}, target="one", labels={"plain": "1", "with.dots": "a=b, c"}
    )
    events = daemon.build(options).events
    assert f"hello {who}" in output_of(events)
    assert "never" not in output_of(events)
    config = daemon.config(options)["config"]
    assert config["Labels"] == {"plain": "1", "with.dots": "a=b, c"}
    assert f"HELLO={who}" in config["Env"]


def test_foreign_platform_is_the_images(daemon: Daemon, context: Path) -> None:
    options = replace(write(context, "FROM scratch\nCOPY busybox /\n"), platforms=["linux/arm64"])
    assert daemon.config(options)["architecture"] == "arm64"


TWO_PLATFORMS = ("linux/amd64", "linux/arm64")


def test_two_platforms_make_one_oci_index(daemon: Daemon, context: Path) -> None:
    output = io.BytesIO()
    options = write(context, "FROM scratch\nARG TARGETARCH\nCOPY arch-$TARGETARCH /arch\n")
    for arch in ("amd64", "arm64"):
        (context / f"arch-{arch}").write_text(arch)
    options = replace(options, platforms=TWO_PLATFORMS, exporters=[oci_tar([], ToFile(output))])
    if "oci" not in daemon.can.exporters:
        return daemon.refuses(options, "export to 'oci'")
    result = daemon.build(options).result
    tar = OciTar(output.getvalue())
    assert tar.json("index.json")["manifests"][0]["digest"] == result.image_digest
    assert [config["architecture"] for config in tar.configs()] == ["amd64", "arm64"]
    for manifest, arch in zip(tar.manifests(), ("amd64", "arm64"), strict=True):
        layer = gzip.decompress(tar.blob(manifest["layers"][0]["digest"]))
        with tarfile.open(fileobj=io.BytesIO(layer)) as files:
            assert files.extractfile("arch").read() == arch.encode()  # type: ignore[union-attr]
    return None


def test_two_platforms_are_pushed_as_an_index(daemon: Daemon, context: Path, registry: Registry) -> None:
    name = fresh_name()
    options = replace(
        write(context, "FROM scratch\nCOPY busybox /\n"),
        platforms=TWO_PLATFORMS,
        exporters=[pushed(f"{registry.host}/{name}:1")],
    )
    if not daemon.can.can_push:
        return daemon.refuses(options, "export to 'image'")
    result = daemon.build(options).result
    digest, index = registry.image(name, "1")
    assert digest == result.image_digest
    assert [each["platform"]["architecture"] for each in index["manifests"]] == ["amd64", "arm64"]
    return None


def test_cache_is_left_out_for_all_stages_or_some(daemon: Daemon, context: Path) -> None:
    options = write(
        context,
        f"{SHELL.replace('scratch', 'scratch AS one')}ENV FRESH={random_id()}\nRUN echo one\n"
        "FROM one AS two\nRUN echo two\nFROM one AS three\nCOPY --from=two /bin/sh /x\nRUN echo three\n",
    )
    assert daemon.build(options).output.split() == ["one", "two", "three"]
    assert daemon.build(options).output == ""
    assert daemon.build(replace(options, no_cache=True)).output.split() == ["one", "two", "three"]
    assert "two" in daemon.build(replace(options, no_cache=["two"])).output.split()
    assert "one" not in daemon.build(replace(options, no_cache=["two"])).output.split()


def test_pull_looks_a_base_image_up_in_its_registry(
    daemon: Daemon, context: Path, registry: Registry
) -> None:
    if "moby" not in daemon.can.exporters:
        pytest.skip("the daemon has no image store that it would take base images from")
    engine, repository = daemon.engine, fresh_name()
    name = f"{registry.host}/{repository}:1"
    (context / "which").write_text("the daemon's")
    options = write(context, "FROM scratch\nCOPY which /which\n")
    daemon.build(replace(options, exporters=[moby([name])]))
    try:
        based = write(context, f"FROM {name}\nCOPY busybox /\n")
        assert daemon.files(based)["which"] == b"the daemon's"
        with pytest.raises(BuildFailed, match="not found"):
            daemon.build(replace(based, pull=True))
        registry.push(f"{repository}:1", {"which": b"the registry's"})
        assert daemon.files(replace(based, pull=True))["which"] == b"the registry's"
        # With Docker's own store the image that is there does; with containerd's the registry is asked first.
        kept = daemon.client.info().kind == "docker-moby"
        assert daemon.files(based)["which"] == (b"the daemon's" if kept else b"the registry's")
    finally:
        remove_image(engine, name)


def test_hosts_are_added_to_steps(daemon: Daemon, context: Path) -> None:
    options = replace(
        write(context, fresh("RUN busybox cat /etc/hosts\n")),
        add_hosts=[("four.test", "192.0.2.7"), ("six.test", "2001:db8::7"), ("Braces", "[2001:db8::8]")],
    )
    hosts = {tuple(line.split()) for line in daemon.build(options).output.splitlines()}
    assert {("192.0.2.7", "four.test"), ("2001:db8::7", "six.test")} <= hosts
    assert ("2001:db8::8", "braces") in {(address, name.lower()) for address, name, *_ in filter(None, hosts)}


def test_network_of_steps(daemon: Daemon, context: Path) -> None:
    def interfaces(network: Any) -> set[str]:
        options = replace(write(context, fresh("RUN busybox cat /proc/net/dev\n")), network=network)
        output = daemon.build(options).output
        return {line.partition(":")[0].strip() for line in output.splitlines() if ":" in line}

    assert interfaces("none") - {"sit0", "tunl0", "ip6tnl0"} == {"lo"}
    ours = {name for _, name in socket.if_nameindex()}
    assert not interfaces("sandbox") & ours - {"lo", "eth0"}
    try:
        host = interfaces("host")
    except BuildFailed as error:
        if "network.host is not allowed" not in error.message:
            raise
        pytest.skip("the daemon is configured to give no step the network of its host")
    assert host & ours > {"lo"}


STEP_LIMITS = """\
RUN busybox df -k /dev/shm | busybox tail -n 1
RUN ulimit -n && ulimit -Hn
RUN busybox cat /proc/self/cgroup
"""


def test_limits_of_steps(daemon: Daemon, context: Path) -> None:
    options = write(context, fresh(STEP_LIMITS))
    parent = f"bk-{random_id()}"
    each = {
        "shm_size_bytes": 7 << 20,
        "ulimits": {"nofile": (123, 456), "nproc": (1000, 2000)},
        "cgroup_parent": parent,
    }
    if not daemon.can.step_limits:
        for name, value in each.items():
            daemon.refuses(replace(options, **{name: value}), "set ulimits")  # type: ignore[arg-type]
        return
    output = daemon.build(replace(options, **each)).output  # type: ignore[arg-type]
    assert str(7 << 10) in output.split()
    assert "\n123\n456\n" in output
    assert f"/{parent}/" in output


def test_hostname_of_steps(daemon: Daemon, context: Path) -> None:
    options = replace(write(context, fresh("RUN busybox hostname\n")), hostname="builder-7")
    assert daemon.build(options).output == "builder-7\n"


# --- solve: contexts --------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository named repo.git: branches main and other, and a folder `below` with another Dockerfile."""
    work = tmp_path / "git" / "repo.git"
    (work / "below").mkdir(parents=True)
    git(work, "init", "--quiet", "--initial-branch=main")
    (work / "Dockerfile").write_text("FROM scratch\nCOPY file /from-the-root\n")
    (work / "file").write_text("main")
    (work / "below" / "Dockerfile").write_text("FROM scratch\nCOPY file /from-below\n")
    (work / "below" / "file").write_text("below")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "--message=one")
    git(work, "checkout", "--quiet", "-b", "other")
    (work / "file").write_text("other")
    git(work, "commit", "--quiet", "--all", "--message=two")
    git(work, "checkout", "--quiet", "main")
    git(work, "update-server-info")
    return work


def git(folder: Path, *arguments: str) -> str:
    identity = {
        f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | identity | {"GIT_CONFIG_GLOBAL": os.devnull},
    )
    return done.stdout.strip()


@pytest.fixture
def git_url(repository: Path) -> Iterator[str]:
    """git://127.0.0.1:port/repo.git"""
    if not shutil.which("git"):
        pytest.skip("git is not on this machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The daemon itself, not `git daemon`, whose child would outlive it.
    program = Path(git(repository, "--exec-path")) / "git-daemon"
    served = subprocess.Popen(
        [
            str(program),
            "--listen=127.0.0.1",
            f"--port={port}",
            "--export-all",
            "--reuseaddr",
            f"--base-path={repository.parent}",
            str(repository.parent),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline_s = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert served.poll() is None and time.monotonic() < deadline_s, "git-daemon did not start"
            time.sleep(0.01)
        yield f"git://127.0.0.1:{port}/repo.git"
    finally:
        served.terminate()
        served.wait()


def test_git_repository_is_the_context(daemon: Daemon, repository: Path, git_url: str) -> None:
    sha = git(repository, "rev-parse", "other")
    assert daemon.files(BuildOptions(f"{git_url}#main")) == {"from-the-root": b"main"}
    assert daemon.files(BuildOptions(f"{git_url}#other")) == {"from-the-root": b"other"}
    assert daemon.files(BuildOptions(f"{git_url}#{sha}")) == {"from-the-root": b"other"}


def test_folder_of_a_git_repository_is_the_context(daemon: Daemon, git_url: str) -> None:
    options = BuildOptions(f"{git_url}#main:below")
    if not daemon.can.git_folders:
        return daemon.refuses(options, "take a folder of a git repository")
    assert daemon.files(options) == {"from-below": b"below"}
    return None


def test_dockerfile_from_here_builds_a_git_context(daemon: Daemon, git_url: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile.here").write_text("FROM scratch\nCOPY below/file /from-here\n")
    options = BuildOptions(f"{git_url}#other", tmp_path / "Dockerfile.here")
    assert daemon.files(options) == {"from-here": b"below"}


def test_other_dockerfile_of_a_git_repository(daemon: Daemon, git_url: str) -> None:
    assert daemon.files(BuildOptions(f"{git_url}#main", "below/Dockerfile")) == {"from-below": b"main"}


def test_git_repository_over_http_is_the_context(daemon: Daemon, repository: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(repository / ".git", bare / "repo.git")
    with serving_files(bare) as url:
        assert daemon.files(BuildOptions(f"{url}/repo.git#main")) == {"from-the-root": b"main"}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_tar_by_url_is_the_context(daemon: Daemon, tmp_path: Path, suffix: str) -> None:
    token = random_id()
    tar = tar_of(
        {
            "Dockerfile": (b"FROM scratch\nCOPY file /from-the-root\n", 0o644),
            "file": (token.encode(), 0o644),
            "below/Dockerfile": (b"FROM scratch\nCOPY file /from-below\n", 0o644),
            "below/file": (b"below " + token.encode(), 0o644),
        }
    )
    (tmp_path / "Dockerfile.here").write_text("FROM scratch\nCOPY below/file /from-here\n")
    name = f"/context{suffix}"
    with serving_files({name: gzip.compress(tar) if suffix == ".tar.gz" else tar}) as url:
        assert daemon.files(BuildOptions(f"{url}{name}")) == {"from-the-root": token.encode()}
        below = BuildOptions(f"{url}{name}", context_folder="below")
        assert daemon.files(below) == {"from-below": f"below {token}".encode()}
        here = BuildOptions(f"{url}{name}", tmp_path / "Dockerfile.here")
        assert daemon.files(here) == {"from-here": f"below {token}".encode()}


def test_named_contexts_of_every_kind(
    daemon: Daemon, context: Path, tmp_path: Path, git_url: str, registry: Registry
) -> None:
    token = random_id()
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "file").write_text(f"folder {token}")
    name = fresh_name()
    registry.push(f"{name}:1", {"file": f"image {token}".encode()})
    steps = "".join(f"COPY --from={kind} /file /{kind}\n" for kind in ("folder", "url", "git", "image"))
    options = write(context, f"FROM base AS base-of-all\n{steps}")
    with serving_files({"/file": f"url {token}".encode()}) as url:
        options = replace(
            options,
            contexts={
                "base": f"docker-image://{registry.host}/{name}:1",
                "image": f"docker-image://{registry.host}/{name}:1",
                "folder": tmp_path / "extra",
                "git": f"{git_url}#other",
                "url": f"{url}/file",
            },
        )
        if not daemon.can.named_contexts:
            return daemon.refuses(options, "take named contexts")
        assert daemon.files(options) == {
            "file": f"image {token}".encode(),
            "image": f"image {token}".encode(),
            "folder": f"folder {token}".encode(),
            "url": f"url {token}".encode(),
            "git": b"other",
        }
    return None


def test_named_context_stands_for_a_stage(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    (tmp_path / "instead").mkdir()
    (tmp_path / "instead" / "file").write_text("the folder's")
    (context / "file").write_text("the stage's")
    options = write(context, "FROM scratch AS parts\nCOPY file /\nFROM scratch\nCOPY --from=parts /file /\n")
    instead = replace(options, contexts={"parts": tmp_path / "instead"})
    assert daemon.files(options) == {"file": b"the stage's"}
    if not daemon.can.named_contexts:
        return daemon.refuses(instead, "take named contexts")
    assert daemon.files(instead) == {"file": b"the folder's"}
    return None


# --- solve: cache -----------------------------------------------------------------------------------------------------


def cacheable(context: Path, token: str) -> BuildOptions:
    """Two stages; every step has the token in its name, by which it can be pruned."""
    (context / f"data-{token}").write_text(token)
    return write(
        context,
        f"FROM scratch AS tools\nCOPY busybox /{token}/bin/sh\nENV PATH=/{token}/bin\n"
        f'RUN ["/{token}/bin/sh", "-c", "echo {token} >/made"]\n'
        f"FROM scratch\nCOPY --from=tools /made /{token}\nCOPY data-{token} /data\n",
    )


def prune_steps(daemon: Daemon, token: str, since: datetime, *, at_least: int) -> None:
    """Removes what steps with the token left in the cache, and nothing else."""
    pruned = 0
    deadline_s = time.monotonic() + 5
    while pruned < at_least:
        assert time.monotonic() < deadline_s, f"{pruned} records pruned, not {at_least}"
        records = daemon.client.disk_usage([f"description~={token}"])
        if not daemon.can.history:
            # There the description of a COPY does not name it.
            records = tuple(r for r in daemon.client.disk_usage() if r.created_at and r.created_at >= since)
        if records:
            # A moment after a build they may still be in use. No filter would be one for everything.
            pruned += len(list(daemon.client.prune(filters=[f"id=={record.id}" for record in records])))


def own_steps(events: Sequence[Event]) -> dict[str, bool]:
    """Name -> cached, of the Dockerfile's steps but FROM."""
    return {
        name: step.cached
        for name, step in steps_of(events).items()
        if re.match(r"\[(?!internal|auth)[^\]]*\] (?!FROM)", name)
    }


def test_cache_of_all_stages_comes_back_from_a_registry(
    daemon: Daemon, context: Path, registry: Registry
) -> None:
    token = random_id()
    since = datetime.now(UTC)
    ref = f"{registry.host}/{fresh_name()}:cache"
    options = cacheable(context, token)
    exported = replace(options, cache_to=[registry_cache(ref, mode="max")])
    if "registry" not in daemon.can.cache_exports:
        return daemon.refuses(exported, "export its cache to 'registry'")
    daemon.build(exported)
    prune_steps(daemon, token, since, at_least=4)
    assert not any(own_steps(daemon.build(replace(options, cache_from=())).events).values())
    prune_steps(daemon, token, since, at_least=4)
    again = daemon.build(replace(options, cache_from=[registry_cache(ref)]))
    assert len(own_steps(again.events)) == 4
    assert all(own_steps(again.events).values())
    assert again.output == ""
    return None


def test_cache_within_an_image_comes_back(daemon: Daemon, context: Path, registry: Registry) -> None:
    token, since = random_id(), datetime.now(UTC)
    name = f"{registry.host}/{fresh_name()}:1"
    # Only what is in the image can come back: no other stages.
    options = write(
        context,
        f"FROM scratch\nCOPY busybox /{token}/bin/sh\n"
        f'RUN ["/{token}/bin/sh", "-c", "echo {token} >/made"]\nCOPY busybox /{token}/again\n',
    )
    options = replace(options, cache_to=[inline_cache()])
    if daemon.can.can_push:
        daemon.build(replace(options, exporters=[pushed(name)]))
    else:
        daemon.build(replace(options, exporters=[moby([name])]))
        with docker_api(daemon.engine) as api:
            assert "error" not in str(api.push(name))
        remove_image(daemon.engine, name)
    prune_steps(daemon, token, since, at_least=3)
    again = daemon.build(replace(options, cache_to=(), cache_from=[registry_cache(name)]))
    assert len(own_steps(again.events)) == 3
    assert all(own_steps(again.events).values())


def test_cache_that_is_not_there_does_not_fail_the_build(
    daemon: Daemon, context: Path, registry: Registry
) -> None:
    missing = registry_cache(f"{registry.host}/{fresh_name()}:none")
    events = daemon.build(replace(write(context, SHELL), cache_from=[missing])).events
    assert [name for name, step in steps_of(events).items() if step.error and "importing cache" in name]


@pytest.mark.parametrize("way", ["cache_to", "cache_from"])
def test_cache_in_a_local_folder_is_refused(daemon: Daemon, context: Path, tmp_path: Path, way: str) -> None:
    place = {"dest" if way == "cache_to" else "src": str(tmp_path / "cache"), "digest": f"sha256:{'0' * 64}"}
    options = replace(write(context, SHELL), **{way: [Cache("local", place)]})  # type: ignore[arg-type]
    daemon.refuses(options, "cache in a local folder", who="")
    assert not (tmp_path / "cache").exists()


# --- solve: several exporters, attestations, time ---------------------------------------------------------------------


def test_one_build_is_exported_in_several_ways(
    daemon: Daemon, context: Path, tmp_path: Path, registry: Registry
) -> None:
    name = fresh_name()
    (context / "file").write_text(name)
    output = io.BytesIO()
    options = replace(
        write(context, "FROM scratch\nCOPY file /\n"),
        exporters=[
            local(tmp_path / "out"),
            oci_tar([], ToPath(tmp_path / "image.tar")),
            files_tar(ToFile(output)),
        ],
    )
    if not daemon.can.several_exporters:
        return daemon.refuses(options, "export one build in several ways")
    if daemon.can.can_push:
        options = replace(options, exporters=[*options.exporters, pushed(f"{registry.host}/{name}:1")])
    daemon.build(options)
    assert (tmp_path / "out" / "file").read_text() == name
    oci = OciTar((tmp_path / "image.tar").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(output.getvalue())) as tar:
        assert "file" in tar.getnames()
    _, manifest = registry.image(name, "1")
    assert manifest["config"]["digest"] == oci.manifests()[0]["config"]["digest"]
    return None


def attestations(registry: Registry, name: str, tag: str) -> dict[str, dict[str, Any]]:
    """Type of a predicate -> statement, of all that is attached to a pushed image."""
    _, index = registry.image(name, tag)
    images = {each["digest"] for each in index["manifests"] if each["platform"]["os"] != "unknown"}
    found = {}
    for each in index["manifests"]:
        if each.get("annotations", {}).get("vnd.docker.reference.type") != "attestation-manifest":
            continue
        assert each["annotations"]["vnd.docker.reference.digest"] in images
        _, manifest = registry.image(name, each["digest"])
        for layer in manifest["layers"]:
            kind = layer["annotations"]["in-toto.io/predicate-type"]
            found[kind] = json.loads(registry.blob(name, layer["digest"]))
    return found


@pytest.mark.parametrize("mode", ["min", "max"])
def test_provenance_is_attached(daemon: Daemon, context: Path, registry: Registry, mode: Any) -> None:
    name = fresh_name()
    options = replace(
        write(context, f"FROM scratch\n# only in the larger form\nCOPY busybox /{name}\n"),
        provenance=mode,
        build_args={"SOME": "argument"},
        exporters=[pushed(f"{registry.host}/{name}:1")],
    )
    if not daemon.can.attestations:
        return daemon.refuses(options, "make attestations")
    result = daemon.build(options).result
    digest, index = registry.image(name, "1")
    assert digest == result.image_digest
    (statement,) = attestations(registry, name, "1").values()
    assert statement["predicateType"].startswith("https://slsa.dev/provenance/")
    assert index["manifests"][0]["digest"].removeprefix("sha256:") in str(statement["subject"])
    text = json.dumps(statement["predicate"])
    assert ("buildConfig" in text) is (mode == "max")
    assert ("argument" in text) is (mode == "max")
    return None


#: https://github.com/moby/buildkit/blob/master/docs/attestations/sbom-protocol.md
SCANNER = """\
#!/bin/sh
mkdir -p "$BUILDKIT_SCAN_DESTINATION"
cd "$BUILDKIT_SCAN_SOURCE" || exit 1
echo '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":
{"spdxVersion":"SPDX-2.3","name":"'$(busybox ls)'"}}' >"$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json"
"""


def test_sbom_of_a_scanner_is_attached(daemon: Daemon, context: Path, registry: Registry) -> None:
    name, scanner, token = fresh_name(), fresh_name(), random_id()
    (context / token).write_text("x")
    options = replace(
        write(context, f"FROM scratch\nCOPY {token} /\n"),
        sbom_generator=f"{registry.host}/{scanner}:1",
        exporters=[pushed(f"{registry.host}/{name}:1")],
    )
    if not daemon.can.attestations:
        return daemon.refuses(options, "make attestations")
    program = (context / "busybox").read_bytes()
    registry.push(
        f"{scanner}:1",
        {"bin/sh": program, "bin/mkdir": program, "bin/busybox": program, "scan": SCANNER.encode()},
        config={"Entrypoint": ["/scan"], "Env": ["PATH=/bin"]},
    )
    daemon.build(options)
    statement = attestations(registry, name, "1")["https://spdx.dev/Document"]
    assert statement["predicate"]["spdxVersion"] == "SPDX-2.3"
    assert statement["predicate"]["name"] == token
    assert statement["subject"]
    return None


def test_fixed_time_gives_the_same_image_twice(daemon: Daemon, context: Path) -> None:
    epoch = 1_500_000_000
    token = random_id()
    os.utime(context / "busybox", (epoch - 5, epoch - 5))
    options = write(context, f"FROM scratch\nWORKDIR /{token}\nCOPY busybox /{token}/a/b/\n")
    options = replace(options, no_cache=True, source_date_epoch=epoch)
    if "oci" not in daemon.can.exporters:
        return daemon.refuses(options, "a fixed time")
    digests = set()
    for pause_s in (1.1, 0):
        output = io.BytesIO()
        exporter = oci_tar([], ToFile(output), rewrite_timestamp=True)
        result = daemon.build(replace(options, exporters=[exporter])).result
        digests.add(result.image_digest)
        config = OciTar(output.getvalue()).configs()[0]
        assert config["created"] == datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z")
        time.sleep(pause_s)
    assert len(digests) == 1
    return None


# --- exporters --------------------------------------------------------------------------------------------------------


def with_file(context: Path, content: str) -> BuildOptions:
    """Options of a build whose result is one file."""
    (context / "file").write_text(content)
    return write(context, "FROM scratch\nCOPY file /file\n")


def test_image_is_pushed_under_all_its_names(daemon: Daemon, context: Path, registry: Registry) -> None:
    one, two, token = fresh_name(), fresh_name(), random_id()
    names = [f"{registry.host}/{one}:1", f"{registry.host}/{one}:2", f"{registry.host}/{two}:1"]
    options = replace(with_file(context, token), exporters=[image(names, push=True)])
    if not daemon.can.can_push:
        return daemon.refuses(options, "export to 'image'")
    result = daemon.build(options).result
    for name in names:
        repository, _, tag = name.removeprefix(f"{registry.host}/").partition(":")
        digest, manifest = registry.image(repository, tag)
        assert digest == result.image_digest
        assert manifest["config"]["digest"] == result.image_id
        layer = gzip.decompress(registry.blob(repository, manifest["layers"][0]["digest"]))
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            assert tar.extractfile("file").read() == token.encode()  # type: ignore[union-attr]
    return None


def test_image_is_pushed_by_its_digest_alone(daemon: Daemon, context: Path, registry: Registry) -> None:
    name = fresh_name()
    exporter = image([f"{registry.host}/{name}"], push_by_digest=True, store=False)
    options = replace(with_file(context, name), exporters=[exporter])
    if not daemon.can.can_push:
        return daemon.refuses(options, "export to 'image'")
    result = daemon.build(options).result
    assert result.image_digest
    assert registry.image(name, result.image_digest)[1]["config"]["digest"] == result.image_id
    with pytest.raises(LookupError, match="404"):
        registry.image(name, "latest")
    return None


def test_plain_http_is_for_registries_that_are_called_insecure(
    daemon: Daemon, context: Path, registry: Registry
) -> None:
    name = fresh_name()
    options = with_file(context, name)
    with registry_proxy(registry.host, host=outer_address()) as (host, seen):
        full_name = f"{host}/{name}:1"
        insecure = replace(options, exporters=[pushed(full_name, insecure=True)])
        if not daemon.can.can_push:
            return daemon.refuses(insecure, "export to 'image'")
        with pytest.raises(BuildFailed, match=r"push|https?:"):
            daemon.build(replace(options, exporters=[pushed(full_name)]))
        assert not seen.requests
        result = daemon.build(insecure).result
        assert registry.image(name, "1")[0] == result.image_digest
    return None


@pytest.mark.parametrize(
    ("compression", "media_type"),
    [
        ("uncompressed", "application/vnd.oci.image.layer.v1.tar"),
        ("gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
    ],
)
def test_layers_are_compressed_as_wanted(
    daemon: Daemon, context: Path, registry: Registry, compression: Any, media_type: str
) -> None:
    name = fresh_name()
    exporter = pushed(
        f"{registry.host}/{name}:1",
        compression=compression,
        compression_level=None if compression == "uncompressed" else 3,
        force_compression=True,
        oci_media_types=True,
    )
    options = replace(with_file(context, "x" * 5000 + name), exporters=[exporter])
    if not daemon.can.can_push:
        return daemon.refuses(options, "export to 'image'")
    daemon.build(options)
    (layer,) = registry.image(name, "1")[1]["layers"]
    assert layer["mediaType"] == media_type
    assert (layer["size"] > 5000) is (compression == "uncompressed")
    return None


def test_annotations_are_in_manifests_and_indexes(daemon: Daemon, context: Path, registry: Registry) -> None:
    name = fresh_name()
    annotations = {"plain": "p, q", "manifest:a.b": "m", "index:a.b": "i", "manifest-descriptor:a.b": "d"}
    exporter = pushed(f"{registry.host}/{name}:1", oci_media_types=True, annotations=annotations)
    options = replace(with_file(context, name), platforms=TWO_PLATFORMS, exporters=[exporter])
    if not daemon.can.can_push:
        return daemon.refuses(options, "export to 'image'")
    daemon.build(options)
    _, index = registry.image(name, "1")
    assert index["annotations"] == {"a.b": "i"}
    for each in index["manifests"]:
        assert each["annotations"]["a.b"] == "d"
        _, manifest = registry.image(name, each["digest"])
        assert manifest["mediaType"] == MANIFEST
        assert manifest["annotations"] == {"plain": "p, q", "a.b": "m"}
    return None


def test_image_is_in_docker_under_all_its_names(daemon: Daemon, context: Path) -> None:
    names = [f"bk-{random_id()}:1", f"bk-{random_id()}:two"]
    options = replace(write(context, fresh("RUN echo made >/made\n")), exporters=[moby(names)])
    if "moby" not in daemon.can.exporters:
        return daemon.refuses(options, "export to 'moby'")
    engine = daemon.engine
    result = daemon.build(options).result
    try:
        for name in names:
            found = inspect(engine, name)
            assert found["Id"] in (result.image_id, result.image_digest)
            assert run_image(engine, name, ["/bin/busybox", "cat", "/made"]) == "made\n"
    finally:
        for name in names:
            remove_image(engine, name)
    return None


def test_docker_tar_comes_to_a_path_and_a_file(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    name, token = f"bk-{random_id()}:1", random_id()
    options = with_file(context, token)
    to_path = replace(options, exporters=[docker_tar([name], ToPath(tmp_path / "image.tar"))])
    if "docker" not in daemon.can.exporters:
        daemon.refuses(to_path, "export to 'docker'")
        assert [each.name for each in tmp_path.iterdir()] == ["context"]
        return
    daemon.build(to_path)
    output = io.BytesIO()
    daemon.build(replace(options, exporters=[docker_tar([name], ToFile(output))]))
    for data in ((tmp_path / "image.tar").read_bytes(), output.getvalue()):
        tar = OciTar(data)
        (entry,) = json.loads(tar.files["manifest.json"])
        assert [tag.rpartition("/")[2] for tag in entry["RepoTags"]] == [name]
        with tarfile.open(fileobj=io.BytesIO(tar.files[entry["Layers"][0]])) as layer:
            assert layer.extractfile("file").read() == token.encode()  # type: ignore[union-attr]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["context", "image.tar"]


def test_docker_tar_is_loaded_into_another_engine(daemon: Daemon, context: Path) -> None:
    engine = require("TASKS_TEST_OLD_ENGINE")
    name, token = f"bk-{random_id()}:1", random_id()
    options = replace(
        write(context, fresh(f"RUN echo {token} >/made\n")),
        exporters=[docker_tar([name], load_into_docker(engine))],
    )
    if "docker" not in daemon.can.exporters:
        return daemon.refuses(options, "export to 'docker'")
    result = daemon.build(options).result
    try:
        assert inspect(engine, name)["Id"] == result.image_id
        assert run_image(engine, name, ["/bin/busybox", "cat", "/made"]) == f"{token}\n"
    finally:
        remove_image(engine, name)
    return None


def test_oci_tar_has_the_layout_of_the_specification(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    token = random_id()
    exporter = oci_tar(["example.org/app:7"], ToPath(tmp_path / "image.tar"), annotations={"a.b": token})
    options = replace(with_file(context, token), exporters=[exporter])
    if "oci" not in daemon.can.exporters:
        return daemon.refuses(options, "export to 'oci'")
    result = daemon.build(options).result
    tar = OciTar((tmp_path / "image.tar").read_bytes())
    assert tar.json("oci-layout") == {"imageLayoutVersion": "1.0.0"}
    (described,) = tar.json("index.json")["manifests"]
    assert described["digest"] == result.image_digest
    assert described["annotations"]["io.containerd.image.name"] == "example.org/app:7"
    (manifest,) = tar.manifests()
    assert manifest["annotations"] == {"a.b": token}
    assert manifest["config"]["digest"] == result.image_id
    assert "manifest.json" not in tar.files
    return None


TREE = """\
FROM scratch
COPY tree /
"""


def make_tree(context: Path) -> BuildOptions:
    tree = context / "tree"
    (tree / "folder" / "below").mkdir(parents=True)
    (tree / "folder" / "below" / "file").write_bytes(os.urandom(200_000))
    (tree / "program").write_text("#!/bin/sh\n")
    (tree / "program").chmod(0o755)
    (tree / "private").write_text("p")
    (tree / "private").chmod(0o600)
    (tree / "sticky").mkdir()
    (tree / "sticky").chmod(0o1777)
    (tree / "link").symlink_to("folder/below/file")
    (tree / "dangling").symlink_to("/no/where")
    (tree / "ünï cödé").write_text("u")
    os.link(tree / "program", tree / "folder" / "again")
    # The daemon takes a file of the same path, size and time for the one it has.
    moment = 1_500_000_000 + int.from_bytes(os.urandom(3), "big")
    for path in tree.rglob("*"):
        os.utime(path, (moment, moment), follow_symlinks=False)
    return write(context, TREE)


def facts_of(root: Path) -> dict[str, tuple[str, object, int]]:
    """Path -> mode, content or target, and time of what is not a folder."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        moment = 0 if path.is_dir() else int(status.st_mtime)
        found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), content, moment)
    return found


def test_files_come_to_a_folder(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    options = replace(make_tree(context), exporters=[local(tmp_path / "out")])
    daemon.build(options)
    assert facts_of(tmp_path / "out") == facts_of(context / "tree")
    assert (tmp_path / "out/program").samefile(tmp_path / "out/folder/again")


def test_files_come_to_a_folder_that_is_there(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("stays")
    out = tmp_path / "out"
    (out / "folder" / "below").mkdir(parents=True)
    (out / "folder" / "mine").write_text("mine")
    (out / "folder" / "below" / "file").write_text("old")
    (out / "program").symlink_to(outside)
    options = replace(make_tree(context), exporters=[local(out)])
    daemon.build(options)
    expected = facts_of(context / "tree") | {"folder/mine": facts_of(out)["folder/mine"]}
    assert facts_of(out) == expected
    assert (out / "folder" / "mine").read_text() == "mine"
    assert outside.read_text() == "stays"
    before = facts_of(out)
    daemon.build(options)
    assert facts_of(out) == before


def test_files_come_as_a_tar(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    daemon.build(replace(make_tree(context), exporters=[files_tar(ToPath(tmp_path / "out.tar"))]))
    with tarfile.open(tmp_path / "out.tar") as tar:
        members = {member.name.rstrip("/"): member for member in tar}
    assert set(members) == set(facts_of(context / "tree"))
    assert members["private"].mode & 0o777 == 0o600
    assert members["sticky"].mode & 0o7777 == 0o1777
    assert members["link"].linkname == "folder/below/file"
    assert {members["program"].type, members["folder/again"].type} == {tarfile.REGTYPE, tarfile.LNKTYPE}


@pytest.mark.parametrize("kind", ["path", "folder", "docker"])
def test_failed_build_leaves_nothing_at_the_destination(
    daemon: Daemon, context: Path, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "there.tar").write_text("old")
    exporter: Exporter
    if kind == "folder":
        exporter = local(tmp_path / "out")
    elif kind == "path":
        exporter = files_tar(ToPath(tmp_path / "there.tar"))
    else:
        exporter = docker_tar(["x:1"], ToPath(tmp_path / "there.tar"))
    options = replace(write(context, f"{SHELL}RUN exit 3\n"), exporters=[exporter])
    if exporter.type not in daemon.can.exporters:
        return daemon.refuses(options, f"export to '{exporter.type}'")
    with pytest.raises(BuildFailed, match="exit code 3"):
        daemon.build(options)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["context", "there.tar"]
    assert (tmp_path / "there.tar").read_text() == "old"
    return None


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_of_every_kind_arrive_and_stay_nowhere(
    daemon: Daemon, context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, file, variable = (random_id() for _ in range(3))
    (tmp_path / "secret").write_bytes(file.encode() + b"\n\x00\xff")
    monkeypatch.setenv("SECRET_OF_THE_TEST", variable)
    (context / "check.sh").write_text(
        "set -e\n"
        'test "$(busybox md5sum </run/secrets/value)" = "$1"\n'
        'test "$(busybox md5sum </somewhere/file)" = "$2"\n'
        'test "$(busybox md5sum </run/secrets/variable)" = "$3"\n'
        "test ! -e /run/secrets/absent\n"
        "busybox stat -c '%a %u' /somewhere/file\n"
    )
    sums = " ".join(
        f'"{md5(data)}"' for data in (value.encode(), (tmp_path / "secret").read_bytes(), variable.encode())
    )
    mounts = (
        "--mount=type=secret,id=value --mount=type=secret,id=file,target=/somewhere/file,mode=0440,uid=7 "
        "--mount=type=secret,id=variable,required=true --mount=type=secret,id=absent"
    )
    options = write(
        context, fresh(f"COPY check.sh /\nRUN {mounts} sh /check.sh {sums} && echo fine >/made\n")
    )
    output = io.BytesIO()
    options = replace(options, exporters=[files_tar(ToFile(output))])
    built = daemon.build(
        options,
        secrets={
            "value": SecretValue(value.encode()),
            "file": SecretFile(tmp_path / "secret"),
            "variable": SecretEnv("SECRET_OF_THE_TEST"),
        },
    )
    assert built.output == "440 7\n"
    told = repr(built.events) + repr(built.result)
    if daemon.can.history:
        records = [record for record in daemon.client.history() if record.ref == built.result.ref]
        assert len(records) == 1
        told += repr(records)
    for secret in (value, file, variable):
        assert secret not in told
        assert secret.encode() not in output.getvalue()
    with tarfile.open(fileobj=io.BytesIO(output.getvalue())) as tar:
        assert "made" in tar.getnames()


def md5(data: bytes) -> str:
    """As busybox prints it."""
    return f"{hashlib.md5(data).hexdigest()}  -"


def test_secret_that_is_required_and_missing_fails_the_step(daemon: Daemon, context: Path) -> None:
    options = write(context, fresh("RUN --mount=type=secret,id=gone,required=true echo never\n"))
    for access in ({}, {"secrets": {"other": SecretValue(b"x")}}):
        with pytest.raises(BuildFailed) as caught:
            daemon.build(options, **access)
        assert caught.value.message == "the build was not given the secret 'gone'"
        assert caught.value.dockerfile_line == 5


def test_secret_that_cannot_be_read_ends_the_build_before_it_begins(
    daemon: Daemon, context: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    with pytest.raises(SecretError, match=r"no-such-file"):
        daemon.client.build(
            write(context, SHELL),
            on_event=events.append,
            secrets={"x": SecretFile(tmp_path / "no-such-file")},
        )
    assert not events


# --- SSH --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ssh_key(tmp_path: Path) -> Path:
    if not all(shutil.which(program) for program in ("ssh-agent", "ssh-add", "ssh-keygen", "ldd")):
        pytest.skip("OpenSSH is not on this machine")
    key = tmp_path / "key"
    arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "key-of-the-test", "-f", str(key)]
    subprocess.run(["ssh-keygen", *arguments], check=True)
    return key


@pytest.fixture
def ssh_context(context: Path, ssh_key: Path) -> Path:
    """A context whose folder `root` has ssh-add and all it needs."""
    programs = [Path(os.path.realpath(str(shutil.which("ssh-add"))))]
    listed = subprocess.run(["ldd", str(programs[0])], check=True, capture_output=True, text=True).stdout
    programs += [Path(path) for path in re.findall(r"(/\S+) \(0x", listed)]
    for program in programs:
        place = context / "root" / str(program).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(program, place)
    (context / "root" / "etc").mkdir()
    (context / "root" / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    return context


@pytest.fixture
def ssh_agent(ssh_key: Path) -> Iterator[Path]:
    """The socket of a running agent that has the key."""
    # Not below tmp_path: the path of a unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="agent-", dir="/tmp") as folder:
        place = Path(folder) / "agent"
        running = subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL)
        try:
            deadline_s = time.monotonic() + 10
            while not place.exists():
                assert time.monotonic() < deadline_s, "ssh-agent did not start"
                time.sleep(0.01)
            subprocess.run(
                ["ssh-add", "-q", str(ssh_key)],
                check=True,
                env=os.environ | {"SSH_AUTH_SOCK": str(place)},
                stderr=subprocess.DEVNULL,
            )
            yield place
        finally:
            running.terminate()
            running.wait()


def ssh_steps(*commands: str) -> str:
    return fresh("COPY root /\n" + "".join(f"RUN {command}\n" for command in commands))


def fingerprint(key: Path) -> str:
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


@pytest.mark.parametrize("kind", ["agent", "keys"])
def test_keys_of_an_agent_are_there_in_a_step(
    daemon: Daemon, ssh_context: Path, ssh_key: Path, ssh_agent: Path, kind: str
) -> None:
    agent = AgentSocket(ssh_agent) if kind == "agent" else PrivateKeys([ssh_key])
    options = write(
        ssh_context,
        ssh_steps(
            "--mount=type=ssh,required=true ssh-add -l",
            "--mount=type=ssh,id=other ssh-add -l",
            f"--mount=type=ssh ssh-add -T /{ssh_key.name}.pub && echo signed",
        ),
    )
    shutil.copy(f"{ssh_key}.pub", ssh_context / "root")
    output = daemon.build(options, ssh={"default": agent, "other": agent}).output
    assert output.count(fingerprint(ssh_key)) == 2
    # It signs with the private key, and checks that with the public one.
    assert "signed" in output


@pytest.mark.parametrize("kind", ["agent", "keys"])
def test_key_cannot_be_added_to_an_agent(
    daemon: Daemon, ssh_context: Path, ssh_key: Path, ssh_agent: Path, tmp_path: Path, kind: str
) -> None:
    agent = AgentSocket(ssh_agent) if kind == "agent" else PrivateKeys([ssh_key])
    arguments = ["-q", "-t", "ed25519", "-N", "", "-f", str(ssh_context / "root" / "new")]
    subprocess.run(["ssh-keygen", *arguments], check=True)
    steps = ssh_steps("--mount=type=ssh ssh-add /new; echo added $?; ssh-add -D; echo removed $?; ssh-add -l")
    output = daemon.build(write(ssh_context, steps), ssh={"default": agent}).output
    assert "added 1" in output
    assert "removed 1" in output
    assert output.count("ED25519") == 1
    assert fingerprint(ssh_key) in output


def test_agent_that_is_required_and_missing_fails_the_step(daemon: Daemon, context: Path) -> None:
    options = write(context, fresh("RUN --mount=type=ssh,required=true echo never\n"))
    with pytest.raises(BuildFailed, match=r"^the build was not given the SSH agent 'default'$") as caught:
        daemon.build(options)
    assert caught.value.dockerfile_line == 5
    optional = write(context, fresh("RUN --mount=type=ssh busybox test -e $SSH_AUTH_SOCK; echo $?\n"))
    assert daemon.build(optional).output == "1\n"


# --- logins -----------------------------------------------------------------------------------------------------------


LOGIN = Credential("tester", "correct horse")


@pytest.fixture
def login_registry() -> Registry:
    return Registry(require("TASKS_TEST_LOGIN_REGISTRY"), f"{LOGIN.username}:{LOGIN.secret}")


def test_login_serves_pulls_and_pushes(daemon: Daemon, context: Path, login_registry: Registry) -> None:
    base, result, token = fresh_name(), fresh_name(), random_id()
    login_registry.push(f"{base}:1", {"file": token.encode()})
    host = login_registry.host
    options = write(context, f"FROM {host}/{base}:1\n")
    assert daemon.files(options, credentials=lambda _: LOGIN) == {"file": token.encode()}
    push = replace(options, exporters=[pushed(f"{host}/{result}:1")])
    if not daemon.can.can_push:
        return daemon.refuses(push, "export to 'image'", credentials=lambda _: LOGIN)
    built = daemon.build(push, credentials=lambda _: LOGIN)
    assert login_registry.image(result, "1")[0] == built.result.image_digest
    return None


@pytest.mark.parametrize("login", [None, Credential("tester", "wrong pony")])
def test_wrong_login_is_told(
    daemon: Daemon, context: Path, login_registry: Registry, login: Credential | None
) -> None:
    base = fresh_name()
    login_registry.push(f"{base}:1", {"file": b"x"})
    options = write(context, f"FROM {login_registry.host}/{base}:1\n")
    with pytest.raises(BuildFailed, match=r"the registry refused access.*401") as caught:
        daemon.build(options, credentials=lambda _: login)
    assert caught.value.dockerfile_line == 1
    assert "pony" not in str(caught.value)
    if daemon.can.can_push:
        name = f"{login_registry.host}/{fresh_name()}:1"
        options = replace(with_file(context, base), exporters=[pushed(name)])
        with pytest.raises(BuildFailed, match="the registry refused access"):
            daemon.build(options, credentials=lambda _: login)


def test_password_of_a_registry_with_tokens_stays_here(
    daemon: Daemon, context: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    log_in = sessions.Logins._log_in

    def watched(logins: Any, request: Any) -> Any:
        response = log_in(logins, request)
        given.append(response.secret)  # type: ignore[attr-defined]
        return response

    monkeypatch.setattr(sessions.Logins, "_log_in", watched)
    base, result, token = fresh_name(), fresh_name(), random_id()
    registry.push(f"{base}:1", {"file": token.encode()})
    with registry_proxy(registry.host, login=f"{LOGIN.username}:{LOGIN.secret}") as (host, seen):
        options = write(context, f"FROM {host}/{base}:1\n")
        assert daemon.files(options, credentials=lambda _: LOGIN) == {"file": token.encode()}
        if daemon.can.can_push:
            push = replace(options, exporters=[pushed(f"{host}/{result}:1")])
            built = daemon.build(push, credentials=lambda _: LOGIN)
            assert registry.image(result, "1")[0] == built.result.image_digest
        assert seen.token_requests
        # Ours has no name; that of a daemon has.
        assert {agent for agent, _ in seen.token_requests} == {""}
        assert given == []


def test_daemon_that_is_not_trusted_gets_no_password(
    buildkit_address: str, context: Path, registry: Registry, login_registry: Registry
) -> None:
    base, token = fresh_name(), random_id()
    registry.push(f"{base}:1", {"file": token.encode()})
    login_registry.push(f"{base}:1", {"file": token.encode()})
    with BuildKitClient.connect(buildkit_address, send_passwords=False) as client:
        careful = Daemon(buildkit_address, client)
        with registry_proxy(registry.host, login=f"{LOGIN.username}:{LOGIN.secret}") as (host, _):
            options = write(context, f"FROM {host}/{base}:1\n")
            assert careful.files(options, credentials=lambda _: LOGIN) == {"file": token.encode()}
        options = write(context, f"FROM {login_registry.host}/{base}:1\n")
        with pytest.raises(CredentialError, match="must not be sent"):
            careful.build(options, credentials=lambda _: LOGIN)


def test_wrong_login_of_a_registry_with_tokens_is_told(
    daemon: Daemon, context: Path, registry: Registry
) -> None:
    base = fresh_name()
    registry.push(f"{base}:1", {"file": b"x"})
    with registry_proxy(registry.host, login="tester:right") as (host, _):
        options = write(context, f"FROM {host}/{base}:1\n")
        wrong = Credential("tester", "wrong pony")
        with pytest.raises(CredentialError, match=r"refused the login") as caught:
            daemon.build(options, credentials=lambda _: wrong)
        assert host in str(caught.value)
        assert "pony" not in str(caught.value)


# --- many builds on one client ----------------------------------------------------------------------------------------


def test_builds_of_several_contexts_run_at_the_same_time(daemon: Daemon, tmp_path: Path) -> None:
    contexts = []
    for number in range(3):
        folder = tmp_path / f"context{number}"
        folder.mkdir()
        add_busybox(folder)
        (folder / "data").write_text(f"data {number}")
        step = "COPY data /data\nARG NUMBER\nRUN --mount=type=secret,id=s busybox cat /data /run/secrets/s\n"
        contexts.append(write(folder, fresh(step)))

    def run(number: int) -> str:
        # Twice the same context. Without the argument the daemon would make one step of the two, and give it
        # either secret.
        options = replace(contexts[number % 3], build_args={"NUMBER": str(number)})
        secret = f" and secret {number}".encode()
        return daemon.build(options, secrets={"s": SecretValue(secret)}).output

    with ThreadPoolExecutor(6) as pool:
        outputs = list(pool.map(run, range(6)))
    assert outputs == [f"data {number % 3} and secret {number}" for number in range(6)]


def test_context_that_changed_between_two_builds_arrives_as_it_is_now(daemon: Daemon, context: Path) -> None:
    for _ in range(3):
        content = random_id()
        assert daemon.files(with_file(context, content)) == {"file": content.encode()}


# --- progress ---------------------------------------------------------------------------------------------------------


def test_events_tell_the_story_of_every_step_in_order(daemon: Daemon, context: Path) -> None:
    (context / "data").write_bytes(os.urandom(100_000))
    events = daemon.build(
        write(context, fresh("COPY data /data\nRUN echo out; echo err >&2\nRUN echo later\n"))
    ).events
    announced: set[str] = set()
    for number, event in enumerate(events):
        if isinstance(event, VertexChanged):
            announced.add(event.digest)
            if event.completed_at:
                assert event.started_at
                assert event.started_at <= event.completed_at
        else:
            assert event.vertex in announced, f"event {number} is of a step that was not announced"
    final = steps_of(events)
    assert all(step.completed_at and not step.error for step in final.values())
    out, later = (
        next(step for name, step in final.items() if text in name) for text in ("echo out", "echo later")
    )
    assert out.digest in later.inputs
    assert out.completed_at and later.started_at
    assert out.completed_at <= later.started_at
    logs = {(log.vertex, log.stream): log for log in events if isinstance(log, LogOutput)}
    assert logs[out.digest, 1].data == b"out\n"
    assert logs[out.digest, 2].data == b"err\n"
    assert logs[later.digest, 1].data == b"later\n"
    moment = logs[out.digest, 1].at
    assert moment and out.started_at
    # Events carry the daemon's own clock, which logs take a moment after the step.
    assert abs((moment - out.started_at).total_seconds()) < 60
    assert transferred(events) > 100_000


def test_long_output_arrives_without_loss(daemon: Daemon, context: Path) -> None:
    events = daemon.build(write(context, fresh("RUN busybox seq 1 170000\n"))).events
    if any(isinstance(event, LogClipped) for event in events):
        pytest.skip("the daemon clips the output of steps")
    expected = "".join(f"{number}\n" for number in range(1, 170001))
    assert len(expected) > 1 << 20
    assert output_of(events) == expected


def test_cached_steps_are_marked(daemon: Daemon, context: Path) -> None:
    (context / "data").write_text(random_id())
    options = write(context, fresh("RUN echo one\nCOPY data /data\nRUN echo two\n"))
    first = daemon.build(options)
    assert {name.partition("] ")[2] for name in own_steps(first.events) if own_steps(first.events)[name]} <= {
        "COPY busybox /bin/sh",
        "COPY busybox /bin/busybox",
    }
    (context / "data").write_text(random_id())
    cached = {
        name.partition("] ")[2]: cached for name, cached in own_steps(daemon.build(options).events).items()
    }
    assert cached == {
        "COPY busybox /bin/sh": True,
        "COPY busybox /bin/busybox": True,
        "RUN echo one": True,
        "COPY data /data": False,
        "RUN echo two": False,
    }


def test_warnings_have_a_line(daemon: Daemon, context: Path) -> None:
    events = daemon.build(write(context, "FROM scratch\nCOPY \\\n\n busybox /\n")).events
    warnings = [event for event in events if isinstance(event, BuildWarning)]
    if not daemon.can.history:
        # It has no way to tell them.
        assert warnings == []
        return
    assert "continuation line" in warnings[0].message
    assert warnings[0].line in (2, 3, 4)
    assert warnings[0].vertex in {event.digest for event in events if isinstance(event, VertexChanged)}


# --- limits and lost connections --------------------------------------------------------------------------------------


def test_build_that_takes_too_long_is_ended(daemon: Daemon, context: Path) -> None:
    events: list[Event] = []
    options = write(context, fresh("RUN echo at work && busybox sleep 60\n"))
    started_s = time.monotonic()
    with pytest.raises(BuildTimedOut, match=r"took longer than 1\.5 s"):
        daemon.client.build(options, on_event=events.append, timeout_s=1.5)
    assert 1.4 < time.monotonic() - started_s < 3.5
    assert "at work" in output_of(events)
    assert daemon.build(write(context, fresh("RUN echo well\n")), timeout_s=60).output == "well\n"


def test_next_build_works_when_the_daemon_is_back(
    buildkit_address: str, context: Path, tmp_path: Path
) -> None:
    relay = Relay(tmp_path / "relay", buildkit_address)
    with BuildKitClient.connect(relay.address) as client:
        events: list[Event] = []
        build = client.start(
            write(context, fresh("RUN echo at work && busybox sleep 60\n")), on_event=events.append
        )
        in_run_step(events, "at work")
        relay.cut()
        with pytest.raises(ConnectionLost):
            build.wait()
        (tmp_path / "relay").unlink()
        relay = Relay(tmp_path / "relay", buildkit_address)
        again = write(context, fresh("RUN echo back\n"))
        events.clear()
        deadline_s = time.monotonic() + 5
        while True:
            try:
                client.build(again, on_event=events.append)
                break
            except (ConnectError, ConnectionLost):
                # gRPC tries again after a pause.
                assert time.monotonic() < deadline_s
                time.sleep(0.1)
        assert output_of(events) == "back\n"
    relay.cut()


# --- the daemon -------------------------------------------------------------------------------------------------------


def test_daemon_tells_what_it_is_and_can(daemon: Daemon) -> None:
    info = daemon.client.info()
    assert info.workers
    assert all(worker.id and worker.platforms for worker in info.workers)
    assert info.capabilities == daemon.client.capabilities() == daemon.can
    assert {"local", "tar"} <= info.capabilities.exporters
    assert "inline" in info.capabilities.cache_exports
    recent = bool(info.version)
    can = info.capabilities
    assert (can.history, can.step_limits, can.git_folders, can.error_details) == (recent,) * 4


def test_cache_is_listed_and_pruned_by_filter_and_budget(daemon: Daemon, context: Path) -> None:
    token = random_id()
    step = f"--mount=type=cache,id={token},target=/{token} busybox dd if=/dev/zero of=/{token}/data bs=1M count=3"
    daemon.build(write(context, fresh(f"RUN {step} 2>/dev/null\n")))
    client = daemon.client
    (record,) = (each for each in client.disk_usage(["type==exec.cachemount"]) if token in each.description)
    assert record.type == "exec.cachemount"
    assert record.mutable
    assert not record.in_use
    assert record.size_bytes >= 3 << 20
    assert record.created_at and abs((datetime.now(UTC) - record.created_at).total_seconds()) < 600
    assert [each.id for each in client.disk_usage([f"id=={record.id}"])] == [record.id]
    assert client.disk_usage([f"id=={record.id},type==regular"]) == ()

    def pruned(**limits: Any) -> list[str]:
        # Nothing else may go: others use the daemon.
        wanted = [f"id=={record.id},type==exec.cachemount"]
        return [each.id for each in client.prune(filters=wanted, **limits)]

    assert pruned(keep_bytes=1 << 60) == []
    assert pruned(keep_s=3600) == []
    assert list(client.prune(filters=[f"id=={record.id},type==source.local"])) == []
    assert pruned(keep_bytes=1) == [record.id]
    assert pruned() == []
    assert client.disk_usage([f"id=={record.id}"]) == ()


def test_filter_that_is_none_is_told(daemon: Daemon) -> None:
    with pytest.raises(BuildKitError, match="refused"):
        daemon.client.disk_usage(["type=&=x"])
    with pytest.raises(BuildKitError, match="refused"):
        list(daemon.client.prune(filters=["type=&=x"]))


def test_builds_are_in_the_history(daemon: Daemon, context: Path) -> None:
    if not daemon.can.history:
        with pytest.raises(UnsupportedFeature) as caught:
            list(daemon.client.history())
        assert caught.value.daemon == daemon.address
        assert "remember builds" in caught.value.feature
        assert caught.value.way_out
        return
    options = write(context, f"{SHELL.replace('scratch', 'scratch AS first')}RUN echo {random_id()}\n")
    output = io.BytesIO()
    good = daemon.build(replace(options, target="first", exporters=[oci_tar([], ToFile(output))])).result
    bad = daemon.client.start(write(context, fresh("RUN exit 9\n")), on_event=lambda _: None)
    with pytest.raises(BuildFailed):
        bad.wait()
    records = {record.ref: record for record in daemon.client.history()}
    record = records[good.ref]
    assert (record.frontend, record.dockerfile, record.target) == ("dockerfile.v0", "Dockerfile", "first")
    assert record.error == ""
    # Some versions do not keep it.
    assert record.image_digest in (None, good.image_digest)
    assert record.created_at and record.completed_at
    assert record.created_at <= record.completed_at
    assert 0 < record.completed_steps <= record.total_steps
    assert record.cached_steps < record.total_steps
    assert "exit code: 9" in records[bad.ref].error


# --- sources ----------------------------------------------------------------------------------------------------------


def test_sources_of_a_build_are_told(daemon: Daemon, context: Path, registry: Registry, git_url: str) -> None:
    kinds = ("stage", "base", "copied", "mounted", "named")
    repository = {kind: fresh_name() for kind in kinds}
    # Labels make them different images.
    digest = {
        kind: registry.push_shell(f"{repository[kind]}:1", config={"Labels": {"kind": kind}})
        for kind in kinds
    }
    full = {kind: f"{registry.host}/{repository[kind]}:1" for kind in kinds}
    steps = (
        f"FROM {full['stage']} AS one\nFROM {full['base']}\nCOPY --from=one /bin/sh /one\n"
        f"COPY --from={full['copied']} /bin/sh /two\n"
        f"RUN --mount=type=bind,from={full['mounted']},target=/mnt busybox ls /mnt\n"
    )
    content = random_id().encode()
    with serving_files({"/added": content}) as url:
        options = write(context, f"{steps}ADD {url}/added /added\n")
        if daemon.can.named_contexts:
            options = write(context, f"{steps}ADD {url}/added /added\nCOPY --from=named /bin/sh /three\n")
            options = replace(options, contexts={"named": f"docker-image://{full['named']}"})
        for _ in range(2):  # the second time all of it is cached
            build = daemon.client.start(options, on_event=lambda _: None)
            build.wait()
            sources = daemon.client.sources(build)
            assert sources.repositories == ()
            if daemon.can.history:
                assert set(sources.images) == {
                    ImageSource(full[kind], "linux/amd64", digest[kind]) for kind in kinds
                }
                sha256 = hashlib.sha256(content).hexdigest()
                assert sources.files == (UrlSource(f"{url}/added", f"sha256:{sha256}"),)
            else:
                # It resolves only those of FROM beforehand.
                known = {kind: digest[kind] if kind in ("stage", "base") else "" for kind in kinds[:4]}
                assert set(sources.images) == {ImageSource(full[kind], "", known[kind]) for kind in known}
                assert sources.files == (UrlSource(f"{url}/added", ""),)


def test_repository_is_a_source(daemon: Daemon, repository: Path, git_url: str) -> None:
    build = daemon.client.start(BuildOptions(f"{git_url}#other"), on_event=lambda _: None)
    build.wait()
    commit = git(repository, "rev-parse", "other")
    assert daemon.client.sources(build).repositories == (GitSource(f"{git_url}#other", commit),)


def test_sources_of_two_platforms_are_told(daemon: Daemon, context: Path, registry: Registry) -> None:
    name = fresh_name()
    digest = registry.push_shell(f"{name}:1", platforms=TWO_PLATFORMS, config={"Labels": {"name": name}})
    full = f"{registry.host}/{name}:1"
    options = replace(write(context, f"FROM {full}\nCOPY busybox /x\n"), platforms=TWO_PLATFORMS)
    build = daemon.client.start(options, on_event=lambda _: None)
    build.wait()
    platforms = TWO_PLATFORMS if daemon.can.history else ("",)
    assert daemon.client.sources(build).images == tuple(
        ImageSource(full, platform, digest) for platform in platforms
    )
