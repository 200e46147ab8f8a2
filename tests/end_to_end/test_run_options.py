"""Options of `tasks run` that change what a task does, with real engines."""

from __future__ import annotations

import gzip
import io
import json
import platform
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks_engine.backends.credentials import DockerConfigCredentials
from tasks_engine.backends.registry import Descriptor, Manifest, RegistryClient
from tasks_engine.backends.registry.manifests import OCI_MANIFEST, digest_of
from tasks_engine.images.reference import parse_reference

pytestmark = pytest.mark.docker

both_engines = pytest.mark.parametrize("engine", ["engine", "old_engine"], indirect=True)
OTHER_ARCHITECTURE = "amd64" if platform.machine() == "aarch64" else "arm64"


@both_engines
def test_a_command_runs_without_a_file_and_without_files(tasks, project):
    folder = project("steps: [{cmd: not this}]", secret="of the folder")

    outcome = tasks(
        "run", "--cmd", "-e WORD=$ID busybox sh -c 'pwd; ls /workspace; echo $WORD'", "--id", "r1", cwd=folder
    )

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert outcome.log == b"/\nr1\n"


def test_a_command_has_the_files_of_the_context_that_is_given(tasks, project):
    folder = project("steps: [{cmd: not this}]", file="of the folder")

    outcome = tasks("run", "--cmd", "busybox cat /workspace/file", str(folder))

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert outcome.log == b"of the folder"


def test_a_context_of_nothing_has_no_files(tasks, project):
    folder = project("steps: [{cmd: busybox ls -A /workspace}]", file="of the folder")

    outcome = tasks("run", str(folder / "task.yaml"), "/dev/null")

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert outcome.log == b""


def test_the_time_limit_of_a_command_is_that_of_its_step(tasks):
    outcome = tasks("run", "--cmd", "busybox true", "--timeout", "1000", "--dry-run", "--json")
    assert [step["timeout_s"] for step in json.loads(outcome.stdout)["steps"]] == [1000]


def test_a_command_and_a_file_are_a_usage_error(tasks, project):
    folder = project("steps: []")

    outcome = tasks("run", "task.yaml", "--cmd", "busybox true", cwd=folder)

    assert outcome.exit_code == 2
    assert "--cmd stands for a task file" in outcome.stderr
    assert not (tasks.state_dir / "runs").exists()


def test_a_command_can_be_run_again(tasks):
    assert tasks("run", "--cmd", "busybox echo hi").exit_code == 0

    again = tasks("runs", "rerun")

    assert again.exit_code == 0, again.stdout + again.stderr
    assert again.log == b"hi\n"


@both_engines
def test_a_platform_is_that_of_builds_and_is_told_to_the_task(tasks, project, registry):
    folder = project(
        "version: v1.1.0\nsteps:\n"
        "  - build: -t $Registry/platform:$ID --build-arg SAID=$OS-$Architecture .\n"
        "  - push: [$Registry/platform:$ID]\n",
        Dockerfile="FROM scratch\nARG TARGETARCH\nARG SAID\nLABEL for=$TARGETARCH said=$SAID\nCOPY task.yaml /\n",
    )
    run_id = f"p-{secrets.token_hex(4)}"

    outcome = tasks(
        *("run", str(folder), "--platform", f"linux/{OTHER_ARCHITECTURE}"),
        *("--registry", registry, "--id", run_id),
    )

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    with RegistryClient(DockerConfigCredentials(folder)) as client:
        reference = parse_reference(f"{registry}/platform:{run_id}")
        manifest = client.manifest(reference)
        if manifest.is_index:
            digest = client.platform_digest(reference, f"linux/{OTHER_ARCHITECTURE}")
            manifest = client.manifest(parse_reference(f"{registry}/platform@{digest}"))
        config = manifest.content()["config"]
        with client.blob(reference, config["digest"], config["size"]) as blob:
            image = json.loads(blob.read())
    assert image["architecture"] == OTHER_ARCHITECTURE
    assert image["config"]["Labels"] == {
        "for": OTHER_ARCHITECTURE,
        "said": f"linux-{OTHER_ARCHITECTURE}",
    }


@both_engines
def test_the_engines_own_platform_can_be_named(tasks):
    own = "amd64" if OTHER_ARCHITECTURE == "arm64" else "arm64"

    outcome = tasks("run", "--cmd", "busybox echo hi", "--platform", f"linux/{own}")

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr


def test_a_platform_that_is_none_is_a_usage_error_with_what_there_is(tasks):
    outcome = tasks("run", "--cmd", "busybox true", "--platform", "mac")

    assert outcome.exit_code == 2
    assert "'mac'" in outcome.stderr
    assert "linux, windows" in outcome.stderr


SECRETS = """\
FROM busybox
ARG now
RUN --mount=type=secret,id=word,required=true --mount=type=secret,id=file,required=true \\
    echo "$now: $(cat /run/secrets/word), $(cat /run/secrets/file)"
"""


@both_engines
def test_secrets_are_there_for_all_builds_and_shown_nowhere(tasks, project):
    folder = project("steps:\n- build: .\n- build: -f second .\n", Dockerfile=SECRETS, second=SECRETS)
    outside = folder.parent / "token.txt"
    outside.write_text("correct-horse")

    outcome = tasks(
        *("run", str(folder), "--secret", "id=word,env=WORD", "--secret", f"id=file,src={outside}"),
        env={"WORD": "battery-staple"},
    )

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    shown = outcome.stdout + "".join(
        path.read_text(errors="replace") for path in outcome.folder.rglob("*") if path.is_file()
    )
    assert "correct-horse" not in shown
    assert "battery-staple" not in shown


def test_the_agent_is_there_for_all_builds(tasks, project, tmp_path):
    folder = project(
        "steps: [{build: .}]",
        Dockerfile="FROM busybox\nARG now\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo agent is there\n",
    )
    socket = tmp_path / "agent"
    agent = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        outcome = tasks("run", str(folder), "--ssh", "default", env={"SSH_AUTH_SOCK": str(socket)})
    finally:
        agent.terminate()
        agent.wait()

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert b"agent is there" in outcome.log


def test_a_run_can_keep_going_after_a_failure(tasks, project):
    text = (
        "steps:\n"
        "- {id: fails, cmd: busybox false, when: ['-']}\n"
        "- {id: waits, cmd: busybox true, when: [fails]}\n"
        "- {id: slow, cmd: busybox sleep 2, when: ['-']}\n"
        "- {id: after, cmd: busybox echo after, when: [slow]}\n"
    )

    outcome = tasks("run", str(project(text)), "--json", "--keep-going")
    stopped = tasks("run", str(project(text)), "--json")

    assert outcome.exit_code == stopped.exit_code == 1
    kept = {"fails": "failed", "waits": "skipped", "slow": "succeeded", "after": "succeeded"}
    assert outcome.statuses == kept
    assert stopped.statuses == {**kept, "slow": "canceled", "after": "skipped"}


@pytest.mark.parametrize("arguments", [["--timeout", "500"], []], ids=["asked for more", "asked for none"])
def test_no_run_is_longer_than_the_settings_allow(tasks, tmp_path, arguments):
    settings = tmp_path / "settings.toml"
    settings.write_text("[policy]\nmax_run_s = 2\n")

    outcome = tasks("run", "--cmd", "busybox sleep 60", *arguments, env={"TASKS_CONFIG": str(settings)})

    assert outcome.exit_code == 124, outcome.stdout + outcome.stderr
    assert "did not finish within 2 s" in outcome.stdout
    assert "policy.max_run_s" in outcome.stdout
    assert ("warning: --timeout 500" in outcome.stderr) == bool(arguments)


def archive(**files: str) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "."))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    return gzip.compress(output.getvalue())


def push_artifact(client: RegistryClient, name: str, data: bytes) -> str:
    reference = parse_reference(name)

    def layer(content: bytes, media_type: str) -> dict[str, object]:
        described = Descriptor(media_type, digest_of(content), len(content))
        client.upload_blob(reference, described, lambda: [content])
        return {"mediaType": media_type, "digest": described.digest, "size": described.size_bytes}

    content = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": layer(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [layer(data, "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    return client.put_manifest(reference, Manifest.of(OCI_MANIFEST, json.dumps(content).encode()))


@pytest.fixture
def registry_client(tmp_path: Path) -> Iterator[RegistryClient]:
    with RegistryClient(DockerConfigCredentials(tmp_path)) as client:
        yield client


def test_a_context_comes_from_an_artifact(tasks, registry, registry_client):
    name = f"{registry}/contexts/{secrets.token_hex(4)}:v1"
    text = "steps:\n- build: -t from-artifact .\n- cmd: busybox cat file\n"
    push_artifact(
        registry_client,
        name,
        archive(task__yaml=text, Dockerfile="FROM busybox\nCOPY file /\n", file="of the artifact"),
    )

    outcome = tasks("run", f"oci://{name}")
    plan = tasks("plan", f"oci://{name}", "--json")

    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
    assert outcome.log.endswith(b"of the artifact")
    assert len(json.loads(plan.stdout)["steps"]) == 2
    assert tasks("validate", f"oci://{name}").exit_code == 0


def test_an_artifact_behind_a_login_needs_it(tasks, login_registry, tmp_path):
    credential = tmp_path / "login.json"
    types = {"userNameProviderType": "opaque", "passwordProviderType": "opaque"}
    login = {"registry": login_registry, "username": "tester", "password": "correct horse", **types}
    credential.write_text(json.dumps(login))
    name = f"{login_registry}/contexts/{secrets.token_hex(4)}:v1"
    from tasks_engine.cli.task_options import credentials_of

    logins = DockerConfigCredentials(tmp_path, credentials_of([f"@{credential}"]))
    with RegistryClient(logins) as client:
        push_artifact(client, name, archive(task__yaml="steps: [{cmd: busybox cat task.yaml}]"))

    refused = tasks("run", f"oci://{name}")
    outcome = tasks("run", f"oci://{name}", "--credential", f"@{credential}")

    assert refused.exit_code == 3
    assert "wants a login" in refused.stderr
    assert outcome.exit_code == 0, outcome.stdout + outcome.stderr


def test_an_artifact_that_is_not_there_is_an_error_with_a_hint(tasks, registry):
    outcome = tasks("run", f"oci://{registry}/contexts/none:v1")

    assert outcome.exit_code == 3
    assert "contexts/none" in outcome.stderr
    assert "hint:" in outcome.stderr
    assert "Traceback" not in outcome.stderr
