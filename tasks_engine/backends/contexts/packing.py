"""What a local folder sends to a server: which of its files, and the tar of them.

The rules are those of `az acr build`: what version control keeps is left out, .dockerignore is obeyed, and the
Dockerfile goes along in any case, under a name of its own. The same folder gives the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks_engine.backends.buildkit.errors import ContextError
from tasks_engine.backends.buildkit.patterns import Matched, PatternList, compile_patterns
from tasks_engine.errors import SourceError, UsageError

#: left out wherever they are; a later `!` pattern brings them back
DEFAULT_EXCLUDES = tuple(
    f"**/{name}"
    for name in (
        *(".git", ".gitignore", ".svn", ".hg", ".hgignore", ".bzr", "bzrignore", ".bzrignore"),
        ".venv",
    )
)
IGNORE_FILE = ".dockerignore"
_MAX_IGNORE_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class PackedEntry:
    #: in the tar
    name: str
    path: Path


def read_ignore_lines(data: bytes) -> list[str]:
    """The patterns of a .dockerignore, without comments, blank lines and byte order mark. Raises ValueError."""
    lines = data.decode("utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def find_ignore_file(folder: Path, dockerfile: Path | None) -> Path | None:
    """The file whose patterns count: the Dockerfile's own one, beside it or in the root, before the common one."""
    candidates = [folder / IGNORE_FILE]
    if dockerfile is not None:
        own = f"{dockerfile.name}{IGNORE_FILE}"
        candidates = [dockerfile.parent / own, folder / own, *candidates]
    return next((path for path in candidates if path.is_file()), None)


def list_entries(folder: Path, dockerfile: Path | None = None) -> Iterator[PackedEntry]:
    """The files, links and folders of `folder` that are sent, parents first, siblings by name.

    A folder that is left out is still sent as such when something in it is brought back. Sockets, pipes and devices
    are left out. Raises UsageError for an ignore file that has no meaning, SourceError for what cannot be read.
    """
    patterns = _patterns(find_ignore_file(folder, dockerfile))
    try:
        yield from _walk(folder, "", patterns, patterns.nothing(), [])
    except OSError as error:
        raise SourceError(
            f"{error.filename or folder} cannot be read: {error.strerror}",
            hint=f"check its permissions, or name it in {IGNORE_FILE}",
        ) from error
    except ContextError as error:
        raise UsageError(f"{IGNORE_FILE} of {folder}: {error}") from error


def dockerfile_name(dockerfile: Path) -> str:
    """The name under which the Dockerfile is sent: no file of a folder has it, and its content tells it."""
    with dockerfile.open("rb") as reader:
        digest = hashlib.file_digest(reader, "sha256").hexdigest()
    return f"{digest[:32]}_{dockerfile.name}"


def pack(folder: Path, dockerfile: Path | None = None) -> Iterator[bytes]:
    """The tar of what is sent, uncompressed, as it is read; the Dockerfile comes last, as `dockerfile_name` calls it.

    Owners are left out, times count in whole seconds. Raises what `list_entries` raises, and SourceError for a file
    that shrinks while it is read; the tar is of no use then.
    """
    for entry in list_entries(folder, dockerfile):
        yield from _packed(entry)
    if dockerfile is not None:
        if not dockerfile.is_file():
            raise UsageError(f"there is no Dockerfile {dockerfile}", hint="name it with -f")
        yield from _packed(PackedEntry(dockerfile_name(dockerfile), dockerfile.resolve()))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _patterns(file: Path | None) -> PatternList:
    lines: Sequence[str] = ()
    if file is not None:
        try:
            with file.open("rb") as reader:
                lines = read_ignore_lines(reader.read(_MAX_IGNORE_BYTES))
        except OSError as error:
            raise SourceError(f"{file} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise UsageError(f"{file} is not UTF-8 text", hint="save the file as UTF-8") from error
    try:
        return compile_patterns((*DEFAULT_EXCLUDES, *lines))
    except ContextError as error:
        raise UsageError(f"{file}: {error}") from error


def _walk(
    folder: Path, prefix: str, patterns: PatternList, parent: Matched, pending: list[PackedEntry]
) -> Iterator[PackedEntry]:
    """`pending`: folders above that are left out themselves, and sent once something in them is."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    for entry in found:
        name = f"{prefix}{entry.name}"
        ignored, matched = patterns.match(name, parent)
        packed = PackedEntry(name, Path(entry.path))
        if entry.is_dir(follow_symlinks=False):
            if not ignored:
                yield from pending
                pending.clear()
                yield packed
                yield from _walk(packed.path, f"{name}/", patterns, matched, [])
            elif patterns.has_exceptions:
                below = [*pending, packed]
                yield from _walk(packed.path, f"{name}/", patterns, matched, below)
                if not below:
                    pending.clear()
        elif not ignored and (entry.is_symlink() or entry.is_file()):
            yield from pending
            pending.clear()
            yield packed


def _packed(entry: PackedEntry) -> Iterator[bytes]:
    status = entry.path.lstat()
    info = tarfile.TarInfo(entry.name)
    info.mode = stat.S_IMODE(status.st_mode)
    info.mtime = int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        info.type = tarfile.SYMTYPE
        info.linkname = os.readlink(entry.path)  # noqa: PTH115 - keeps it as it is
    else:
        info.size = status.st_size
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if info.type == tarfile.REGTYPE:
        yield from _content(entry.path, info.size)


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    try:
        with path.open("rb") as reader:
            while left and (chunk := reader.read(min(_CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}",
            hint=f"check its permissions, or name it in {IGNORE_FILE}",
        ) from error
    if left:
        raise SourceError(f"{path} shrank while it was read", hint="try again", retryable=True)
    yield bytes(-size % tarfile.BLOCKSIZE)
