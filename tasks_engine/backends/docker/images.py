"""Pulls, loads and pushes images through the Engine."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import docker.errors
from docker.api import APIClient

from tasks_engine.backends.credentials import Credential
from tasks_engine.backends.docker.client import API_VERSION, explain, posted, translated
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import RegistryError, StepFailed, TasksError
from tasks_engine.events import StepProgress
from tasks_engine.images.reference import DOCKER_HUB, Reference
from tasks_engine.ports import StepOutput

PUSH_ATTEMPTS = 3
#: wait before the second attempt of a push; doubles with each further one
PUSH_FIRST_DELAY_S = 0.25
#: progress of one layer is told at most this often
_PROGRESS_INTERVAL_S = 0.1

#: The engine reports all of these as text in a stream, with no code: (part of the text, what it means)
_REFUSALS: tuple[tuple[str, str], ...] = (
    ("unauthorized", "login"),
    ("authentication required", "login"),
    ("no basic auth credentials", "login"),
    ("incorrect username or password", "login"),
    ("access to the resource is denied", "login"),
    ("access forbidden", "login"),
    ("pull access denied", "missing"),
    ("manifest unknown", "missing"),
    ("not found", "missing"),
    ("name unknown", "missing"),
    ("does not exist locally", "unbuilt"),
    ("tag does not exist", "unbuilt"),
)


@dataclass(frozen=True)
class Pushed:
    digest: str
    size_bytes: int


def pull(
    api: APIClient,
    image: Reference,
    credential: Credential | None,
    output: StepOutput,
    cancel: CancelToken,
    platform: str = "",
) -> None:
    """Pulls an image, of a platform such as linux/arm64 or of the engine's own.

    Raises StepFailed when there is no such image, RegistryError otherwise.
    """
    output.write("engine", f"pulling {image.familiar}\n".encode())
    call = posted(
        api,
        "/images/create",
        cancel,
        params={
            "fromImage": f"{image.registry}/{image.repository}",
            "tag": image.digest or image.tag,
            **({"platform": platform} if platform else {}),
        },
        headers=_auth_header(credential),
    )
    for _ in _follow(call, f"pulling {image.familiar}", image, output):
        pass


def push(
    api: APIClient, image: Reference, credential: Credential | None, output: StepOutput, cancel: CancelToken
) -> Pushed:
    """Pushes an image, with further attempts where one may help.

    Raises StepFailed when the engine has no such image, RegistryError when the registry does not take it.
    """
    delay_s = PUSH_FIRST_DELAY_S
    for attempt in range(1, PUSH_ATTEMPTS + 1):
        try:
            return _push_once(api, image, credential, output, cancel)
        except RegistryError as error:
            if attempt == PUSH_ATTEMPTS or not error.retryable:
                raise
            output.write("engine", f"{error.message}; trying again in {delay_s:g} s\n".encode())
            cancel.wait(delay_s)
            delay_s *= 2
    raise AssertionError("unreachable")


def has_content_store(api: APIClient) -> bool:
    """Whether the engine keeps images as registries do, in containerd's store. Raises BackendError."""
    with translated("asking the engine for its image store"):
        status = dict(map(tuple, api.info().get("DriverStatus") or ()))
    return status.get("driver-type") == "io.containerd.snapshotter.v1"


def image_id(api: APIClient, image: Reference) -> str:
    """Digest of an image's manifest or index in containerd's store. Raises StepFailed when there is no such image."""
    with translated(f"looking up {image.familiar}"):
        try:
            return str(api.inspect_image(str(image))["Id"])  # type: ignore[no-untyped-call]
        except docker.errors.ImageNotFound as error:
            raise _refusal(f"pushing {image.familiar}", "tag does not exist", image) from error


def _push_once(
    api: APIClient, image: Reference, credential: Credential | None, output: StepOutput, cancel: CancelToken
) -> Pushed:
    doing = f"pushing {image.familiar}"
    output.write("engine", f"{doing}\n".encode())
    call = posted(
        api,
        f"/images/{image.registry}/{image.repository}/push",
        cancel,
        params={"tag": image.tag},
        headers=_auth_header(credential),
    )
    pushed: Pushed | None = None
    for aux in _follow(call, doing, image, output):
        if aux.get("Digest"):
            pushed = Pushed(str(aux["Digest"]), int(aux.get("Size", 0)))
    if pushed is None:
        pushed = _ask_registry(api, image, credential)  # engines with containerd's image store do not tell
    return pushed


def _ask_registry(api: APIClient, image: Reference, credential: Credential | None) -> Pushed:
    """What the registry has under the tag, asked through the engine, which knows how to reach it."""
    doing = f"reading back {image.familiar}"
    with translated(doing):
        answer = api.get(
            f"{api.base_url}/v{API_VERSION}/distribution/{image}/json", headers=_auth_header(credential)
        )
        if answer.status_code != 200:
            raise _refusal(doing, str(answer.json().get("message", answer.text)), image)
        descriptor = answer.json()["Descriptor"]
    return Pushed(str(descriptor["digest"]), int(descriptor["size"]))


def _follow(
    call: AbstractContextManager[Iterator[dict[str, Any]]], doing: str, image: Reference, output: StepOutput
) -> Iterator[Mapping[str, Any]]:
    """Reads the engine's progress to its end; yields what it tells besides."""
    told_at: dict[str, float] = {}
    with translated(doing), call as lines:
        try:
            for line in lines:
                if "error" in line:
                    raise _refusal(doing, str(line["error"]).strip(), image)
                yield line.get("aux") or {}
                _tell_progress(line, image, output, told_at)
        except docker.errors.APIError as error:
            raise _refusal(doing, explain(error), image) from error
        except (ValueError, AttributeError) as error:
            raise RegistryError(f"{doing}: the engine's answer is damaged", retryable=True) from error


def _tell_progress(
    line: Mapping[str, Any], image: Reference, output: StepOutput, told_at: dict[str, float]
) -> None:
    layer, status = line.get("id"), str(line.get("status", ""))
    if not layer or layer == image.tag:
        return
    detail = line.get("progressDetail") or {}
    done = status in ("Pushed", "Pull complete", "Layer already exists", "Already exists", "Mounted from")
    now = time.monotonic()
    if not done and now - told_at.get(layer, 0.0) < _PROGRESS_INTERVAL_S:
        return
    told_at[layer] = now
    output.emit(
        StepProgress(
            step_id=output.step_id,
            item=f"{image.familiar} {layer}",
            parent=image.familiar,
            name=f"{status} {layer}",
            state="cached" if "already" in status.lower() else "done" if done else "running",
            current=int(detail.get("current") or 0),
            total=int(detail.get("total") or 0),
        )
    )


def _refusal(doing: str, text: str, image: Reference) -> TasksError:
    meaning = next((meaning for part, meaning in _REFUSALS if part in text.lower()), "")
    if meaning == "login":
        registry = "" if image.registry == DOCKER_HUB else f" {image.registry}"
        return RegistryError(
            f"{doing}: {image.registry} refused: {text}", hint=f"log in with: docker login{registry}"
        )
    if meaning == "missing":
        return StepFailed(
            f"{doing}: image not found: {text}",
            hint="check the name and tag; a private image needs a login (docker login)",
        )
    if meaning == "unbuilt":
        return StepFailed(
            f"{doing}: the engine has no image {image.familiar}",
            hint="build it in an earlier step under exactly this name and tag",
        )
    return RegistryError(
        f"{doing}: {text}", hint=f"check that {image.registry} can be reached", retryable=True
    )


def _auth_header(credential: Credential | None) -> dict[str, str]:
    login: dict[str, str] = {}
    if credential is not None and credential.identity_token:
        login = {"identitytoken": credential.identity_token}
    elif credential is not None:
        login = {"username": credential.username, "password": credential.password}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}
