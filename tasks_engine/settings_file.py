"""The settings file: TOML, checked key by key, so that nothing in it is silently without effect."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks_engine.errors import UsageError
from tasks_engine.policy import DockerSocket, Policy
from tasks_engine.settings import HistorySettings, RegistrySettings
from tasks_engine.sizes import parse_size


class _Wrong(Exception):
    """What a value must be."""


Check = Callable[[Any], Any]


def read_file(path: Path) -> dict[str, Any]:
    """Field of Settings -> value. Raises UsageError, which names the file and the key."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"settings file {path} cannot be read: {error}") from error
    return {
        name: found[name] if name in ("registry", "image_aliases") else _FIELDS[name](**found[name])
        for found in [_checked(settings, KEYS, path, "")]
        for name in found
    }


def _checked(table: Mapping[str, Any], keys: Mapping[str, Any], path: Path, inside: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{inside}{key}"
        if key not in keys:
            raise UsageError(
                f"settings file {path} has an unknown key '{name}'", hint=f"known: {', '.join(keys)}"
            )
        check = keys[key]
        if isinstance(check, Mapping):
            if not isinstance(value, dict):
                raise UsageError(f"'{name}' in settings file {path} must be a table")
            found[key] = _checked(value, check, path, f"{name}.")
            continue
        try:
            found[key] = check(value)
        except _Wrong as wrong:
            raise UsageError(f"'{name}' in settings file {path} must be {wrong}") from None
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong("text")
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("true or false")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise _Wrong("a number, 0 or more")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Wrong("a whole number, 0 or more")
    return value


def _size(value: Any) -> int:
    if isinstance(value, str):
        try:
            return parse_size(value)
        except ValueError as error:
            raise _Wrong(f"a size such as 10GB or 512MiB: {error}") from error
    try:
        return _count(value)
    except _Wrong:
        raise _Wrong("a size such as 10GB or 512MiB, or bytes") from None


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise _Wrong("a list of texts")
    return tuple(value)


def _texts_by_name(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) and each for each in value.values()):
        raise _Wrong("a table of texts")
    return value


def _aliases(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _Wrong("a table")
    for name, image in value.items():
        if not (name.isascii() and name.isalnum() and isinstance(image, str)):
            raise _Wrong(f"a table of letters and digits that stand for text, unlike '{name}'")
    return value


def _docker_socket(value: Any) -> DockerSocket:
    try:
        return DockerSocket(value)
    except ValueError:
        raise _Wrong(f"one of {', '.join(DockerSocket)}") from None


def _paths_by_name(value: Any) -> dict[str, Path]:
    return {name: Path(path) for name, path in _texts_by_name(value).items()}


#: key -> what its value must be and becomes
KEYS: Mapping[str, Any] = {
    "registry": _text,
    "image_aliases": _aliases,
    "registries": {
        "mirrors": _texts_by_name,
        "insecure": lambda value: frozenset(_texts(value)),
        "ca_files": _paths_by_name,
    },
    "policy": {
        "docker_socket": _docker_socket,
        "docker_clients": _texts,
        "privileged": _switch,
        "host_network": _switch,
        "host_files": _switch,
        "allowed_registries": _texts,
        "container_runtime": _text,
        "max_cpus": _number,
        "max_memory_bytes": _size,
        "max_pids": _count,
        "max_log_bytes": _size,
        "max_run_s": _count,
    },
    "history": {"keep_bytes": _size, "keep_runs": _count},
}
_FIELDS: Mapping[str, Callable[..., Any]] = {
    "registries": RegistrySettings,
    "policy": Policy,
    "history": HistorySettings,
}
