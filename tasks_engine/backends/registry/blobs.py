"""Blobs as streams whose digest is checked while they are read."""

from __future__ import annotations

import hashlib
import time
from io import RawIOBase
from typing import TYPE_CHECKING

from tasks_engine.backends.registry.connections import Answer
from tasks_engine.errors import RegistryError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: of a blob whose size nobody knows
_MAX_BYTES = 1 << 38
#: a server that is slower than this over a whole blob does not finish it
SLOWEST_BYTES_PER_S = 16 * 1024
_SLACK_S = 120.0


class BlobStream(RawIOBase):
    """A blob, in order, once. Used by one thread at a time.

    What it gives can be trusted once its end was reached: there, and not before, content of another digest raises
    RegistryError. So does a blob that breaks off, stalls, or is longer than it should be.
    """

    def __init__(self, answer: Answer, name: str, digest: str, size_bytes: int | None = None) -> None:
        """`size_bytes` is what a manifest says of it."""
        length = answer.headers.get("content-length", "")
        sent_bytes = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None
        if None not in (size_bytes, sent_bytes) and size_bytes != sent_bytes:
            raise RegistryError(
                f"{name} should be {size_bytes} bytes long; its registry has {sent_bytes}",
                hint="push the image again",
            )
        self._answer = answer
        self._name = name
        self._wanted = digest
        self._hash = hashlib.new(digest.partition(":")[0])
        self._left = next((size for size in (size_bytes, sent_bytes) if size is not None), _MAX_BYTES)
        self._is_done = False
        #: bytes it has; None when nobody says so
        self.size_bytes = size_bytes if size_bytes is not None else sent_bytes
        answer.set_deadline(time.monotonic() + _SLACK_S + self._left / SLOWEST_BYTES_PER_S)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Raises RegistryError, at the end for content that is not what its digest says."""
        view = memoryview(buffer).cast("B")
        if self._is_done or not view.nbytes:
            return 0
        # one byte more than is left, to notice what is too long
        chunk = self._answer.read_some(min(view.nbytes, self._left + 1))
        self._left -= len(chunk)
        if self._left < 0:
            raise RegistryError(f"{self._name} is longer than it should be", hint="push the image again")
        if not chunk:
            self._check()
        self._hash.update(chunk)
        view[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        if not self.closed:
            self._answer.close()
        super().close()

    def _check(self) -> None:
        self._is_done = True
        found = f"{self._wanted.partition(':')[0]}:{self._hash.hexdigest()}"
        if found != self._wanted:
            self._is_done = False
            raise RegistryError(
                f"{self._name} is damaged: its content has the digest {found}",
                hint="try again; if it stays so, push the image again",
            )
