"""A private, writable copy of a folder, as cheap as the machine allows.

An overlay mount costs nothing and copies a file when it is first written; where mounting is not allowed,
files are cloned by reference (FICLONE) or, last, copied. Modification times stay, so that BuildKit sees an
unchanged file as unchanged.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks_engine.errors import StoreError

_FICLONE = 0x40049409  # linux/fs.h
_MNT_DETACH = 2  # sys/mount.h
#: errors that say "this file system cannot clone", not "this file cannot be read"
_NO_CLONE = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS})


@dataclass(frozen=True)
class PrivateCopy:
    path: Path
    #: "overlay", "reflink" or "copy"
    kind: str


def make_private_copy(source: Path, into: Path) -> PrivateCopy:
    """A copy of `source` below the new folder `into`; the source is never written. Raises StoreError."""
    try:
        into.mkdir(mode=0o700)
        merged = _mount_overlay(source, into)
        if merged is not None:
            return PrivateCopy(merged, "overlay")
        target = into / "files"
        cloned = _copy_tree(source, target, skip=into.resolve())
        return PrivateCopy(target, "reflink" if cloned else "copy")
    except OSError as error:
        raise StoreError(
            f"the context {source} cannot be copied: {error}",
            hint="check its permissions and the free space of the state folder",
        ) from error


def remove_private_copy(into: Path) -> None:
    """Undoes `make_private_copy`, also a half-made one or one of a process that died. Raises StoreError."""
    _unmount(into / "merged")
    try:
        shutil.rmtree(into)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(
            f"{into} cannot be removed: {error}",
            hint="steps may have left files of other users there: remove it as root",
        ) from error


def _mount_overlay(source: Path, into: Path) -> Path | None:
    """The mounted folder, None where overlays are not possible."""
    lower, upper, work, merged = source.resolve(), into / "upper", into / "work", into / "merged"
    if os.geteuid() != 0 or any(character in f"{lower}{into}" for character in ":,\\"):
        return None
    if into.resolve().is_relative_to(lower):
        return None  # an overlay must not contain its own upper folder
    for folder in (upper, work, merged):
        folder.mkdir()
    status = lower.stat()
    os.chown(upper, status.st_uid, status.st_gid)
    upper.chmod(stat.S_IMODE(status.st_mode))
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mounted = _libc().mount(b"overlay", os.fsencode(merged), b"overlay", 0, os.fsencode(options)) == 0
    return merged if mounted else None


def _unmount(path: Path) -> None:
    if path.is_mount():
        _libc().umount2(os.fsencode(path), _MNT_DETACH)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _copy_tree(source: Path, target: Path, skip: Path) -> bool:
    """Copies a tree; links stay links, sockets are left out. Returns whether files were cloned."""
    can_clone = True
    copied: dict[tuple[int, int], Path] = {}
    folders: list[tuple[Path, Path]] = [(source, target)]
    for from_folder, to_folder in folders:
        to_folder.mkdir()
        with os.scandir(from_folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                to_path = to_folder / entry.name
                if entry.is_dir(follow_symlinks=False):
                    if Path(entry.path).resolve() != skip:
                        folders.append((Path(entry.path), to_path))
                elif entry.is_symlink():
                    to_path.symlink_to(os.readlink(entry.path))  # noqa: PTH115 - keeps bytes as they are
                    shutil.copystat(entry.path, to_path, follow_symlinks=False)
                elif stat.S_ISFIFO(status.st_mode):
                    os.mkfifo(to_path, stat.S_IMODE(status.st_mode))
                elif stat.S_ISREG(status.st_mode):
                    inode = (status.st_dev, status.st_ino)
                    if status.st_nlink > 1 and inode in copied:
                        to_path.hardlink_to(copied[inode])
                        continue
                    can_clone = _copy_file(entry.path, to_path, can_clone)
                    copied[inode] = to_path
    for from_folder, to_folder in reversed(folders):
        shutil.copystat(from_folder, to_folder)
    return can_clone and bool(copied)


def _copy_file(source: str, target: Path, can_clone: bool) -> bool:
    """Returns whether cloning is still worth trying."""
    if can_clone:
        try:
            with open(source, "rb") as reader, target.open("wb") as writer:  # noqa: PTH123
                fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            can_clone = False
    if not can_clone:
        shutil.copyfile(source, target)
    with suppress(PermissionError):
        shutil.copystat(source, target)
    if os.geteuid() == 0:
        status = os.stat(source)  # noqa: PTH116
        os.chown(target, status.st_uid, status.st_gid)
        target.chmod(stat.S_IMODE(status.st_mode))
    return can_clone
