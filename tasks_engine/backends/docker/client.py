"""The Docker Engine's API client, and the one place where its errors become ours."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from typing import Any

import docker
import docker.errors
import docker.tls
import requests
import requests.exceptions
import urllib3.exceptions
from docker.api import APIClient

from tasks_engine.backends.docker.endpoint import Endpoint
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import Canceled, DockerError, EngineError

#: an API call that moves no data answers within this, or the engine hangs
CALL_TIMEOUT_S = 60
#: the oldest API this project is tested against (Engine 20.10)
API_VERSION = "1.41"


def connect(endpoint: Endpoint, labels: Mapping[str, str] | None = None) -> APIClient:
    """A client; it connects with its first call. May be used from many threads.

    `labels` (name -> value) get on every container, network and volume that it makes.
    """
    tls: docker.tls.TLSConfig | bool = False
    if endpoint.tls is not None:
        files = endpoint.tls
        certificate = (str(files.cert), str(files.key)) if files.cert and files.key else None
        tls = docker.tls.TLSConfig(
            client_cert=certificate, ca_cert=str(files.ca) if files.ca else None, verify=files.verify
        )
    with translated(f"connecting to the engine at {endpoint.url}"):
        api = _LabellingClient(base_url=endpoint.url, version=API_VERSION, timeout=CALL_TIMEOUT_S, tls=tls)
        api.labels_of_all = dict(labels or {})
        return api


class _LabellingClient(APIClient):
    """Whoever makes something on the engine cannot forget to say whose it is."""

    labels_of_all: Mapping[str, str]

    def create_container_from_config(self, config: Any, *args: Any, **options: Any) -> Any:
        labels = {**(config.get("Labels") or {}), **self.labels_of_all}
        return super().create_container_from_config({**config, "Labels": labels}, *args, **options)  # type: ignore[no-untyped-call]

    def create_network(self, name: str, **options: Any) -> Any:  # type: ignore[override]
        labels = {**(options.pop("labels", None) or {}), **self.labels_of_all}
        return super().create_network(name, labels=labels, **options)

    def create_volume(self, name: str | None = None, **options: Any) -> Any:  # type: ignore[override]
        labels = {**(options.pop("labels", None) or {}), **self.labels_of_all}
        return super().create_volume(name, labels=labels, **options)


@contextmanager
def posted(
    api: APIClient,
    path: str,
    cancel: CancelToken,
    *,
    params: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
) -> Iterator[Iterator[dict[str, Any]]]:
    """The JSON lines of a long call, as they come. Firing `cancel` cuts the connection, which ends the work.

    The SDK's own streams cannot be stopped from another thread. Raises as `translated` does, and the reason
    of `cancel`.
    """

    def post() -> requests.Response:
        return api.post(
            f"{api.base_url}/v{API_VERSION}{path}",
            params=dict(params),
            headers=dict(headers or {}),
            stream=True,
            timeout=(CALL_TIMEOUT_S, None),
        )

    with translated(f"POST {path}"):
        response = _unless_cancelled(post, cancel)
    with response, cancel.calling(response.raw.shutdown):
        try:
            yield _json_lines(response)
        finally:
            cancel.raise_if_cancelled()


def _unless_cancelled(post: Callable[[], requests.Response], cancel: CancelToken) -> requests.Response:
    """The response, or the reason of `cancel` at once: an engine may not begin to answer for a long time.

    A response that comes too late is closed; at the latest the end of the process ends the call.
    """
    answer: Future[requests.Response] = Future()

    def call() -> None:
        try:
            response = post()
        except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
            with suppress(InvalidStateError):
                answer.set_exception(error)
            return
        try:
            answer.set_result(response)
        except InvalidStateError:
            response.close()

    def give_up() -> None:
        with suppress(InvalidStateError):
            answer.set_exception(cancel.reason or Canceled("the run was cancelled"))

    threading.Thread(target=call, name="engine-call", daemon=True).start()
    with cancel.calling(give_up):
        return answer.result()


def _json_lines(response: requests.Response) -> Iterator[dict[str, Any]]:
    try:
        response.raise_for_status()
    except requests.exceptions.HTTPError as error:
        docker.errors.create_api_error_from_http_exception(error)
    rest = b""
    for chunk in response.iter_content(chunk_size=None):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
    if rest.strip():
        yield json.loads(rest)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Errors of the block become EngineError (no answer) or DockerError (a refusal), saying what was done."""
    try:
        yield
    except docker.errors.APIError as error:
        raise DockerError(f"{doing}: {explain(error)}", retryable=(error.status_code or 0) >= 500) from error
    except (docker.errors.DockerException, docker.errors.TLSParameterError) as error:
        raise EngineError(f"{doing}: {error}", hint="run `tasks doctor`", retryable=True) from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise EngineError(
            f"{doing}: the engine went away ({_short(error)})",
            hint="check that it runs: `tasks doctor`",
            retryable=True,
        ) from error


def explain(error: docker.errors.APIError) -> str:
    """The engine's own words, without the HTTP around them."""
    return str(error.explanation or error).strip()


def _short(error: BaseException) -> str:
    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {CALL_TIMEOUT_S} s"
    inner: BaseException = error
    while (
        isinstance(inner, requests.exceptions.RequestException | urllib3.exceptions.HTTPError) and inner.args
    ):
        nested = next((each for each in inner.args if isinstance(each, BaseException)), None)
        if nested is None:
            break
        inner = nested
    return getattr(inner, "strerror", None) or type(inner).__name__
