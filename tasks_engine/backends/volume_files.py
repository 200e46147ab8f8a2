"""Files of a task's volumes, from their Base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from tasks_engine.definition.model import Volume
from tasks_engine.errors import DefinitionError


def volume_files(volume: Volume, reveal: Callable[[str], str]) -> dict[str, bytes]:
    """File name -> content: what the Base64 stands for and a line break, as in the original.

    `reveal` puts secrets in their places. Raises DefinitionError, SecretError.
    """
    return {name: _content(volume.name, name, reveal(text)) for name, text in volume.secret.items()}


def _content(volume: str, name: str, text: str) -> bytes:
    try:
        encoded = text.encode("ascii").translate(None, b"\r\n")
        return base64.b64decode(encoded, validate=True) + b"\n"
    except (UnicodeEncodeError, binascii.Error):
        raise DefinitionError(
            f"file '{name}' of volume '{volume}' is not Base64",
            hint="for a secret write {{ .Secrets.name | b64enc }}",
            rule="volume-bad-base64",
        ) from None
