"""Values of `docker run` options that have a form of their own."""

from __future__ import annotations

import pytest

from tasks_engine.definition.build_values import InvalidValue
from tasks_engine.plan.container_values import (
    AskedMount,
    AskedNetwork,
    MountKind,
    container_in,
    read_device,
    read_duration,
    read_mount,
    read_network,
    read_volume,
)
from tasks_engine.plan.request import shared_volume


@pytest.mark.parametrize(
    ("text", "kind", "source", "target"),
    [
        ("/x", MountKind.ANONYMOUS, "", "/x"),
        ("name:/x", MountKind.VOLUME, "name", "/x"),
        ("/a/b:/x", MountKind.HOST, "/a/b", "/x"),
        ("/workspace:/x", MountKind.WORKSPACE, "", "/x"),
        ("/workspace/a/../b:/x", MountKind.WORKSPACE, "b", "/x"),
        ("//workspace/b:/x", MountKind.WORKSPACE, "b", "/x"),
        (".:/x", MountKind.WORKSPACE, "", "/x"),
        ("./a:/x", MountKind.WORKSPACE, "a", "/x"),
        ("..:/x", MountKind.HOST, "/", "/x"),
        ("/workspaces:/x", MountKind.HOST, "/workspaces", "/x"),
        ("/var/run/docker.sock:/x", MountKind.SOCKET, "/var/run/docker.sock", "/x"),
        ("/var/run/../run/docker.sock:/x", MountKind.SOCKET, "/var/run/docker.sock", "/x"),
        ("/run/docker.sock:/x", MountKind.SOCKET, "/run/docker.sock", "/x"),
    ],
)
def test_a_volume_says_what_is_mounted_where(text: str, kind: MountKind, source: str, target: str) -> None:
    assert read_volume(text) == AskedMount(kind, source, target)


def test_modes_of_a_volume_are_read() -> None:
    assert read_volume("a1:/x:ro,z") == AskedMount(MountKind.VOLUME, "a1", "/x", read_only=True, modes=("z",))
    assert not read_volume("a1:/x:rw").read_only


@pytest.mark.parametrize("text", ["", "x", "a:b", "a:/x:ro:z", "a b:/x", "~:/x", ":x"])
def test_what_is_no_volume_is_said(text: str) -> None:
    with pytest.raises(InvalidValue):
        read_volume(text)


def test_a_mount_is_read_in_all_its_spellings() -> None:
    assert read_mount("type=bind,source=/a,target=/b,readonly") == read_mount(
        "type=bind,src=/a,dst=/b,ro=true"
    )
    assert read_mount("destination=/b") == AskedMount(MountKind.ANONYMOUS, "", "/b")
    assert read_mount('"volume-opt=o=a,b",src=v1,dst=/b').options == {"volume-opt": ("o=a,b",)}


def test_the_relative_source_of_a_bind_counts_from_the_workspace() -> None:
    assert read_mount("type=bind,src=sub,dst=/b") == AskedMount(MountKind.WORKSPACE, "sub", "/b")


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("", AskedNetwork("")),
        ("n", AskedNetwork("n")),
        ("name=n,alias=a,alias=b,ip6=::1", AskedNetwork("n", ("a", "b"), {"ip6": "::1"})),
    ],
)
def test_a_network_is_a_name_or_pairs(text: str, network: AskedNetwork) -> None:
    assert read_network(text) == network


def test_another_container_is_named_behind_its_mark() -> None:
    assert container_in("container:web") == "web"
    assert container_in("host") == ""


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("0", 0), ("1s", 10**9), ("1m30s", 90 * 10**9), ("1.5ms", 1_500_000), ("2h", 7200 * 10**9)],
)
def test_durations_are_those_of_go(text: str, nanoseconds: int) -> None:
    assert read_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", "1s2", "-1s", "1 s", "1d"])
def test_what_is_no_duration_is_said(text: str) -> None:
    with pytest.raises(InvalidValue, match="cannot read duration"):
        read_duration(text)


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("/dev/a", ("/dev/a", "/dev/a", "rwm")),
        ("/dev/a:r", ("/dev/a", "/dev/a", "r")),
        ("/dev/a:/b:rw", ("/dev/a", "/b", "rw")),
    ],
)
def test_a_device_is_a_path_or_two_and_rights(text: str, device: tuple[str, str, str]) -> None:
    assert read_device(text) == device


def test_each_run_has_a_shared_volume_of_its_own() -> None:
    assert shared_volume("r1") == "tasks-r1-workspace"
