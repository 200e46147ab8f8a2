"""Everything a `build` step may ask for, on a new engine, an old one, and a daemon that stands alone."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import urllib.request
import uuid

import pytest

from tests.end_to_end.test_standalone_buildkit import buildkit_host  # noqa: F401 - a fixture
from tests.integration.git_servers import files_server, git, git_daemon, git_http_server

pytestmark = [pytest.mark.docker, pytest.mark.buildkit]

both_engines = pytest.mark.parametrize("engine", ["engine", "old_engine"], indirect=True)
old_engine = pytest.mark.parametrize("engine", ["old_engine"], indirect=True)
ANY_MANIFEST = ", ".join(
    f"application/vnd.{each}+json"
    for each in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
    )
)


def manifest(registry: str, image: str) -> dict:
    """What a registry has under `repository:tag`."""
    repository, _, tag = image.rpartition(":")
    request = urllib.request.Request(
        f"http://{registry}/v2/{repository}/manifests/{tag}", headers={"Accept": ANY_MANIFEST}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


@pytest.fixture
def fresh() -> str:
    """A word that no other build has used."""
    return uuid.uuid4().hex[:12]


def told(outcome) -> str:
    return outcome.stdout + outcome.stderr


# --- what RUN may use -------------------------------------------------------------------------------------------


@both_engines
def test_secrets_come_from_the_environment_and_from_files_of_the_step(tasks, project, fresh):
    folder = project(
        "secrets: [{id: s, keyvault: 'env:THE_SECRET'}]\nsteps:\n"
        "- {id: b, workingDirectory: sub, env: ['tok={{.Secrets.s}}'],"
        " build: '--secret id=tok --secret id=file,src=token -f ../Dockerfile ..'}\n",
        Dockerfile=f"FROM busybox\nRUN --mount=type=secret,id=tok --mount=type=secret,id=file"
        f" echo {fresh}; cat /run/secrets/tok /run/secrets/file | md5sum; cat /run/secrets/file\n",
    )
    (folder / "sub").mkdir()
    (folder / "sub" / "token").write_text("from-a-file")

    outcome = tasks("run", str(folder), "--json", env={"THE_SECRET": "from-the-vault-"})

    assert outcome.exit_code == 0, told(outcome)
    digest = hashlib.md5(b"from-the-vault-from-a-file", usedforsecurity=False).hexdigest()
    assert digest.encode() in outcome.step_log("b")
    assert b"***" in outcome.step_log("b")
    assert b"from-a-file" not in outcome.log


AGENT_TEST = "FROM busybox\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo an agent for {}\n"


def ssh_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


@both_engines
def test_an_ssh_key_of_the_person_can_be_given_to_all_builds(tasks, project, fresh, tmp_path):
    folder = project("steps: [{id: b, build: .}]", Dockerfile=AGENT_TEST.format(fresh))
    (tmp_path / "mine").write_bytes(ssh_key())

    outcome = tasks("run", str(folder), "--json", "--ssh", f"default={tmp_path}/mine")

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert f"an agent for {fresh}".encode() in outcome.step_log("b")


@both_engines
def test_an_ssh_key_of_the_workspace_can_be_used(tasks, project, fresh):
    folder = project("steps: [{id: b, build: --ssh default=key .}]", Dockerfile=AGENT_TEST.format(fresh))
    (folder / "key").write_bytes(ssh_key())

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, told(outcome)
    assert f"an agent for {fresh}".encode() in outcome.step_log("b")


def test_run_finds_what_the_flags_say(tasks, project, fresh):
    folder = project(
        "steps: [{id: b, build: '--add-host one:1.2.3.4 --add-host up:host-gateway --ulimit nofile=123"
        " --shm-size 16m .'}]",
        Dockerfile=f"FROM busybox\nRUN echo {fresh}; cat /etc/hosts; ulimit -n; df -m /dev/shm\n",
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, told(outcome)
    log = outcome.step_log("b")
    assert b"1.2.3.4\tone" in log
    assert b"\tup\n" in log
    assert b" 123\n" in log
    assert b" 16 " in log


@pytest.mark.parametrize("how", ["build: --network none .", "build: .\n  network: none"])
def test_a_build_may_be_without_a_network(tasks, project, fresh, how):
    folder = project(
        f"steps:\n- id: b\n  {how}\n",
        Dockerfile=f"FROM busybox\nRUN echo {fresh}; ls /sys/class/net | grep -v lo || echo alone\n",
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, told(outcome)
    assert b"alone\n" in outcome.step_log("b")


def test_a_network_that_a_build_cannot_have_is_told(tasks, project):
    folder = project("steps: [{id: b, build: ., network: bridge}, {id: c, build: ., network: mine}]\n"
                     "networks: [{name: mine}]\n", Dockerfile="FROM busybox\n")  # fmt: skip

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, told(outcome)
    (warning,) = outcome.of_type("run_warning")
    assert "network 'mine' of step 'c' has no effect" in warning["message"]


@old_engine
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--ulimit nofile=1", "can not set ulimits"),
        ("--provenance=true", "can not make attestations"),
        ("--build-context a=sub", "can not take named contexts"),
        ("--annotation a=b", "cannot give images annotations"),
        ("--platform linux/amd64,linux/arm64", "cannot keep an image for 2 platforms"),
        ("--cache-to type=registry,ref=r.io/a", "can not export its cache to 'registry'"),
        ("--add-host a:host-gateway", "does not say which address 'host-gateway' is"),
    ],
)
def test_what_an_old_engine_cannot_do_fails_the_step_with_a_way_out(tasks, project, flags, message):
    folder = project(f"steps: [{{id: b, build: '{flags} -t x .'}}]", Dockerfile="FROM busybox\n")
    (folder / "sub").mkdir()

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 1
    error = outcome.of_type("step_finished")[0]["error"]
    assert message in error["message"]
    assert error["hint"]


def test_stages_may_be_built_anew(tasks, project):
    folder = project(
        "steps: [{id: b, build: --no-cache-filter two .}]",
        Dockerfile="FROM busybox AS one\nRUN echo stage-one\nFROM busybox AS two\nCOPY --from=one /bin/true /x\n"
        "RUN echo stage-two\n",
    )
    tasks("run", str(folder))

    outcome = tasks("run", str(folder), "--json")

    # not the line that names the instruction, but what it prints
    assert b" stage-two\n" in outcome.step_log("b").replace(b"RUN echo", b"")
    assert b"CACHED" in outcome.step_log("b")


# --- secrets and history ----------------------------------------------------------------------------------------

SECRET_ARGUMENT = (
    "secrets: [{id: s, keyvault: 'env:S'}]\nsteps: [{id: b, build: '-t %s --build-arg A={{.Secrets.s}} .'}]"
)


@both_engines
def test_a_secret_argument_reaches_what_mounts_it_and_no_history(tasks, project, docker_api, fresh):
    image = f"secret-argument:{fresh}"
    folder = project(
        SECRET_ARGUMENT % image,
        # what a secret holds is no part of the cache's key
        Dockerfile=f"FROM busybox\nRUN --mount=type=secret,id=A tr a-z A-Z < /run/secrets/A > /upper; echo {fresh}\n",
    )

    outcome = tasks("run", str(folder), "--json", env={"S": f"hidden{fresh}"})

    assert outcome.exit_code == 0, told(outcome)
    assert f"hidden{fresh}" not in json.dumps(docker_api.images.get(image).history())
    output = docker_api.containers.run(image, ["cat", "/upper"], remove=True)
    assert output == f"hidden{fresh}".upper().encode()


def test_a_secret_argument_that_history_would_show_is_refused(tasks, project, docker_api, fresh):
    image = f"secret-argument:{fresh}"
    folder = project(SECRET_ARGUMENT % image, Dockerfile=f"FROM busybox\nARG A\nRUN echo $A {fresh}\n")

    outcome = tasks("run", str(folder), env={"S": f"hidden{fresh}"})

    assert outcome.exit_code == 1
    assert "build argument 'A' is a secret" in outcome.stdout
    assert "--mount=type=secret,id=A" in outcome.stdout
    allowed = tasks("run", str(folder), "--allow-secret-in-history", env={"S": f"hidden{fresh}"})
    assert allowed.exit_code == 0, told(allowed)
    assert f"hidden{fresh}" in json.dumps(docker_api.images.get(image).history())


# --- results ----------------------------------------------------------------------------------------------------


@both_engines
def test_outputs_are_there_for_later_steps_and_not_in_the_users_folder(tasks, project, fresh):
    folder = project(
        "steps:\n- {id: b, build: '-o out -o type=tar,dest=all.tar -t outputs .'}\n"
        "- {id: r, cmd: busybox sh -c 'cat out/file; tar tf all.tar'}\n- {id: i, cmd: outputs cat /file}\n",
        Dockerfile="FROM busybox\nCOPY word /file\n",
        word=fresh,
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, told(outcome)
    assert outcome.step_log("r").startswith(fresh.encode())
    assert b"file\n" in outcome.step_log("r")
    assert outcome.step_log("i") == fresh.encode()
    assert not (folder / "out").exists()


def test_outputs_of_builds_alone_do_not_touch_the_users_folder(tasks, project):
    folder = project(
        "steps: [{id: b, build: -o out .}, {id: c, build: -f out/Dockerfile .}]\n",
        Dockerfile="FROM scratch\nCOPY Dockerfile /\n",
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, told(outcome)
    assert not (folder / "out").exists()


def test_an_image_for_several_platforms_is_an_index(tasks, project, registry, fresh):
    folder = project(
        "version: v1.1.0\nsteps:\n"
        "- build: --platform linux/amd64,linux/arm64 --annotation index:who=me -t $Registry/multi:$ID .\n"
        "- push: [$Registry/multi:$ID]\n",
        Dockerfile="FROM scratch\nCOPY Dockerfile /\n",
    )

    outcome = tasks("run", str(folder), "--registry", registry, "--json", "--id", fresh)

    assert outcome.exit_code == 0, told(outcome)
    pushed = manifest(registry, f"multi:{fresh}")
    assert [each["platform"]["architecture"] for each in pushed["manifests"]] == ["amd64", "arm64"]
    assert pushed["annotations"] == {"who": "me"}


def test_provenance_is_attached(tasks, project, registry, fresh):
    folder = project(
        "version: v1.1.0\nsteps:\n- build: --provenance=mode=max -t $Registry/provenance:$ID .\n"
        "- push: [$Registry/provenance:$ID]\n",
        Dockerfile="FROM busybox\n",
    )

    outcome = tasks("run", str(folder), "--registry", registry, "--json", "--id", fresh)

    assert outcome.exit_code == 0, told(outcome)
    kinds = [each.get("annotations", {}) for each in manifest(registry, f"provenance:{fresh}")["manifests"]]
    assert any(each.get("vnd.docker.reference.type") == "attestation-manifest" for each in kinds)


# --- caches -----------------------------------------------------------------------------------------------------


def test_the_cache_is_kept_in_the_registry_with_all_stages(tasks, project, registry, fresh):
    folder = project(
        "version: v1.1.0\nsteps:\n- {id: base, build: '-t cached-base:$ID -f Base .'}\n"
        f"- {{id: b, build: '-t $Registry/cached{fresh}:$ID --build-arg BASE=cached-base:$ID .', cache: enabled}}\n",
        Base="FROM busybox\nRUN echo base > /base\n",
        Dockerfile=f"ARG BASE\nFROM $BASE AS one\nRUN echo {fresh} > /one\nFROM busybox\nCOPY --from=one /one /\n",
    )

    first = tasks("run", str(folder), "--registry", registry, "--json")
    first_log = first.step_log("b")
    second = tasks("run", str(folder), "--registry", registry, "--json")

    assert first.exit_code == second.exit_code == 0, told(first) + told(second)
    assert b"no cache there" in first_log
    assert b"no cache there" not in second.step_log("b")
    assert manifest(registry, f"cached{fresh}:cache_quickrun_b")
    cached = [each for each in second.of_type("step_progress") if each["state"] == "cached"]
    assert any("RUN echo" in each["name"] for each in cached)
    assert not second.of_type("run_warning")


@old_engine
def test_an_engine_that_cannot_keep_a_cache_puts_it_into_the_image(
    tasks, project, registry, docker_api, fresh
):
    folder = project(
        "version: v1.1.0\nsteps:\n- {id: b, build: '-t $Registry/inline:$ID .', cache: enabled}\n",
        Dockerfile=f"FROM busybox\nRUN echo {fresh} > /one\n",
    )

    outcome = tasks("run", str(folder), "--registry", registry, "--json")

    assert outcome.exit_code == 0, told(outcome)
    (warning,) = outcome.of_type("run_warning")
    assert "the image itself carries the cache" in warning["message"]


def test_a_cache_that_cannot_be_written_fails_the_build_as_in_the_original(tasks, project):
    folder = project(
        "steps: [{id: b, build: '-t 127.0.0.1:1/app .', cache: enabled}]",
        Dockerfile="FROM busybox\nRUN echo something to keep\n",
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 1
    error = outcome.of_type("step_finished")[0]["error"]
    assert "127.0.0.1:1" in error["message"]
    assert "log in to its registry" in error["hint"]


# --- where things come from -------------------------------------------------------------------------------------


@both_engines
def test_an_image_of_an_earlier_step_is_the_base_although_the_registry_has_another(
    tasks, project, registry, fresh
):
    older = project(
        f"steps: [{{build: '-t {registry}/moved/base:{fresh} .'}}, {{push: ['{registry}/moved/base:{fresh}']}}]",
        Dockerfile=f"FROM busybox\nRUN echo older {fresh} > /one\n",
    )
    assert tasks("run", str(older)).exit_code == 0
    newer = project(
        f"steps:\n- {{id: one, build: '-t {registry}/moved/base:{fresh} -f One .'}}\n"
        f"- {{id: two, build: '-t moved-next:{fresh} -f Two .'}}\n- {{id: r, cmd: 'moved-next:{fresh} cat /one'}}\n",
        One=f"FROM busybox\nRUN echo newer {fresh} > /one\n",
        Two=f"FROM {registry}/moved/base:{fresh}\n",
    )

    outcome = tasks("run", str(newer), "--json")

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert outcome.step_log("r") == f"newer {fresh}\n".encode()


@both_engines
def test_an_image_of_an_earlier_step_is_a_base_without_a_registry(tasks, project, fresh):
    folder = project(
        "version: v1.1.0\nsteps:\n- {id: one, build: '-t base-of-run:$ID -f One .'}\n"
        "- {id: two, build: '-t next-of-run:$ID --build-arg ID=$ID -f Two .'}\n"
        "- {id: r, cmd: 'next-of-run:$ID cat /one'}\n",
        One=f"FROM busybox\nRUN echo {fresh} > /one\n",
        Two="ARG ID\nFROM base-of-run:$ID\nRUN test -f /one\n",
    )

    outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, told(outcome)
    assert outcome.step_log("r") == f"{fresh}\n".encode()


@both_engines
def test_contexts_may_be_remote(tasks, project, tmp_path):
    repository = tmp_path / "served" / "repo.git"
    (repository / "sub").mkdir(parents=True)
    git(repository, "init", "-q", "-b", "main")
    (repository / "sub" / "Dockerfile").write_text("FROM busybox\nCOPY Dockerfile /here\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "one")
    commit = git(repository, "rev-parse", "HEAD")
    with tarfile.open(tmp_path / "served" / "c.tar.gz", "w:gz") as tar:
        tar.add(repository / "sub", ".")
    (tmp_path / "served" / "Other").write_text("FROM busybox\nRUN echo other\n")

    with git_daemon(tmp_path / "served") as git_address, files_server(tmp_path / "served") as address:
        folder = project(
            "steps:\n"
            f"- {{id: git, build: '-t from-git {git_address}/repo.git#main:sub'}}\n"
            f"- {{id: tar, build: {address}/c.tar.gz}}\n"
            f"- {{id: file, build: -f {address}/Other .}}\n"
        )
        outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, told(outcome)
    dependencies = {each["step_id"]: each["dependencies"] for each in outcome.of_type("image_dependencies")}
    assert dependencies["git"]["git"]["git-head-revision"] == commit


def test_a_token_opens_a_context_and_is_shown_nowhere(tasks, project, tmp_path):
    repository = tmp_path / "served" / "repo.git"
    repository.mkdir(parents=True)
    git(repository, "init", "-q", "-b", "main")
    (repository / "Dockerfile").write_text("FROM busybox\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "one")

    with git_http_server(tmp_path / "served", login="someone:token-of-mine") as address:
        login = address.replace("http://", "http://someone:{{.Secrets.t}}@")
        folder = project(
            f"secrets: [{{id: t, keyvault: 'env:T'}}]\nsteps: [{{id: b, build: '{login}/repo.git#main'}}]"
        )
        outcome = tasks("run", str(folder), "--json", env={"T": "token-of-mine"})
        refused = tasks("run", str(folder), "--json", env={"T": "token-of-others"})

    assert outcome.exit_code == 0, told(outcome)
    assert refused.exit_code != 0
    assert "token-of" not in told(outcome) + told(refused)
    for path in (tasks.state_dir / "runs").rglob("*"):
        assert not path.is_file() or b"token-of" not in path.read_bytes()


def test_named_contexts_are_folders_images_and_addresses(tasks, project, tmp_path):
    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served" / "c.tar", "w") as tar:
        entry = tarfile.TarInfo("fetched")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    with files_server(tmp_path / "served") as address:
        folder = project(
            "steps: [{id: b, build: '--build-context a=sub --build-context base=docker-image://busybox"
            f" --build-context t={address}/c.tar .'}}]",
            Dockerfile="FROM base\nCOPY --from=a f /\nCOPY --from=t fetched /\nRUN ls /f /fetched\n",
        )
        (folder / "sub").mkdir()
        (folder / "sub" / "f").write_text("f")
        outcome = tasks("run", str(folder), "--json")

    assert outcome.exit_code == 0, told(outcome)
    (event,) = outcome.of_type("image_dependencies")
    assert event["dependencies"]["runtime-dependency"]["reference"] == "busybox"
    assert event["dependencies"]["buildtime-dependency"] is None


@both_engines
def test_base_images_come_from_the_mirror_under_the_authors_name(tasks, project, registry, tmp_path, fresh):
    source = project(
        "version: v1.1.0\nsteps:\n- build: -t $Registry/mcr/base:$ID .\n- push: [$Registry/mcr/base:$ID]\n",
        Dockerfile=f"FROM busybox\nRUN echo {fresh} > /mirrored\n",
    )
    pushed = tasks("run", str(source), "--registry", registry, "--id", fresh)
    assert pushed.exit_code == 0, told(pushed)
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[registries]\nmirrors = {{ "mcr.example.com" = "{registry}/mcr" }}\n')
    folder = project(
        "steps: [{id: b, build: .}]",
        Dockerfile=f"ARG TAG={fresh}\nFROM mcr.example.com/base:$TAG\nRUN cat /mirrored && false\n",
    )

    failed = tasks("run", str(folder), "--json", env={"TASKS_CONFIG": str(settings)})
    (folder / "Dockerfile").write_text(
        f"ARG TAG={fresh}\nFROM mcr.example.com/base:$TAG\nRUN cat /mirrored\n"
    )
    outcome = tasks("run", str(folder), "--json", env={"TASKS_CONFIG": str(settings)})

    assert failed.of_type("step_finished")[0]["error"]["location"]["line"] == 3
    assert outcome.exit_code == 0, told(outcome)
    (event,) = outcome.of_type("image_dependencies")
    runtime = event["dependencies"]["runtime-dependency"]
    assert runtime["reference"] == f"mcr.example.com/base:{fresh}"
    assert runtime["digest"].startswith("sha256:")


# --- dependencies -----------------------------------------------------------------------------------------------


def test_dependencies_have_digests_and_are_shown_at_the_end(tasks, project, docker_api, fresh):
    folder = project(
        f"steps: [{{id: b, build: -t shown:{fresh} .}}]",
        Dockerfile="FROM busybox AS tools\nFROM scratch\nCOPY --from=tools /bin/true /\n",
    )

    outcome = tasks("run", str(folder))

    assert outcome.exit_code == 0, told(outcome)
    lines = outcome.stdout.splitlines()
    at = lines.index(f"built shown:{fresh}")
    assert lines[at + 1] == "  from scratch"
    assert lines[at + 2].startswith("  with busybox:latest@sha256:")


# --- a daemon that stands alone ---------------------------------------------------------------------------------


def test_a_daemon_without_images_says_what_it_cannot_build_on(tasks, project, registry, buildkit_host):  # noqa: F811
    folder = project(
        "version: v1.1.0\nsteps:\n- {id: one, build: '-t $Registry/alone:$ID -f One .'}\n"
        "- {id: two, build: '--build-arg BASE=$Registry/alone:$ID -f Two .'}\n",
        One="FROM busybox\n",
        Two="ARG BASE\nFROM $BASE\n",
    )

    outcome = tasks(
        "run", str(folder), "--registry", registry, "--json", env={"BUILDKIT_HOST": buildkit_host}
    )

    assert outcome.statuses == {"one": "succeeded", "two": "failed"}
    error = outcome.of_type("step_finished")[1]["error"]
    assert "which step 'one' has built" in error["message"]
    assert "push it in a step between them" in error["hint"]


def test_what_was_pushed_in_between_can_be_built_on(tasks, project, registry, buildkit_host):  # noqa: F811
    folder = project(
        "version: v1.1.0\nsteps:\n- {id: one, build: '-t $Registry/alone:$ID --secret id=s,src=s -f One .'}\n"
        "- push: [$Registry/alone:$ID]\n- {id: two, build: '--build-arg BASE=$Registry/alone:$ID -f Two .'}\n",
        One="FROM busybox\nRUN --mount=type=secret,id=s cat /run/secrets/s\n",
        Two="ARG BASE\nFROM $BASE\n",
        s="a secret file",
    )

    outcome = tasks(
        "run", str(folder), "--registry", registry, "--json", env={"BUILDKIT_HOST": buildkit_host}
    )

    assert outcome.exit_code == 0, told(outcome)


# --- tasks build ------------------------------------------------------------------------------------------------


@both_engines
def test_one_image_is_built_and_pushed_without_a_task_file(tasks, project, registry, fresh):
    folder = project(
        "",
        Dockerfile="FROM busybox\nARG A\nLABEL a=$A\nRUN --mount=type=secret,id=S test -s /run/secrets/S\n",
    )

    outcome = tasks(
        "build", "-t", f"quick/{fresh}:$ID", "-t", f"{registry}/other/{fresh}:1", "--registry", registry,
        "--build-arg", "A", "--secret-build-arg", "S", "--metadata-file", "meta.json", "--iidfile", "iid",
        "--id", fresh, ".",
        cwd=folder, env={"A": "from-env", "S": "a-secret"},
    )  # fmt: skip

    assert outcome.exit_code == 0, told(outcome)
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["image.name"] == f"{registry}/quick/{fresh}:{fresh},{registry}/other/{fresh}:1"
    assert (folder / "iid").read_text().startswith("sha256:")
    assert manifest(registry, f"quick/{fresh}:{fresh}") == manifest(registry, f"other/{fresh}:1")
    assert f"pushed {registry}/quick/{fresh}:{fresh}@{meta['containerimage.digest']}" in outcome.stdout


def test_without_a_registry_nothing_is_pushed(tasks, project, registry, fresh):
    folder = project("", Dockerfile="FROM scratch\nCOPY Dockerfile /\n")

    local = tasks("build", "-t", f"local-{fresh}", "--json", str(folder))
    kept = tasks("build", "-t", f"{registry}/kept-{fresh}", "--no-push", "--json", str(folder))

    for outcome in (local, kept):
        assert outcome.exit_code == 0, told(outcome)
        assert not outcome.of_type("image_pushed")


def test_files_come_out_where_the_person_says(tasks, project, tmp_path):
    folder = project("", Dockerfile="FROM scratch\nCOPY Dockerfile /copied\n")

    outcome = tasks("build", "-o", "out", str(folder), cwd=tmp_path)

    assert outcome.exit_code == 0, told(outcome)
    assert (tmp_path / "out" / "copied").read_text().startswith("FROM scratch")


def test_a_dockerfile_or_an_archive_may_come_on_standard_input(tasks, fresh):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in (("D", b"FROM scratch\nCOPY f /\n"), ("f", b"x")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))

    lone = tasks("build", "-q", "-", stdin=b"FROM busybox\nRUN echo " + fresh.encode())
    packed = tasks("build", "--no-logs", "-f", "D", "-", stdin=archive.getvalue())

    for outcome in (lone, packed):
        assert outcome.exit_code == 0, told(outcome)
        assert outcome.stdout.startswith("sha256:")
        assert len(outcome.stdout.split()) == 1


def test_a_quiet_build_that_fails_says_why(tasks, project):
    folder = project("", Dockerfile="FROM busybox\nRUN echo reason; exit 7\n")

    outcome = tasks("build", "-q", str(folder))

    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert "reason" in outcome.stderr
    assert "Dockerfile:2" in outcome.stderr
