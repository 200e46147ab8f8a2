"""Every task of tests/samples runs for real: pulled from a mirror, built, run, pushed, and nothing left.

The images that the samples name come from the mirrors of a settings file, which lead to small ones made of busybox
here, each with the command that its sample expects. What is not what it says:

- `az` is a script that prints its arguments: its steps are for an Azure subscription, and for a managed identity.
- `curl` and `nginx` are busybox's wget and httpd behind those names.
- The addresses of secrets in a Key Vault are replaced by variables of the environment, and registries that exist
  nowhere by those of the tests: through the values file, and the file of aliases.

`docker` is this machine's own, where that is a static program.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker
import docker.errors
import pytest
import yaml

from runners.local.images import ensure_busybox, is_static
from tasks_engine.backends.credential_arguments import parse_credential
from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.registry import RegistryClient
from tasks_engine.images.reference import parse_reference
from tests.end_to_end.conftest import Outcome, Tasks
from tests.services import require

pytestmark = pytest.mark.docker

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.yaml") if "." not in path.stem)

#: as the entry point of the official image: options are for bash, all else is a command
BASH = 'case "$1" in -*) exec sh "$@";; *) exec "$@";; esac'
TELL = 'echo "az $*"'
LAST_ADDRESS = 'for last; do :; done; exec wget -q -O - "$last"'
SERVE = "echo welcome > /index.html; exec httpd -f -p 80 -h /"

#: name in the samples -> script of its entry point
IMAGES: Mapping[str, str] = {
    "docker.io/library/bash:5.2": BASH,
    "docker.io/library/bash:latest": BASH,
    "docker.io/library/nginx:latest": SERVE,
    "mcr.microsoft.com/acr/azure-cli:2ff604c": TELL,
    "mcr.microsoft.com/acr/bash:2ff604c": BASH,
    "mcr.microsoft.com/acr/curl:2ff604c": LAST_ADDRESS,
}
#: too large to be pushed and pulled for one step: the engine has it
DOCKER = "docker.io/library/docker:latest"
#: registry -> folder below the registry of the tests
MIRRORS = {"docker.io/library": "mirror/hub", "mcr.microsoft.com": "mirror/mcr"}

CONTEXT = {
    "Dockerfile": "FROM busybox\nARG REVISION=none\nARG TOKEN=\nRUN echo $REVISION > /revision\n"
    'CMD ["echo", "good morning"]\n',
    "server.Dockerfile": "FROM busybox\nRUN mkdir /www && echo healthy > /www/health\n"
    'CMD ["httpd", "-f", "-p", "80", "-h", "/www"]\n',
    "tool.Dockerfile": "FROM busybox\n",
    "checks/Dockerfile": 'FROM busybox\nCOPY --chmod=755 check.sh /check.sh\nENTRYPOINT ["/check.sh"]\n',
    "checks/check.sh": '#!/bin/sh\ncase "$1" in run) echo checked;; *) sleep 1; wget -q -O - "$1";; esac\n',
}
PASSWORD = "correct horse"
TOKEN = "canary-e8f1"


@dataclass(frozen=True)
class Expected:
    """What a sample gives. `$R` and `$ID` stand for the registry and the id of the run."""

    #: step -> part of what it prints
    prints: Mapping[str, str] = field(default_factory=dict)
    pushes: Sequence[str] = ()


ECHOES = {name: name for name in ("one", "two", "three")}
EXPECTED: Mapping[str, Expected] = {
    "build": Expected(),
    "build-and-push": Expected(pushes=["$R/greeter:$ID"]),
    "build-and-run": Expected({"acb_step_1": "good morning"}),
    "build-cache": Expected(pushes=["$R/app:$ID"]),
    "build-test-in-parallel": Expected({"checks": "healthy"}, ["$R/server:$ID"]),
    "diamond": Expected({name: name for name in ("first", "left", "right", "last")}),
    "file-after-the-context": Expected(pushes=["$R/tool:$ID"]),
    "identity-and-values": Expected(
        {"login": "az login --identity --username 6ba7b810"}, ["$R/tools/app:$ID"]
    ),
    "image-alias": Expected({"acb_step_0": "running"}),
    "image-with-a-tag": Expected({"acb_step_0": "from Docker Hub"}),
    "mixed-order": Expected(
        {"checks": "checked", "update": "--container-image-name $R/site:$ID", "tell": "updated"},
        ["$R/site:$ID"],
    ),
    "parallel": Expected(ECHOES),
    "public-image": Expected({"acb_step_0": "good morning"}),
    "secret-volumes": Expected({"acb_step_0": "me"}),
    "sequence": Expected({"acb_step_0": "one", "acb_step_1": "two", "acb_step_2": "three"}),
    "sequence-by-id": Expected(ECHOES),
    "server-and-client": Expected({"acb_step_1": "welcome"}),
    "several-tags": Expected(pushes=["$R/greeter:$ID", "$R/greeter:latest"]),
    "shared-files": Expected({"acb_step_1": ":", "acb_step_2": "seen"}),
    "two-registries": Expected(pushes=["$R/app:$ID", "$ABROAD/team/app:$ID"]),
    "volumes": Expected({"acb_step_0": "level=debug", "acb_step_1": "greeting"}),
}


def test_every_sample_is_run() -> None:
    assert list(EXPECTED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_runs(name: str, run: Callable[[str], Outcome], given: Given) -> None:
    outcome = run(name)

    assert outcome.exit_code == 0, outcome.stdout[-4000:] + outcome.stderr
    assert set(outcome.statuses.values()) == {"succeeded"}
    for step_id, text in EXPECTED[name].prints.items():
        assert given.filled(text) in outcome.step_log(step_id).decode()
    pushed = {event["image"]: event["digest"] for event in outcome.of_type("image_pushed")}
    assert sorted(pushed) == sorted(map(given.filled, EXPECTED[name].pushes))
    for image, digest in pushed.items():
        assert given.digest_of(image) == digest
    assert TOKEN not in outcome.stdout + outcome.stderr


@dataclass(frozen=True)
class Given:
    """What stands for the places that the samples name."""

    run_id: str
    registry: str
    abroad: str

    def filled(self, text: str) -> str:
        return text.replace("$R", self.registry).replace("$ID", self.run_id).replace("$ABROAD", self.abroad)

    @property
    def credential(self) -> str:
        login = {"username": "tester", "userNameProviderType": "opaque"}
        password = {"password": PASSWORD, "passwordProviderType": "opaque"}
        return json.dumps({"registry": self.abroad, **login, **password})

    def digest_of(self, image: str) -> str | None:
        logins = DockerConfigCredentials(Path("/nowhere"), [parse_credential(self.credential)])
        client = RegistryClient(logins)
        try:
            return client.digest(parse_reference(image))
        finally:
            client.close()


@pytest.fixture
def given(registry: str, login_registry: str, request: pytest.FixtureRequest) -> Given:
    sample = request.node.callspec.params["name"]
    return Given(f"{sample}-{uuid.uuid4().hex[:8]}", registry, login_registry)


@pytest.fixture
def run(mirror: str, tasks: Tasks, tmp_path: Path, given: Given) -> Callable[[str], Outcome]:
    """Runs a sample in a folder with all that the samples build."""

    def run(name: str) -> Outcome:
        if name == "identity-and-values" and docker_client() is None:
            pytest.skip("this machine has no static docker client that a step could run")
        folder = tmp_path / "context"
        for path, text in CONTEXT.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        (folder / "task.yaml").write_text(text_of(name))
        (folder / "registries.aliases.yaml").write_text(f"mirror: {given.abroad}/team\n")
        (tmp_path / "settings.toml").write_text(mirror)
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values_of(name, given.registry)))
        return tasks(
            *("run", str(folder), "--json", "--id", given.run_id, "--registry", given.registry),
            *("--values", str(tmp_path / "values.yaml"), "--commit", "c0ffee"),
            *("--credential", given.credential),
            env={"TASKS_CONFIG": str(tmp_path / "settings.toml"), "TOKEN": TOKEN, "APIKEY": TOKEN},
        )

    return run


def text_of(name: str) -> str:
    """A sample whose secrets are in the environment."""
    text = (SAMPLES / f"{name}.yaml").read_text()
    vault = "https://example.vault.azure.net/secrets"
    text = text.replace(f"{vault}/token/0123456789abcdef", "env:TOKEN").replace(
        f"{vault}/apikey", "env:APIKEY"
    )
    assert "vault.azure.net" not in text
    return text


def values_of(name: str, registry: str) -> dict[str, str]:
    path = SAMPLES / f"{name}.values.yaml"
    values = yaml.safe_load(path.read_text()) if path.exists() else {"user": "me"}
    return {**values, "registry": registry}


def docker_client() -> bytes | None:
    found = shutil.which("docker")
    program = Path(found).read_bytes() if found is not None else b""
    return program if is_static(program) else None


@pytest.fixture(scope="module")
def mirror() -> Iterator[str]:
    """A settings file with the mirrors, which hold the images of the samples; the engine has none of them then."""
    registry = require("TASKS_TEST_REGISTRY")
    engine = require("TASKS_TEST_ENGINE")
    busybox = ensure_busybox(engine)
    client = docker.APIClient(base_url=engine)
    try:
        forget(client, [*IMAGES, DOCKER])
        push(client, busybox, at_mirror(busybox, registry))
        for script in set(IMAGES.values()):
            names = [at_mirror(name, registry) for name in IMAGES if IMAGES[name] == script]
            image = make_image(client, busybox, "program", f"#!/bin/sh\n{script}\n".encode(), names[0])
            for name in names:
                push(client, image, name)
        if (program := docker_client()) is not None:
            make_image(client, busybox, "docker", program, DOCKER)
        mirrors = ", ".join(f'"{name}" = "{registry}/{folder}"' for name, folder in MIRRORS.items())
        yield f"[registries]\nmirrors = {{ {mirrors} }}\n"
        forget(client, [*IMAGES, DOCKER])
    finally:
        client.close()


def forget(client: docker.APIClient, names: Sequence[str]) -> None:
    for name in names:
        with suppress(docker.errors.ImageNotFound):
            client.remove_image(name)


def at_mirror(name: str, registry: str) -> str:
    known, folder = next((known, folder) for known, folder in MIRRORS.items() if name.startswith(known))
    return f"{registry}/{folder}{name.removeprefix(known)}"


def make_image(client: docker.APIClient, busybox: str, file: str, program: bytes, name: str) -> str:
    """Makes an image of busybox with one program more, which it runs. Its name."""
    container = client.create_container(busybox)["Id"]
    try:
        client.put_archive(container, "/bin", archive(file, program))
        changes = [f'ENTRYPOINT ["/bin/{file}"]', 'CMD ["sh"]']
        repository, _, tag = name.rpartition(":")
        client.commit(container, repository, tag, changes=changes)
    finally:
        client.remove_container(container)
    return name


def push(client: docker.APIClient, image: str, name: str) -> None:
    repository, _, tag = name.rpartition(":")
    client.tag(image, repository, tag)
    for line in client.push(repository, tag, stream=True, decode=True):
        assert "error" not in line, line


def archive(name: str, content: bytes) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o755
        tar.addfile(member, io.BytesIO(content))
    return output.getvalue()
