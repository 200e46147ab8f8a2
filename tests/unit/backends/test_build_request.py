"""A planned build as options of the client."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks_engine.backends import buildkit
from tasks_engine.backends.build_cache import BuildCache
from tasks_engine.backends.build_files import BuildFiles
from tasks_engine.backends.build_places import WorkspacePlaces
from tasks_engine.backends.build_request import build_options, file_exporters, with_image_settings
from tasks_engine.backends.buildkit.exporters import moby
from tasks_engine.backends.buildkit.records import Worker
from tasks_engine.definition.build_attributes import Attestation, BuildOutput
from tasks_engine.definition.build_values import Annotation, HostEntry, Ulimit
from tasks_engine.errors import StepFailed
from tests.unit.backends.build_scene import build_step, build_work

GATEWAY = {"org.mobyproject.buildkit.worker.moby.host-gateway-ip": "172.17.0.1"}
CAN = buildkit.Capabilities(
    frozenset(["moby", "image"]), True, frozenset(["registry"]), True, True, True, True, True, True, 1
)
INFO = buildkit.DaemonInfo(
    "docker-containerd", "v0.13", (Worker("w", GATEWAY, ("linux/amd64", "linux/386")),), CAN
)
OLD = buildkit.DaemonInfo(
    "docker-moby", "", (Worker("w", {}, ("linux/amd64",)),), replace(CAN, exporters=frozenset(["moby"]))
)
FILES = BuildFiles(Path("/c"), Path("/c/Dockerfile"), "FROM a\n")


def options(info: buildkit.DaemonInfo | None = None, folder: str = "/user", network: str = "", **work):
    def ask() -> buildkit.DaemonInfo:
        assert info is not None, "nothing of this needs the daemon"
        return info

    made = build_work(**work)
    return build_options(build_step(made, network=network), made, FILES, BuildCache(), Path(folder), ask)


def test_every_flag_reaches_the_builder():
    made = options(
        build_args={"A": "1"},
        labels={"l": "m"},
        target="t",
        platforms=("linux/arm64",),
        pull=True,
        no_cache_filter=("one", "two"),
        add_hosts=(HostEntry("h", "1.2.3.4"),),
        ulimits=(Ulimit("nofile", 1, -1),),
        shm_size_bytes=5,
        cgroup_parent="g",
        allow=("network.host", "device=x"),
        run_network="none",
        attestations=(Attestation("provenance", attributes={"mode": "max"}), Attestation("sbom")),
    )

    assert made == buildkit.BuildOptions(
        prefer_local=True,
        context=Path("/c"),
        dockerfile=Path("/c/Dockerfile"),
        build_args={"A": "1"},
        labels={"l": "m"},
        target="t",
        platforms=("linux/arm64",),
        pull=True,
        no_cache=("one", "two"),
        add_hosts=[("h", "1.2.3.4")],
        ulimits={"nofile": (1, -1)},
        shm_size_bytes=5,
        cgroup_parent="g",
        entitlements=["network.host"],
        network="none",
        provenance="max",
        sbom_generator="docker/buildkit-syft-scanner:stable-1",
        cache_from=(),
        cache_to=(),
        shared_key=made.shared_key,
    )


def test_no_cache_is_for_all_stages():
    assert options(no_cache=True, no_cache_filter=("one",)).no_cache is True


@pytest.mark.parametrize(
    ("flag", "step", "network"),
    [
        ("default", "", ""),
        ("default", "acb_default_network", ""),
        ("default", "host", "host"),
        ("default", "none", "none"),
        ("none", "host", "none"),
        ("host", "none", "host"),
        ("default", "mine", ""),
    ],
)
def test_the_network_of_run_is_that_of_the_flag_or_of_the_step(flag, step, network):
    assert options(run_network=flag, network=step).network == network


def test_the_daemon_tells_the_gateway_of_the_machine():
    entries = (HostEntry("h", "host-gateway"),)

    assert options(INFO, add_hosts=entries).add_hosts == [("h", "172.17.0.1")]
    with pytest.raises(StepFailed, match="does not say which address"):
        options(OLD, add_hosts=entries)


def test_several_platforms_need_a_store_for_them():
    platforms = ("linux/amd64", "linux/arm64")

    assert options(INFO, platforms=platforms).platforms == platforms
    with pytest.raises(StepFailed, match="image for 2 platforms") as caught:
        options(OLD, platforms=platforms)
    assert "containerd" in caught.value.hint


def test_local_is_the_platform_of_the_daemon():
    assert options(platforms=("local",)).platforms == ()
    assert options(INFO, platforms=("linux/arm64", "local")).platforms == ("linux/arm64", "linux/amd64")


@pytest.mark.parametrize(
    ("attestation", "message"),
    [(Attestation("provenance", attributes={"mode": "all"}), "mode 'all'"), (Attestation("x"), "type 'x'")],
)
def test_an_attestation_that_does_not_exist_is_told(attestation, message):
    with pytest.raises(StepFailed, match=message):
        options(attestations=(attestation,))


def test_an_attestation_may_be_switched_off():
    made = options(
        attestations=(Attestation("provenance", disabled=True), Attestation("sbom", disabled=True))
    )

    assert (made.provenance, made.sbom_generator) == ("", "")


def test_the_daemon_remembers_by_the_users_folder_not_by_the_copy():
    assert options().shared_key == options().shared_key
    assert options(folder="/other").shared_key != options().shared_key
    assert options(context="app").shared_key != options().shared_key


def test_annotations_need_a_store_that_has_manifests():
    work = build_work(
        annotations=(Annotation("a", "b"), Annotation("c", "d", ("index", "manifest[linux/amd64]")))
    )

    assert with_image_settings(moby(["x"]), work, lambda: True).attrs == {
        "name": "x",
        "annotation.a": "b",
        "annotation-index.c": "d",
        "annotation-manifest[linux/amd64].c": "d",
    }
    with pytest.raises(StepFailed, match="cannot give images annotations"):
        with_image_settings(moby(["x"]), work, lambda: False)


def test_an_output_of_an_image_says_how_its_layers_are_kept():
    output = BuildOutput("image", "", {"compression": "zstd", "push": "true", "name": "elsewhere"})

    attrs = with_image_settings(moby(["x"]), build_work(outputs=(output,)), lambda: True).attrs

    assert attrs == {"name": "x", "compression": "zstd"}


def test_files_go_into_the_workspace(tmp_path):
    places = WorkspacePlaces(tmp_path, "/workspace/sub")
    outputs = (
        BuildOutput("local", "out"),
        BuildOutput("tar", "t/x.tar"),
        BuildOutput("oci", "/workspace/o.tar", {"compression": "gzip"}),
        BuildOutput("cacheonly"),
    )

    local, tar, oci = file_exporters(build_work(outputs=outputs, tags=("a:1",)), places)

    assert (local.type, local.to) == ("local", tmp_path / "sub/out")
    assert tar.to == buildkit.ToPath(tmp_path / "sub/t/x.tar")
    assert oci.attrs == {"name": "docker.io/library/a:1", "compression": "gzip"}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (BuildOutput("local", "/etc"), "outside of /workspace"),
        (BuildOutput("tar", "-"), "has no destination"),
        (BuildOutput("local"), "has no destination"),
        (BuildOutput("ftp", "x"), "no output of type 'ftp'"),
    ],
)
def test_an_output_that_cannot_be_written_fails_the_step(tmp_path, output, message):
    with pytest.raises(StepFailed, match=message):
        file_exporters(build_work(outputs=(output,)), WorkspacePlaces(tmp_path, "/workspace"))
