"""A value nobody could write by chance goes through a run in every way there is; then everything is searched for it.

The one place that may hold it is the container that the author gave it to, as its environment or arguments.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import re
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import docker
import pytest

from tests.end_to_end.conftest import Outcome, Tasks
from tests.services import require
from tests.unit.backends.fake_http import Asked, FakeHttp, Said


def _needles(value: str) -> dict[str, bytes]:
    """Name of a form -> what must not be found."""
    raw = value.encode()
    behind = [base64.b64encode(b"x" * before + raw) for before in range(3)]
    inside = {f"base64 behind {before}": form[4:-4] for before, form in enumerate(behind)}
    forms = {
        "plain": raw,
        **inside,
        "base64 for addresses": base64.urlsafe_b64encode(raw)[:-4],
        "address": quote(value, safe="").encode(),
        "form": quote_plus(value).encode(),
        "JSON": json.dumps(value)[1:-1].encode(),
        "JSON with letters": json.dumps(value, ensure_ascii=False)[1:-1].encode(),
    }
    assert all(len(form) > 20 for form in forms.values())
    return forms


@dataclass(frozen=True)
class Way:
    """How a value gets into a run, and to step `given`, which has it in $VALUE or the file that $VALUE_FILE names."""

    #: top of the task file
    top: str = ""
    #: properties of step `given`
    given: str = ""
    #: further steps
    steps: str = ""
    flags: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    #: the value stands in the environment of `tasks`, where its person has put it
    in_environ: bool = False
    #: the value comes from a file, which is left out of the search
    file: str = ""
    #: name and content of files of the project
    files: Mapping[str, str] = field(default_factory=dict)
    #: the container of step `given` gets it by its environment or arguments
    in_container: bool = True


def _ways(value: str, folder: Path, vault: FakeHttp) -> Mapping[str, Way]:
    secret = "secrets: [{id: one, keyvault: 'env:CANARY'}]\n"
    environ = {"CANARY": value}
    file = folder / "given-secret"
    from_file = f"secrets: [{{id: one, keyvault: 'file:{file}'}}]\n"
    env = "env: ['VALUE={{.Secrets.one}}']"
    return {
        "variable": Way(secret, env, environ=environ, in_environ=True),
        "file": Way(from_file, env, file=str(file)),
        "value": Way(
            "",
            "env: ['VALUE={{.Values.one}}']",
            flags=("--set-secret", "one"),
            environ={"one": value},
            in_environ=True,
        ),
        "vault": Way(
            "secrets: [{id: one, keyvault: 'vault:kv/app#word'}]\n",
            env,
            environ={"VAULT_ADDR": f"http://{vault.host}", "VAULT_TOKEN": "a-token"},
        ),
        "argument of docker run": Way(from_file, "ENV_OPTION", file=str(file)),
        "volume": Way(
            f"{from_file}volumes: [{{name: v, secret: {{file: '{{{{.Secrets.one | b64enc}}}}'}}}}]\n",
            "volumeMounts: [{name: v, mountPath: /v}], env: ['VALUE_FILE=/v/file']",
            file=str(file),
            in_container=False,
        ),
        "build secret": Way(
            from_file,
            env,
            "- id: with-secret\n"
            "  build: '--secret id=one,src=secret-of-build -t IMAGE-secret -f Dockerfile.secret .'\n",
            file=str(file),
            files={
                "secret-of-build": value,
                "Dockerfile.secret": "FROM busybox\nRUN --mount=type=secret,id=one,required=true "
                'v="$(cat /run/secrets/one)" && [ -n "$v" ] && echo "$v" && echo "$v" | base64\n',
            },
        ),
    }


@pytest.fixture
def value() -> str:
    return f"cAnary-{uuid.uuid4().hex}/+é\"q'<&>"


@dataclass
class Seen:
    """What was looked at while a run went on."""

    #: place -> what stood there
    command_lines: dict[str, bytes] = field(default_factory=dict)
    environments: dict[str, bytes] = field(default_factory=dict)
    #: name of a container -> what its engine tells
    containers: dict[str, bytes] = field(default_factory=dict)


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError, ValueError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _descendants(int(child))


@contextlib.contextmanager
def _watching(pid: int, engine: str, state_dir: Path) -> Iterator[Seen]:
    seen, over = Seen(), threading.Event()

    def processes() -> None:
        while not over.wait(0.02):
            for each in _descendants(pid):
                with contextlib.suppress(OSError):
                    seen.command_lines[f"command line of {each}"] = Path(f"/proc/{each}/cmdline").read_bytes()
                    seen.environments[f"environment of {each}"] = Path(f"/proc/{each}/environ").read_bytes()

    def containers() -> None:
        client = docker.APIClient(base_url=engine)
        try:
            while not over.wait(0.05):
                for run in (state_dir / "runs").glob("*"):
                    for each in client.containers(all=True, filters={"label": f"tasks.run={run.name}"}):
                        with contextlib.suppress(docker.errors.NotFound):
                            told = client.inspect_container(each["Id"])
                            seen.containers[told["Name"]] = json.dumps(told, ensure_ascii=False).encode()
        finally:
            client.close()

    watchers = [threading.Thread(target=each) for each in (processes, containers)]
    for watcher in watchers:
        watcher.start()
    try:
        yield seen
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()


def _files_below(folder: Path, but: set[str]) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and str(path) not in but:
            yield str(path), path.read_bytes()


def _parts_of_image(client: docker.DockerClient, tag: str) -> Iterator[tuple[str, bytes]]:
    """History, configuration and layers."""
    yield f"history of {tag}", json.dumps(client.api.history(tag), ensure_ascii=False).encode()
    yield f"{tag}", json.dumps(client.api.inspect_image(tag), ensure_ascii=False).encode()
    with tarfile.open(fileobj=io.BytesIO(b"".join(client.api.get_image(tag)))) as archive:
        for member in archive:
            if member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                data = content.read()
                yield f"{member.name} of {tag}", gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def _found(places: Mapping[str, bytes], needles: Mapping[str, bytes]) -> list[str]:
    return [
        f"{form} in {place}"
        for place, data in places.items()
        for form, needle in needles.items()
        if needle in data
    ]


_PRINTS = (
    'v="${VALUE:-$(cat $VALUE_FILE)}"; echo "$v"; echo "$v" >&2; printf %s "$v" | base64; echo "user:$v" | base64; '
    'printf %s "$v" | md5sum; printf "%s" "$v" | head -c 20; sleep 0.5; printf "%s\\n" "$v" | tail -c +21; exit 3'
)


@pytest.fixture
def vault(value: str) -> Iterator[FakeHttp]:
    """A Vault with one secret, whose mount is of version 2."""

    def answer(asked: Asked) -> Said:
        if "mounts" in asked.path:
            return Said(200, {"data": {"path": "kv/", "options": {"version": "2"}}})
        return Said(200, {"data": {"data": {"word": value}, "metadata": {}}})

    vault = FakeHttp(answer)
    yield vault
    vault.close()


@dataclass
class Scene:
    way: Way
    tag: str
    folder: Path
    value: str


@pytest.fixture(
    params=["variable", "file", "value", "vault", "argument of docker run", "volume", "build secret"],
    ids=lambda name: name.replace(" ", "-"),
)
def scene(request: pytest.FixtureRequest, project: Any, tmp_path: Path, value: str, vault: FakeHttp) -> Scene:
    way = _ways(value, tmp_path, vault)[request.param]
    if way.file:
        Path(way.file).write_text(value)
    tag = f"canary-{uuid.uuid4().hex[:8]}"
    prints = _PRINTS.replace("'", "'\"'\"'")
    if way.given == "ENV_OPTION":
        given = f"  cmd: >-\n    -e 'VALUE={{{{.Secrets.one}}}}' busybox sh -c '{prints}'\n"
    else:
        given = "".join(f"  {line}\n" for line in re.split(r", (?=env:)", way.given))
        given += f"  cmd: >-\n    busybox sh -c '{prints}'\n"
    folder: Path = project(
        f"{way.top}steps:\n"
        f"- id: given\n  ignoreErrors: true\n{given}"
        "- {id: other, cmd: busybox sleep 0.5}\n"
        f"- {{id: build, build: '-t {tag} .'}}\n"
        f"{way.steps.replace('IMAGE', tag)}",
        Dockerfile="FROM busybox\nCOPY Dockerfile /\nRUN env > /env\n",
        __dockerignore="secret-of-build\n",
    )
    for name, content in way.files.items():
        (folder / name).write_text(content)
    return Scene(way, tag, folder, value)


@pytest.mark.parametrize("view", ["json", "terminal"])
def test_the_value_is_nowhere_but_where_it_was_given(
    tasks: Tasks, scene: Scene, docker_api: docker.DockerClient, engine: str, tmp_path: Path, view: str
) -> None:
    way, needles = scene.way, _needles(scene.value)
    flags = (*way.flags, *(("--json",) if view == "json" else ()))
    process = tasks.start("run", str(scene.folder), *flags, env=dict(way.environ))
    with _watching(process.pid, engine, tasks.state_dir) as seen:
        outcome = tasks.wait(process)

    try:
        assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
        _assert_given(outcome, scene.value)
        assert any("other" in name for name in seen.containers), "no container was seen"
        places = {
            "standard output": outcome.stdout.encode(),
            "standard error": outcome.stderr.encode(),
            **seen.command_lines,
            **({} if way.in_environ else seen.environments),
            **{
                f"container {name}": told
                for name, told in seen.containers.items()
                if not (way.in_container and "given" in name)
            },
            **dict(_files_below(tmp_path, {way.file, *(str(scene.folder / name) for name in way.files)})),
        }
        for tag in (scene.tag, *([f"{scene.tag}-secret"] if way.files else ())):
            places |= dict(_parts_of_image(docker_api, tag))
        assert len(seen.command_lines) > 0
        assert _found(places, needles) == []
    finally:
        for image in docker_api.images.list():
            if any(each.startswith(scene.tag) for each in image.tags):
                docker_api.images.remove(image.id, force=True)


def _assert_given(outcome: Outcome, value: str) -> None:
    import hashlib

    assert hashlib.md5(value.encode()).hexdigest().encode() in outcome.log


@pytest.mark.parametrize(
    "command",
    ["busybox {{.Secrets.one}}", "busybox sh -c {{.Secrets.one}}"],
)
def test_an_error_of_the_engine_does_not_quote_the_value(
    tasks: Tasks, project: Any, value: str, command: str
) -> None:
    folder = project(
        f"secrets: [{{id: one, keyvault: 'env:CANARY'}}]\nsteps:\n- {{id: s, cmd: {json.dumps(command)}}}\n"
    )
    for flags in ((), ("--json",)):
        outcome = tasks("run", str(folder), *flags, env={"CANARY": value})
        assert outcome.exit_code not in (0, 2), outcome.stderr
        places = {"output": outcome.stdout.encode(), "errors": outcome.stderr.encode()}
        places |= dict(_files_below(tasks.state_dir, set()))
        assert _found(places, _needles(value)) == []


def test_a_login_is_nowhere_but_in_the_step_s_home(
    tasks: Tasks, project: Any, engine: str, value: str, tmp_path: Path
) -> None:
    registry = require("TASKS_TEST_REGISTRY")
    login = {"registry": registry, "username": "me", "password": value}
    kinds = {"userNameProviderType": "opaque", "passwordProviderType": "opaque"}
    given = tmp_path / "login.json"
    given.write_text(json.dumps({**login, **kinds}))
    folder = project(
        f"steps:\n- id: s\n  env: ['A={registry}']\n"
        "  cmd: busybox sh -c 'cat $HOME/.docker/config.json; sleep 0.5'\n"
        f"- {{id: never, cmd: '{registry}/none-{time.time_ns()} true', ignoreErrors: true}}\n"
    )
    process = tasks.start("run", str(folder), "--json", "--credential", f"@{given}")
    with _watching(process.pid, engine, tasks.state_dir) as seen:
        outcome = tasks.wait(process)

    assert b"auths" in outcome.step_log("s"), outcome.stderr
    places = {"output": outcome.stdout.encode(), "errors": outcome.stderr.encode()}
    places |= seen.command_lines | seen.environments | seen.containers
    places |= dict(_files_below(tmp_path, {str(given)}))
    assert _found(places, _needles(value)) == []
