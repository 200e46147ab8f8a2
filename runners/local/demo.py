"""`make demo`: the whole way on this machine, from no engine to an image pulled back from a registry.

Builds two images in parallel, starts one as a service, tests it from the other by name, pushes both, reads the
manifests back and compares digests, removes the local copies, pulls one again and starts it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import docker
import docker.errors
from images import ensure_busybox

from tasks_engine.app import find_engine
from tasks_engine.errors import EngineError
from tasks_engine.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "04-parallel-steps"
TASKS = [sys.executable, "-m", "tasks_engine"]
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json"
)


def main() -> int:
    settings = read_settings(os.environ)
    started_engine = start_engine_if_missing(settings)
    engine = find_engine(settings)
    assert engine.endpoint is not None
    say(f"engine: {engine.endpoint.url} ({engine.endpoint.origin})")
    client = docker.DockerClient(base_url=engine.endpoint.url)
    registry = settings.registry or engine.registry or start_registry(client)
    say(f"registry: {registry}")
    say(f"base image: {ensure_busybox(engine.endpoint.url)}")

    say(f"running {EXAMPLE.relative_to(ROOT)}: two builds in parallel, a service, a test, a push")
    before = set(settings.runs_dir.glob("*"))
    code = subprocess.call([*TASKS, "run", str(EXAMPLE), "--registry", registry])
    if code != 0:
        return code
    run = max(set(settings.runs_dir.glob("*")) - before)
    pushed = [event for event in events(run) if event["type"] == "image_pushed"]
    for event in pushed:
        compare_manifest(registry, event["image"], event["digest"])
    pull_and_start(client, [event["image"] for event in pushed])
    say_goodbye(started_engine, registry, run)
    return 0


def start_engine_if_missing(settings: Settings) -> bool:
    try:
        find_engine(settings)
    except EngineError as error:
        say(f"{error.message}; starting the embedded engine")
        subprocess.run([*TASKS, "engine", "start", "--yes"], check=True, stdout=subprocess.DEVNULL)
        return True
    return False


def start_registry(client: docker.DockerClient) -> str:
    """A registry container next to an engine that brings none."""
    name = "tasks-demo-registry"
    try:
        container = client.containers.get(name)
        container.start()
    except docker.errors.NotFound:
        say("no registry given: starting one as container 'tasks-demo-registry'")
        try:
            container = client.containers.run(
                "registry:2", name=name, detach=True, ports={"5000/tcp": ("127.0.0.1", None)}
            )
        except docker.errors.APIError as error:
            sys.exit(
                f"demo: no registry can be started ({error.explanation}); name one with TASKS_REGISTRY=host:port"
            )
    container.reload()
    return f"127.0.0.1:{container.ports['5000/tcp'][0]['HostPort']}"


def events(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def compare_manifest(registry: str, image: str, digest: str) -> None:
    repository, _, tag = image.removeprefix(f"{registry}/").rpartition(":")
    local = registry.startswith(("127.", "localhost"))
    url = f"{'http' if local else 'https'}://{registry}/v2/{repository}/manifests/{tag}"
    request = urllib.request.Request(url, headers={"Accept": MANIFEST_TYPES})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = f"sha256:{hashlib.sha256(answer.read()).hexdigest()}"
    except urllib.error.URLError as error:
        sys.exit(f"demo: the manifest of {image} cannot be read back: {error}")
    if found != digest:
        sys.exit(f"demo: the registry has {found} for {image}, but {digest} was pushed")
    say(f"manifest read back: {image} is {digest}, as pushed")


def pull_and_start(client: docker.DockerClient, images: list[str]) -> None:
    for image in images:
        client.images.remove(image, force=True)
    say(f"removed the local copies; pulling {images[0]} again")
    client.images.pull(images[0])
    output = client.containers.run(images[0], ["cat", "/www/index.html"], remove=True)
    say(f"started from the pulled image, it says: {output.decode().strip()}")


def say_goodbye(started_engine: bool, registry: str, run: Path) -> None:
    print(f"\nDone. The run's plan, events and log are in {run}")
    if started_engine or "embedded" in registry:
        print("Left running: the embedded engine and its registry. See it:  .venv/bin/tasks engine status")
        print(
            "Stop it:  .venv/bin/tasks engine stop        Remove it whole:  .venv/bin/tasks engine stop --purge"
        )
    print("Next: .venv/bin/tasks run examples/01-hello-world    and README.md")


def say(text: str) -> None:
    print(f"demo: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
