"""Fetches Debian packages and unpacks them into a folder, without installing anything.

apt itself downloads and verifies, with sources, lists and cache of our own beside the machine's: the
machine's apt configuration is read (mirrors, proxies, keys) and never changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks_engine.backends.embedded.apt_sources import (
    AptSource,
    parse_deb822,
    parse_one_line,
    render,
    retarget,
)
from tasks_engine.errors import EngineError

OnProgress = Callable[[str], None]

_APT_DIR = Path("/etc/apt")
_OS_RELEASE = Path("/etc/os-release")
_APT_TIMEOUT_S = 1800
_PROGRESS_EVERY_S = 5.0


@dataclass(frozen=True)
class Package:
    """One file of the distribution's archive."""

    name: str
    file_name: str
    size_bytes: int
    sha256: str


def fetch_packages(
    names: Sequence[str],
    suite: str | None,
    into: Path,
    on_progress: OnProgress,
    *,
    cache_dir: Path | None = None,
) -> None:
    """Download the named packages (not what they depend on) and unpack them below `into`.

    suite: a release such as "trixie", taken from the machine's own mirrors; None for the machine's release.
    cache_dir: keeps package lists and files, so that a second call downloads nothing; None keeps nothing.
    Errors: EngineError where apt is missing, a package cannot be had, or its signature does not match.
    """
    if cache_dir is None:
        with tempfile.TemporaryDirectory(prefix="tasks-packages-") as folder:
            fetch_packages(names, suite, into, on_progress, cache_dir=Path(folder))
        return
    archive = _Archive(cache_dir / (suite or "own"), suite)
    packages = archive.download(names, on_progress)
    into.mkdir(parents=True, exist_ok=True)
    for package in packages:
        on_progress(f"unpacking {package.name} ({_megabytes(package.size_bytes)})")
        _run(["dpkg-deb", "--extract", str(archive.files_dir / package.file_name), str(into)])


def install_packages(names: Sequence[str], on_progress: OnProgress, *, cache_dir: Path) -> None:
    """Install small packages of the machine's own release, with what they depend on."""
    archive = _Archive(cache_dir / "own", None)
    archive.update(on_progress)
    on_progress(f"installing {', '.join(names)}")
    options = ["-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=60"]
    archive.apt_get("install", *options, *names)


def docker_suite() -> str | None:
    """The suite that has Docker Engine 26 or newer for this machine; None for its own release.

    Errors: EngineError where no suite's binaries would run here.
    """
    libc, version = platform.libc_ver()
    if libc != "glibc" or _numbers(version) < (2, 34):
        raise EngineError(
            f"the embedded engine needs glibc 2.34 or newer; here is {libc or 'another libc'} {version}",
            hint="install Docker Engine (https://docs.docker.com/engine/install/) or set DOCKER_HOST",
        )
    release = _os_release()
    # Debian 12 has Docker 20.10, whose BuildKit is too old; Debian 13's binaries run on it
    if release.get("ID") == "debian" and _numbers(release.get("VERSION_ID", "99")) < (13,):
        return "trixie"
    return None


class _Archive:
    """One private apt: sources, lists and files of one suite."""

    def __init__(self, folder: Path, suite: str | None) -> None:
        self._folder = folder
        self._suite = suite
        self.files_dir = folder / "files"
        self._update_output = ""

    def download(self, names: Sequence[str], on_progress: OnProgress) -> list[Package]:
        """The packages' files, checked, in `files_dir`."""
        package_by_name = self._remembered()
        if not all(self._is_intact(package_by_name.get(name)) for name in names):
            self.update(on_progress)
            package_by_name |= self._look_up(names)
            wanted = [package_by_name[name] for name in names if not self._is_intact(package_by_name[name])]
            self._download(wanted, on_progress)
            self._remember(package_by_name)
        return [package_by_name[name] for name in names]

    def update(self, on_progress: OnProgress) -> None:
        """Read the package lists. One unreachable source is no error yet: the packages may be elsewhere."""
        if shutil.which("apt-get") is None:
            raise EngineError("apt-get is missing", hint="install Docker Engine, or set DOCKER_HOST")
        for name in ("lists/partial", "cache/archives/partial", "files"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        sources = _own_sources(self._suite)
        (self._folder / "machine.sources").write_text(render(sources), encoding="utf-8")
        (self._folder / "apt.conf").write_text(self._configuration(), encoding="utf-8")
        on_progress(f"reading package lists of {self._suite or 'this release'}")
        self._update_output = self.apt_get("update", check=False)

    def apt_get(self, *arguments: str, check: bool = True) -> str:
        command = ["apt-get", "-c", str(self._folder / "apt.conf"), *arguments]
        return _run(command, check=check, folder=self.files_dir)

    def _configuration(self) -> str:
        settings = {
            "Dir::State::Lists": self._folder / "lists",
            "Dir::Cache": self._folder / "cache",
            "Dir::Cache::Archives": "archives",
            # without these files apt reads all lists again for every command
            "Dir::Cache::pkgcache": "pkgcache.bin",
            "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
            "Dir::Etc::SourceList": self._folder / "machine.sources",
            "Dir::Etc::SourceParts": "/dev/null",
            # pins are about what the machine installs; nothing of this suite is installed
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "APT::Get::AllowUnauthenticated": "false",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        lines = [f'{name} "{value}";' for name, value in settings.items()]
        # desktop hooks that index software after every update
        lines += ["#clear APT::Update::Post-Invoke;", "#clear APT::Update::Post-Invoke-Success;"]
        lines += [
            "#clear Acquire::IndexTargets::deb::DEP-11;",
            "#clear Acquire::IndexTargets::deb::Contents-deb;",
        ]
        return "\n".join(lines) + "\n"

    def _look_up(self, names: Sequence[str]) -> dict[str, Package]:
        output = self.apt_get("download", "--print-uris", *names, check=False)
        found = parse_print_uris(output)
        for name in names:
            if name not in found:
                raise EngineError(
                    f"the package {name} of {self._suite or 'this release'} cannot be had: "
                    f"{_last_lines(output + self._update_output)}",
                    hint="check the machine's apt sources and network with `apt-get update`",
                )
        return found

    def _download(self, packages: Sequence[Package], on_progress: OnProgress) -> None:
        total_bytes = sum(package.size_bytes for package in packages)
        for package in packages:
            (self.files_dir / package.file_name).unlink(missing_ok=True)
        listed = ", ".join(f"{package.name} {_megabytes(package.size_bytes)}" for package in packages)
        on_progress(f"downloading {_megabytes(total_bytes)}: {listed}")
        command = ["apt-get", "-c", str(self._folder / "apt.conf"), "-q", "download"]
        command += [package.name for package in packages]
        with tempfile.TemporaryFile() as output:
            with subprocess.Popen(
                command,
                cwd=self.files_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environ(),
            ) as process:
                _wait_with_progress(process, self.files_dir, total_bytes, on_progress)
            output.seek(0)
            said = output.read().decode(errors="replace")
        for package in packages:
            if not self._is_intact(package):
                raise EngineError(
                    f"the package {package.name} could not be downloaded: {_last_lines(said)}",
                    hint="check the network and free disk space, then start again: what is complete is kept",
                )

    def _is_intact(self, package: Package | None) -> bool:
        if package is None:
            return False
        try:
            with (self.files_dir / package.file_name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == package.sha256
        except FileNotFoundError:
            return False

    def _remembered(self) -> dict[str, Package]:
        """Package name -> what was downloaded before."""
        try:
            listed = json.loads((self._folder / "packages.json").read_text(encoding="utf-8"))
            return {name: Package(**fields) for name, fields in listed.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return {}  # a damaged list only costs a download

    def _remember(self, package_by_name: Mapping[str, Package]) -> None:
        fresh = self._folder / "packages.json.new"
        fresh.write_text(
            json.dumps({name: vars(package) for name, package in package_by_name.items()}, indent=2)
        )
        fresh.replace(self._folder / "packages.json")


def parse_print_uris(output: str) -> dict[str, Package]:
    """Package name -> Package from the lines `'<uri>' <file> <size> SHA256:<digest>` among others."""
    found = {}
    for match in re.finditer(r"^'[^']*' (\S+) (\d+) SHA256:([0-9a-f]{64})$", output, re.MULTILINE):
        file_name, size, sha256 = match.groups()
        name = file_name.partition("_")[0]
        found[name] = Package(name, file_name, int(size), sha256)
    return found


def _own_sources(suite: str | None) -> list[AptSource]:
    """The machine's own sources, or the same mirrors' for another suite."""
    sources: list[AptSource] = []
    lists = [_APT_DIR / "sources.list", *sorted((_APT_DIR / "sources.list.d").glob("*"))]
    for path in lists:
        if path.suffix == ".list":
            sources += parse_one_line(_read_text(path))
        elif path.suffix == ".sources":
            sources += parse_deb822(_read_text(path))
    if suite is None:
        usable = [source for source in sources if source.components]
    else:
        codename = _os_release().get("VERSION_CODENAME", "")
        usable = retarget(sources, codename, ("stable", "oldstable"), suite)
    if not usable:
        raise EngineError(
            f"no Debian mirror is configured in {_APT_DIR}",
            hint=f"name a mirror of Debian's archive in {_APT_DIR}/sources.list, with the suite `stable`",
        )
    return usable


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _os_release() -> dict[str, str]:
    """os-release(5), such as {"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm"}."""
    pairs = (line.partition("=") for line in _read_text(_OS_RELEASE).splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs if name.strip()}


def _wait_with_progress(
    process: subprocess.Popen[bytes], folder: Path, total_bytes: int, on_progress: OnProgress
) -> None:
    give_up_at = time.monotonic() + _APT_TIMEOUT_S
    bytes_before = _size_of_files(folder.iterdir())
    while True:
        try:
            process.wait(timeout=_PROGRESS_EVERY_S)
            return
        except subprocess.TimeoutExpired:
            if time.monotonic() > give_up_at:
                process.kill()
                return
        done_bytes = _size_of_files(folder.iterdir()) - bytes_before
        on_progress(f"downloaded {_megabytes(done_bytes)} of {_megabytes(total_bytes)}")


def _size_of_files(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # apt renames while we look
            continue
    return total


def _run(command: Sequence[str], *, check: bool = True, folder: Path | None = None) -> str:
    """Both outputs of the command. Errors: EngineError with its last lines where it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environ(),
            timeout=_APT_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise EngineError(
            f"{command[0]} is missing", hint="install Docker Engine, or set DOCKER_HOST"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"`{command[0]}` did not end within {_APT_TIMEOUT_S} s") from error
    output = done.stdout.decode(errors="replace")
    if check and done.returncode != 0:
        raise EngineError(f"`{' '.join(command)}` failed: {_last_lines(output)}")
    return output


def _environ() -> dict[str, str]:
    # answers are parsed and shown: plain English, and no questions
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


def _last_lines(text: str) -> str:
    lines = [
        line for line in text.splitlines() if line.startswith(("E:", "Err", "dpkg"))
    ] or text.splitlines()
    return "; ".join(line.strip() for line in lines[-4:]) or "no output"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
