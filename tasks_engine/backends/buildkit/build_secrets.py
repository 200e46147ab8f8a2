"""Values for RUN --mount=type=secret: where each comes from, and `docker build --secret` as text.

A value is read when the daemon asks for it, and kept nowhere. Source of the text forms: docker buildx build,
--secret.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from tasks_engine.backends.buildkit.errors import SecretError

#: BuildKit takes no larger secret
MAX_SECRET_BYTES = 500 * 1024

_LIMIT_TEXT = f"a build secret has at most {MAX_SECRET_BYTES >> 10} KiB"
_FORMS = (
    "write id=NAME,src=PATH for a file, id=NAME,env=VARIABLE for a variable of the environment, or id=NAME for "
    "the variable or else the file of that name; a field with a comma goes in double quotes"
)
_KEYS = frozenset({"id", "src", "source", "env", "type"})
#: a field of a CSV line, with double quotes or without
_CSV_FIELD = re.compile(r'"((?:[^"]|"")*)"|([^",\r\n]*)')


@dataclass(frozen=True)
class SecretValue:
    """A value in memory."""

    data: bytes = field(repr=False)

    def read(self) -> bytes:
        """The value; raises SecretError when it is too large."""
        self.check()
        return self.data

    def check(self) -> None:
        """Raises SecretError when `read` would."""
        if len(self.data) > MAX_SECRET_BYTES:
            raise SecretError(f"the value of a secret is too large: {_LIMIT_TEXT}")


@dataclass(frozen=True)
class SecretFile:
    """The content of a regular file, byte by byte, as it is when the daemon asks."""

    path: Path

    def read(self) -> bytes:
        """The content; raises SecretError when it cannot be read or is too large."""
        try:
            data = read_regular_file(self.path, MAX_SECRET_BYTES + 1)
        except (OSError, ValueError) as error:
            raise self._error(f"cannot be read: {reason_of(error)}") from error
        if len(data) > MAX_SECRET_BYTES:
            raise self._error(f"is too large: {_LIMIT_TEXT}")
        return data

    def check(self) -> None:
        """Raises SecretError when there is no such file, or none that fits; does not read it."""
        try:
            status = self.path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("it is not a regular file")
            if not os.access(self.path, os.R_OK):
                raise ValueError("permission denied")
        except (OSError, ValueError) as error:
            raise self._error(f"cannot be read: {reason_of(error)}") from error
        if status.st_size > MAX_SECRET_BYTES:
            raise self._error(f"is too large: {_LIMIT_TEXT}")

    def _error(self, text: str) -> SecretError:
        return SecretError(f"the secret's file {shown(self.path)} {text}")


@dataclass(frozen=True)
class SecretEnv:
    """The value of a variable of this process's environment, as it is when the daemon asks."""

    name: str

    def read(self) -> bytes:
        """The value; raises SecretError when the variable is not set or too large."""
        value = os.environ.get(self.name)
        if value is None:
            raise SecretError(
                f"the secret's variable {shown(self.name)} is not set; set and export it before the build"
            )
        data = os.fsencode(value)
        if len(data) > MAX_SECRET_BYTES:
            raise SecretError(f"the secret's variable {shown(self.name)} is too large: {_LIMIT_TEXT}")
        return data

    def check(self) -> None:
        """Raises SecretError when `read` would."""
        self.read()


Secret = SecretValue | SecretFile | SecretEnv


def parse_secret(text: str) -> tuple[str, Secret]:
    """Id and source of a secret as `docker build --secret` takes them.

    `id=NAME` alone is the variable NAME where it is set now, else the file NAME. Raises ValueError for other
    texts; what it says shows no value, as people write secrets into the wrong place.
    """
    fields = _parse_fields(text)
    secret_id = fields.get("id", "")
    if not secret_id:
        raise ValueError(f"a secret needs an id: {_FORMS}")
    kind, path, variable = fields.get("type"), fields.get("src"), fields.get("env")
    if kind not in (None, "file", "env"):
        raise ValueError(f"the type of secret '{shown(secret_id)}' is neither file nor env: {_FORMS}")
    if "" in (path, variable):
        raise ValueError(f"secret '{shown(secret_id)}' has a field without a value: {_FORMS}")
    if path and variable:
        raise ValueError(
            f"secret '{shown(secret_id)}' has both a file and a variable; leave one of them out: {_FORMS}"
        )
    if kind == "file" and variable:
        raise ValueError(
            f"secret '{shown(secret_id)}' has type=file and a variable; leave one of them out: {_FORMS}"
        )
    if kind == "env":
        return secret_id, SecretEnv(variable or path or secret_id)
    if variable or (not path and kind is None and secret_id in os.environ):
        return secret_id, SecretEnv(variable or secret_id)
    return secret_id, SecretFile(Path(path or secret_id))


def _parse_fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for number, each in enumerate(_split_csv(text), 1):
        key, equals, value = each.partition("=")
        key = key.lower()
        if not equals or key not in _KEYS:
            raise ValueError(
                f"field {number} of a secret is none of id=, src=, source=, env=, type=: {_FORMS}"
            )
        key = "src" if key == "source" else key
        if key in fields:
            raise ValueError(f"a secret has its {key} twice: {_FORMS}")
        fields[key] = value
    return fields


def _split_csv(text: str) -> list[str]:
    fields = []
    place = 0
    while True:
        match = _CSV_FIELD.match(text, place)
        assert match, "the pattern matches nothing, too"
        quoted, plain = match.groups()
        fields.append(plain if quoted is None else quoted.replace('""', '"'))
        place = match.end()
        if place == len(text):
            return fields
        if text[place] != ",":
            raise ValueError(f"a secret has double quotes in the wrong place, or a line break: {_FORMS}")
        place += 1


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """At most the first `max_bytes`. Raises OSError, ValueError for what is no regular file.

    It never waits, as reading a named pipe would.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is not a regular file")
        return file.read(max_bytes)


def reason_of(error: OSError | ValueError) -> str:
    """Why, without the path, which the caller shows its own way."""
    return getattr(error, "strerror", None) or str(error)


def shown(name: str | os.PathLike[str]) -> str:
    """A path or a name as text that any terminal and log takes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
