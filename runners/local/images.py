"""Makes base images out of the machine's own programs, for engines that cannot pull any.

python -m runners.local.images unix:///var/run/docker.sock
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from tasks_engine.backends.embedded.packages import fetch_packages
from tasks_engine.errors import EngineError

#: the engine's own full name of what a Dockerfile calls `busybox`
BUSYBOX = "docker.io/library/busybox:latest"

_ELF_TYPE_INTERPRETER = 3  # PT_INTERP in elf(5)
_USERS = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"
_GROUPS = "root:x:0:\nuser:x:1000:\n"


def ensure_busybox(docker_host: str) -> str:
    """Name of a busybox image that is in the engine, made from the machine's busybox where it is absent.

    Errors: EngineError where no static busybox can be had.
    """
    client = docker.APIClient(base_url=docker_host, version="auto", timeout=60)
    try:
        try:
            client.inspect_image(BUSYBOX)  # type: ignore[no-untyped-call]
        except ImageNotFound:
            client.import_image_from_data(
                _root_tar(static_busybox()), repository="busybox", tag="latest", changes=['CMD ["sh"]']
            )
    finally:
        client.close()
    return BUSYBOX


def is_static(program: bytes) -> bool:
    """Whether this 64-bit ELF program asks for no dynamic loader."""
    if program[:5] != b"\x7fELF\x02":
        return False
    header_at = int.from_bytes(program[32:40], "little")
    header_size = int.from_bytes(program[54:56], "little")
    count = int.from_bytes(program[56:58], "little")
    starts = range(header_at, header_at + header_size * count, header_size)
    return all(int.from_bytes(program[at : at + 4], "little") != _ELF_TYPE_INTERPRETER for at in starts)


@cache
def static_busybox() -> bytes:
    """The machine's busybox, or that of its package `busybox-static`. Errors: EngineError."""
    installed = shutil.which("busybox")
    if installed is not None:
        program = Path(installed).read_bytes()
        if is_static(program):
            return program
    with tempfile.TemporaryDirectory(prefix="tasks-busybox-") as folder:
        fetch_packages(["busybox-static"], None, Path(folder), lambda text: print(text, file=sys.stderr))
        for place in ("bin/busybox", "usr/bin/busybox"):
            if (Path(folder) / place).is_file():
                return (Path(folder) / place).read_bytes()
    raise EngineError("the package busybox-static holds no busybox", hint="install busybox-static")


def _applets(program: bytes) -> list[str]:
    """Names the program can be called by."""
    with tempfile.TemporaryDirectory(prefix="tasks-busybox-") as folder:
        path = Path(folder) / "busybox"
        path.write_bytes(program)
        path.chmod(0o755)
        done = subprocess.run([path, "--list"], capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split() if name != "busybox"]


def _root_tar(program: bytes) -> bytes:
    """A root file system; the same program gives the same bytes, and so the same image."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "sys", "usr", "usr/bin", "var"):
            _add(tar, name, tarfile.DIRTYPE, 0o755)
        _add(tar, "root", tarfile.DIRTYPE, 0o700)
        _add(tar, "home", tarfile.DIRTYPE, 0o755)
        _add(tar, "home/user", tarfile.DIRTYPE, 0o755, owner=1000)
        _add(tar, "tmp", tarfile.DIRTYPE, 0o1777)
        _add(tar, "etc/passwd", tarfile.REGTYPE, 0o644, content=_USERS.encode())
        _add(tar, "etc/group", tarfile.REGTYPE, 0o644, content=_GROUPS.encode())
        _add(tar, "bin/busybox", tarfile.REGTYPE, 0o755, content=program)
        for applet in _applets(program):
            _add(tar, f"bin/{applet}", tarfile.SYMTYPE, 0o777, target="busybox")
        # `#!/usr/bin/env sh` is common in scripts
        _add(tar, "usr/bin/env", tarfile.SYMTYPE, 0o777, target="/bin/busybox")
    return output.getvalue()


def _add(
    tar: tarfile.TarFile,
    name: str,
    kind: bytes,
    mode: int,
    *,
    content: bytes = b"",
    target: str = "",
    owner: int = 0,
) -> None:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = mode
    member.size = len(content)
    member.linkname = target
    member.uid = member.gid = owner
    tar.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    print(ensure_busybox(sys.argv[1]))
