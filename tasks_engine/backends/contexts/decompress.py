"""Reads compressed streams, whose compression is told by their first bytes, within bounds."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from tasks_engine.errors import SourceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 256 * 1024
#: of one stream; the highest preset of xz needs 65 MiB, `zstd --long=27` 128 MiB
_MAX_MEMORY_BYTES = 256 << 20
_MAX_WINDOW_BYTES = 128 << 20
#: zstandard unpacks all of its input in one go: at most 32,000 times as much
_ZSTD_INPUT_BYTES = 512
#: an archive a server has compressed once more
_MAX_LAYERS = 2
#: reads behind the end before we assume a reader that will never stop
_MAX_READS_AT_END = 1000
#: what the libraries raise for bytes that are not as they should be
BROKEN_STREAM = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class Counted(io.RawIOBase):
    """A stream whose bytes are counted as they are read; `check` sees the count after each read and may raise."""

    def __init__(self, source: BinaryIO, check: Callable[[int], None]) -> None:
        self._source = source
        self._check = check
        self._reads_at_end = 0
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        data = self._source.read(len(view))
        if not data:
            self._reads_at_end += 1
            if self._reads_at_end > _MAX_READS_AT_END:
                raise SourceError("the archive is cut off")
        view[: len(data)] = data
        self.count += len(data)
        self._check(self.count)
        return len(data)


class Peeked(io.RawIOBase):
    """A stream whose first bytes are known before they are read."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source = source
        self.head = read_up_to(source, size)
        self._rest = self.head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        data, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        data = data or self._source.read(len(view))
        view[: len(data)] = data
        return len(data)


def read_up_to(source: BinaryIO, size: int) -> bytes:
    """`size` bytes, fewer only at the end of the stream."""
    parts = bytearray()
    while len(parts) < size and (data := source.read(size - len(parts))):
        parts += data
    return bytes(parts)


def decompressed(source: BinaryIO) -> BinaryIO:
    """The content of a stream that may be compressed with gzip, bzip2, xz or zstd.

    Reading from it raises SourceError or one of BROKEN_STREAM for a damaged stream.
    """
    for _ in range(_MAX_LAYERS):
        peeked = Peeked(source, 6)
        source = _buffered(peeked)
        opened = _opened(peeked.head, source)
        if opened is None:
            break
        source = opened
    return source


def _opened(head: bytes, source: BinaryIO) -> BinaryIO | None:
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=source, mode="rb")  # type: ignore[return-value]
    if head.startswith(b"BZh"):
        return _buffered(_StreamsReader(source, bz2.BZ2Decompressor))
    if head.startswith(b"\xfd7zXZ\0"):
        return _buffered(_StreamsReader(source, _xz_decompressor))
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _buffered(_ZstdReader(source))
    return None


def _buffered(raw: io.RawIOBase) -> BinaryIO:
    return io.BufferedReader(raw, CHUNK_BYTES)


def _xz_decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_MEMORY_BYTES)


class _StreamsReader(io.RawIOBase):
    """Streams of bzip2 or xz, one after the other. The file objects of the library set no bound to memory."""

    def __init__(
        self, source: BinaryIO, new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
    ) -> None:
        self._source = source
        self._new = new
        self._decompressor = new()
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        while True:
            if self._decompressor.eof:  # zeros may stand between two
                self._pending = self._decompressor.unused_data.lstrip(b"\0") or self._next_after_zeros()
                if not self._pending:
                    return 0
                self._decompressor = self._new()
            if self._decompressor.needs_input and not self._pending:
                self._pending = self._source.read(CHUNK_BYTES)
                if not self._pending:
                    raise EOFError("it is cut off")
            try:
                data = self._decompressor.decompress(self._pending, len(view))
            except OSError as error:  # so says bzip2 that bytes are wrong
                raise EOFError(str(error)) from error
            self._pending = b""
            if data:
                view[: len(data)] = data
                return len(data)

    def _next_after_zeros(self) -> bytes:
        while data := self._source.read(CHUNK_BYTES):
            if data := data.lstrip(b"\0"):
                return data
        return b""


class _ZstdReader(io.RawIOBase):
    """zstandard's own reader does not tell a stream that is cut off."""

    def __init__(self, source: BinaryIO) -> None:
        import zstandard  # few contexts need it

        self._broken = zstandard.ZstdError
        self._new = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj
        self._source = source
        self._decompressor = self._new()
        self._pending = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        while not self._ready:
            data = self._pending or self._source.read(_ZSTD_INPUT_BYTES)
            self._pending = b""
            if self._decompressor.eof:  # frames may follow each other
                if not data:
                    return 0
                self._decompressor = self._new()
            if not data:
                raise EOFError("it is cut off")
            try:
                self._ready = memoryview(self._decompressor.decompress(data))
            except self._broken as error:
                raise EOFError(str(error)) from error
            self._pending = self._decompressor.unused_data
        size = min(len(view), len(self._ready))
        view[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
