"""The BuildKit client against real daemons: TASKS_TEST_BUILDKIT holds their addresses, separated by commas."""

# Fixtures are imported by name.
# ruff: noqa: F401, F811

from __future__ import annotations

import base64
import io
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks_engine.backends.buildkit.client import BuildKitClient
from tasks_engine.backends.buildkit.destinations import ToFile
from tasks_engine.backends.buildkit.docker_config import Credential
from tasks_engine.backends.buildkit.errors import (
    BuildCanceled,
    BuildFailed,
    ConnectError,
    ConnectionLost,
    ContextError,
    DaemonLost,
    UnsupportedFeature,
)
from tasks_engine.backends.buildkit.exporters import Exporter, docker_tar, files_tar, moby
from tasks_engine.backends.buildkit.ids import random_id
from tasks_engine.backends.buildkit.progress import (
    Event,
    LogClipped,
    VertexChanged,
)
from tasks_engine.backends.buildkit.sockets import parse_address
from tasks_engine.backends.buildkit.solve import BuildOptions
from tests.integration.buildkit_daemons import (
    SHELL,
    Handler,
    Relay,
    add_busybox,
    buildkit_address,
    cached_steps,
    client,
    context,
    fresh,
    ignore,
    in_run_step,
    nothing_is_left,
    output_of,
    serving,
    transferred,
    write,
)

pytestmark = pytest.mark.buildkit

# --- a daemon and its answers -----------------------------------------------------------------------------------------


def test_daemon_says_what_it_can_do(client: BuildKitClient) -> None:
    info = client.info()
    assert info.kind in {"docker-moby", "docker-containerd", "buildkitd"}
    assert info.workers[0].platforms[0].startswith("linux/")
    assert {"local", "tar"} <= info.capabilities.exporters
    assert info.capabilities.can_push is (info.kind != "docker-moby")
    assert info.capabilities.error_details is bool(info.version)


def test_missing_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match=r"nowhere\.sock: No such file"):
        BuildKitClient.connect(f"docker+unix://{tmp_path}/nowhere.sock")


def test_refused_port_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ConnectError, match="Connection refused"):
        BuildKitClient.connect(f"tcp://127.0.0.1:{port}")


@pytest.mark.parametrize("scheme", ["docker+unix", "unix"])
def test_daemon_that_never_answers_is_given_up_in_time(tmp_path: Path, scheme: str) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute"))
        mute.listen()
        started_s = time.monotonic()
        with pytest.raises(ConnectError):
            BuildKitClient.connect(f"{scheme}://{tmp_path}/mute", timeout_s=0.5)
        assert time.monotonic() - started_s < 3


def test_dialer_replaces_the_address(buildkit_address: str, context: Path) -> None:
    place = parse_address(buildkit_address)
    elsewhere = f"{'docker+' if place.docker else ''}tcp://builder.invalid:1"
    with BuildKitClient.connect(elsewhere, dial=lambda: place.dial(5)) as client:
        client.build(write(context, SHELL), on_event=ignore)


def test_daemon_behind_a_plain_socket_uses_the_session_stream(
    buildkit_address: str, context: Path, tmp_path: Path
) -> None:
    """Docker's /grpc, already upgraded, is what a buildkitd looks like."""
    if not buildkit_address.startswith("docker+"):
        pytest.skip("a buildkitd already")
    from tasks_engine.backends.buildkit import sockets

    place = parse_address(buildkit_address)
    connect = lambda: sockets.upgrade(_blocking(place.dial(5)), "/grpc")  # noqa: E731
    relay = sockets.Relay(tmp_path / "plain", connect, connect())
    try:
        with BuildKitClient.connect(f"unix://{tmp_path}/plain") as client:
            options = write(context, fresh("RUN echo x\n"))
            client.build(options, on_event=ignore)
            events: list[Event] = []
            client.build(options, on_event=events.append)
            assert len(cached_steps(events)) >= 3
    finally:
        relay.close()


def _blocking(connection: socket.socket) -> socket.socket:
    connection.settimeout(None)
    return connection


# --- contexts ---------------------------------------------------------------------------------------------------------


def test_context_arrives_as_it_is(client: BuildKitClient, context: Path) -> None:
    tree = context / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "er" / "file").write_bytes(os.urandom(3 * 1024 * 1024 + 1))
    for name in ("a-b", "a.d", "sp ace", "ünï", "[odd]*", "empty"):
        (tree / name).write_text(name * (name != "empty"))
    (tree / "a").mkdir(mode=0o750)
    (tree / "a" / "z").write_text("z")
    (tree / "sticky").mkdir()
    (tree / "sticky").chmod(0o1777)
    (tree / "setuid").write_text("s")
    (tree / "setuid").chmod(0o4755)
    (tree / "relative").symlink_to("a/z")
    (tree / "absolute").symlink_to("/etc/passwd")
    (tree / "dangling").symlink_to("no/where")
    (tree / "up").symlink_to("../..")
    os.link(tree / "a-b", tree / "hard1")
    os.link(tree / "a-b", tree / "deep" / "hard2")
    list_tree = (
        "cd tree && busybox find . | busybox sort | while read -r f; do "
        'busybox stat -c \'%n %A %u %g %h\' "$f"; busybox readlink "$f"; '
        'if [ ! -L "$f" ] && [ -f "$f" ]; then busybox stat -c "%s %Y" "$f"; busybox md5sum <"$f"; fi; done'
    )
    (context / "list.sh").write_text(list_tree)
    options = write(context, fresh("COPY . /w\nWORKDIR /w\nRUN . ./list.sh\n"))
    events: list[Event] = []
    client.build(options, on_event=events.append)
    busybox = context / "busybox"
    here = subprocess.run(
        [str(busybox), "sh", "-c", f'busybox() {{ {busybox} "$@"; }}; ' + list_tree],
        cwd=context,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    there = output_of(events).splitlines()
    # Owners become root; the number of names of a folder is the file system's affair.
    assert [_facts(line) for line in there] == [
        _facts(line.replace(f" {os.getuid()} {os.getgid()} ", " 0 0 ")) for line in here.splitlines()
    ]


def _facts(line: str) -> str:
    return line.rpartition(" ")[0] if " d" in line else line


def test_rerun_is_cached_and_transfers_nothing(client: BuildKitClient, context: Path) -> None:
    (context / "data").write_bytes(os.urandom(1 << 20))
    options = write(context, SHELL + "COPY data /data\nRUN busybox wc -c /data\n")
    first: list[Event] = []
    client.build(options, on_event=first.append)
    assert transferred(first) > 1 << 20
    again: list[Event] = []
    client.build(options, on_event=again.append)
    assert transferred(again) < 10_000
    assert {name.partition("] ")[2].split()[0] for name in cached_steps(again)} == {"COPY", "RUN"}


def test_dockerignore_with_exceptions(client: BuildKitClient, context: Path) -> None:
    for name in ("keep.txt", "docs/a.md", "docs/README.md", "docs/sub/b.md", "src/x.pyc", "src/x.py"):
        (context / name).parent.mkdir(exist_ok=True)
        (context / name).touch()
    (context / ".dockerignore").write_text(
        "# comment\n\ndocs\n!docs/README.md\n**/*.pyc\nbusybox\n!busybox\n"
    )
    events: list[Event] = []
    client.build(
        write(context, fresh("COPY . /w\nRUN cd /w && busybox find . -type f | busybox sort\n")),
        on_event=events.append,
    )
    assert output_of(events).split() == [
        *("./.dockerignore", "./Dockerfile", "./busybox", "./docs/README.md", "./keep.txt", "./src/x.py")
    ]


def test_patterns_may_have_any_characters(client: BuildKitClient, context: Path) -> None:
    for name in ("ünï cödé+.txt", "böse.txt", "gut.txt"):
        (context / name).touch()
    (context / ".dockerignore").write_text("bö*\n")
    events: list[Event] = []
    steps = 'COPY ["ünï cödé+.txt", "/one/"]\nCOPY *.txt /all/\n'
    steps += "RUN cd / && busybox find one all -type f | busybox sort\n"
    client.build(write(context, fresh(steps)), on_event=events.append)
    assert output_of(events).splitlines() == ["all/gut.txt", "all/ünï cödé+.txt", "one/ünï cödé+.txt"]


def test_missing_context_is_told(client: BuildKitClient, context: Path) -> None:
    options = write(context, SHELL)
    with pytest.raises(ContextError, match="nowhere"):
        client.build(BuildOptions(context / "nowhere", options.dockerfile), on_event=ignore)


def test_dockerfile_may_lie_outside_of_the_context(
    client: BuildKitClient, context: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    dockerfile = tmp_path / "elsewhere" / "Dockerfile.web"
    dockerfile.write_text(SHELL + "ARG WHO\nRUN echo hello $WHO\n")
    events: list[Event] = []
    who = random_id()
    options = BuildOptions(context=context, dockerfile=dockerfile, build_args={"WHO": who}, network="none")
    client.build(options, on_event=events.append)
    assert f"hello {who}" in output_of(events)


def test_name_that_is_not_utf8_fails_with_its_name(client: BuildKitClient, context: Path) -> None:
    Path(os.fsdecode(os.fsencode(context) + b"/bad\xff")).touch()
    with pytest.raises(ContextError, match=r"bad\\xff"):
        client.build(write(context, "FROM scratch\nCOPY . /\n"), on_event=ignore)


def test_many_files_arrive(client: BuildKitClient, context: Path) -> None:
    for number in range(2000):
        folder = context / "many" / str(number % 40)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_text(str(number))
    events: list[Event] = []
    options = write(context, fresh("COPY many /many\nRUN busybox find /many -type f | busybox wc -l\n"))
    client.build(options, on_event=events.append)
    assert output_of(events).split() == ["2000"]


# --- results ----------------------------------------------------------------------------------------------------------


def test_image_lands_in_docker(client: BuildKitClient, context: Path) -> None:
    info = client.info()
    if "moby" not in info.capabilities.exporters:
        pytest.skip("no image store")
    name = f"bk-{random_id()}:1"
    options = write(context, SHELL)
    result = client.build(
        BuildOptions(options.context, options.dockerfile, labels={"x": "y"}, exporters=[moby([name])]),
        on_event=ignore,
    )
    assert (result.image_id or "").startswith("sha256:")
    assert (result.image_digest is not None) is (info.kind == "docker-containerd")


@pytest.mark.parametrize("kind", ["tar", "docker"])
def test_tar_comes_back_through_the_sink(client: BuildKitClient, context: Path, kind: str) -> None:
    if kind not in client.capabilities().exporters:
        pytest.skip(f"no {kind} exporter")
    sink = io.BytesIO()
    to = ToFile(sink)
    exporter = docker_tar([f"bk-{random_id()}:1"], to) if kind == "docker" else files_tar(to)
    options = write(context, SHELL)
    client.build(BuildOptions(options.context, options.dockerfile, exporters=[exporter]), on_event=ignore)
    sink.seek(0)
    with tarfile.open(fileobj=sink) as tar:
        assert ("bin/sh" if kind == "tar" else "manifest.json") in tar.getnames()


def test_sink_that_fails_fails_the_build_with_its_error(client: BuildKitClient, context: Path) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    options = write(context, SHELL)
    with pytest.raises(OSError, match="No space left"):
        client.build(
            BuildOptions(options.context, options.dockerfile, exporters=[files_tar(ToFile(Full()))]),
            on_event=ignore,
        )


# --- failures ---------------------------------------------------------------------------------------------------------


def failure_of(client: BuildKitClient, options: BuildOptions) -> BuildFailed:
    with pytest.raises(BuildFailed) as caught:
        client.build(options, on_event=ignore)
    return caught.value


def test_failing_run_has_line_exit_code_and_output(client: BuildKitClient, context: Path) -> None:
    error = failure_of(client, write(context, SHELL + "\nRUN echo before \\\n  && exit 7\n"))
    assert error.message == "RUN echo before && exit 7: exit code 7"
    assert (error.exit_code, error.line_range) == (7, (5, 6))
    assert error.snippet == "RUN echo before \\\n  && exit 7"
    assert error.last_output == b"before\n"


@pytest.mark.parametrize(
    ("dockerfile", "message", "line"),
    [
        ("FROM scratch\nRUNN x\n", "unknown instruction: RUNN", 2),
        ("FROM scratch\nCOPY nofile /\n", "COPY nofile /: '/nofile' not found", 2),
        ("FROM scratch\nFROM nothing AS x\nCOPY --from=y / /\n", "", None),
    ],
)
def test_mistake_in_the_dockerfile_is_told(
    client: BuildKitClient, context: Path, dockerfile: str, message: str, line: int | None
) -> None:
    error = failure_of(client, write(context, dockerfile))
    assert error.message.startswith(message)
    assert line is None or error.dockerfile_line == line


def test_missing_dockerfile_is_told(client: BuildKitClient, context: Path) -> None:
    error = failure_of(client, BuildOptions(context, context / "Dockerfile.none"))
    assert error.message == "there is no Dockerfile.none in the folder of the Dockerfile"


def test_missing_stage_is_told(client: BuildKitClient, context: Path) -> None:
    options = write(context, "FROM scratch AS a\nCOPY busybox /\n")
    error = failure_of(client, BuildOptions(options.context, options.dockerfile, target="nope"))
    assert error.message == "the Dockerfile has no stage 'nope'"


def test_missing_base_image_is_told_with_its_line(client: BuildKitClient, context: Path) -> None:
    # Nothing listens on port 1 of the daemon's host.
    error = failure_of(client, write(context, "# base\nFROM 127.0.0.1:1/no/such:1\nRUN x\n"))
    assert error.dockerfile_line == 2
    assert "127.0.0.1:1" in error.message


@pytest.fixture
def locked_registry() -> Iterator[tuple[str, set[str]]]:
    """A registry that refuses everybody: host:port, and the Authorization headers it got."""
    seen: set[str] = set()

    class Refuse(Handler):
        def do_HEAD(self) -> None:
            seen.add(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="locked"')
            self.end_headers()

        do_GET = do_HEAD

    with serving(Refuse) as host:
        yield host, seen


def test_registry_gets_the_credential_and_its_refusal_is_told(
    client: BuildKitClient, context: Path, locked_registry: tuple[str, set[str]]
) -> None:
    host, seen = locked_registry
    asked: list[str] = []

    def credentials(registry: str) -> Credential:
        asked.append(registry)
        return Credential("me", "pass")

    options = write(context, f"FROM {host}/secret/thing:1\nCOPY busybox /\n")
    with pytest.raises(BuildFailed, match=r"the registry refused access.*401 Unauthorized") as caught:
        client.build(options, on_event=ignore, credentials=credentials)
    assert caught.value.dockerfile_line == 1
    assert set(asked) == {host}
    assert "Basic " + base64.b64encode(b"me:pass").decode() in seen


def test_error_of_the_credential_callback_is_the_builds(
    client: BuildKitClient, context: Path, locked_registry: tuple[str, set[str]]
) -> None:
    def credentials(_: str) -> Credential:
        raise KeyError("no helper")

    options = write(context, f"FROM {locked_registry[0]}/secret/thing:1\nCOPY busybox /\n")
    with pytest.raises(KeyError, match="no helper"):
        client.build(options, on_event=ignore, credentials=credentials)


def test_unknown_exporter_is_told_soon(client: BuildKitClient, context: Path) -> None:
    started_s = time.monotonic()
    options = write(context, SHELL)
    unknown = BuildOptions(options.context, options.dockerfile, exporters=[Exporter("nope")])
    with pytest.raises(UnsupportedFeature, match="can not export to 'nope'"):
        client.build(unknown, on_event=ignore)
    assert time.monotonic() - started_s < 2


def test_error_of_the_event_consumer_ends_the_build(client: BuildKitClient, context: Path) -> None:
    def consume(_: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.build(write(context, fresh("RUN busybox sleep 30\n")), on_event=consume)


def test_big_log_is_complete_or_its_clipping_is_noticed(client: BuildKitClient, context: Path) -> None:
    events: list[Event] = []
    options = write(context, fresh("RUN busybox seq 1 700000\n"))
    client.build(options, on_event=events.append)
    clipped = any(isinstance(event, LogClipped) for event in events)
    assert clipped or output_of(events).rstrip().endswith("700000")


# --- cancellation and lost daemons ------------------------------------------------------------------------------------


def endless(context: Path) -> BuildOptions:
    return write(context, fresh("RUN echo at work && busybox sleep 60\n"))


def test_cancel_in_a_run_ends_the_build_soon(client: BuildKitClient, context: Path) -> None:
    events: list[Event] = []
    build = client.start(endless(context), on_event=events.append)
    in_run_step(events, "at work")
    started_s = time.monotonic()
    build.cancel()
    with pytest.raises(BuildCanceled):
        build.wait()
    assert time.monotonic() - started_s < 2
    assert any(isinstance(event, VertexChanged) and event.error for event in events)


def test_cancel_at_once_and_after_the_end(client: BuildKitClient, context: Path) -> None:
    build = client.start(endless(context), on_event=ignore)
    build.cancel()
    with pytest.raises(BuildCanceled):
        build.wait()
    done = client.start(write(context, SHELL), on_event=ignore)
    result = done.wait()
    done.cancel()
    assert done.wait() is result


def test_close_cancels_what_runs(buildkit_address: str, context: Path) -> None:
    client = BuildKitClient.connect(buildkit_address)
    events: list[Event] = []
    build = client.start(endless(context), on_event=events.append)
    in_run_step(events, "at work")
    client.close()
    with pytest.raises(BuildCanceled):
        build.wait()


def test_eight_builds_in_parallel_on_one_client(client: BuildKitClient, tmp_path: Path) -> None:
    def run(number: int) -> str:
        folder = tmp_path / str(number)
        folder.mkdir()
        add_busybox(folder)
        (folder / "data").write_text(f"data {number}")
        events: list[Event] = []
        options = write(folder, fresh("COPY data /data\nRUN busybox cat /data\n"))
        client.build(options, on_event=events.append)
        return output_of(events).strip()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(8))) == [f"data {number}" for number in range(8)]


def test_cut_connection_ends_the_build(buildkit_address: str, context: Path, tmp_path: Path) -> None:
    relay = Relay(tmp_path / "relay", buildkit_address)
    with BuildKitClient.connect(relay.address) as client:
        events: list[Event] = []
        build = client.start(endless(context), on_event=events.append)
        in_run_step(events, "at work")
        started_s = time.monotonic()
        relay.cut()
        with pytest.raises(ConnectionLost, match="lost the connection"):
            build.wait()
        assert time.monotonic() - started_s < 10
        with pytest.raises((ConnectError, ConnectionLost)):
            client.build(write(context, SHELL), on_event=ignore)


def test_silent_daemon_is_given_up(buildkit_address: str, context: Path, tmp_path: Path) -> None:
    relay = Relay(tmp_path / "relay", buildkit_address)
    # Health checks come every 5 s at most.
    with BuildKitClient.connect(relay.address, silence_s=7) as client:
        events: list[Event] = []
        build = client.start(endless(context), on_event=events.append)
        in_run_step(events, "at work")
        relay.freeze()
        with pytest.raises(DaemonLost, match="silent for 7 seconds"):
            build.wait()
    relay.cut()


def test_quiet_step_is_not_taken_for_a_lost_daemon(buildkit_address: str, context: Path) -> None:
    with BuildKitClient.connect(buildkit_address, silence_s=7) as client:
        client.build(write(context, fresh("RUN busybox sleep 9\n")), on_event=ignore)
