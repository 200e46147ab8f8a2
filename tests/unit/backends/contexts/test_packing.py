"""Which files of a folder are sent to a server, and how."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from tasks_engine.backends.contexts.packing import (
    dockerfile_name,
    find_ignore_file,
    list_entries,
    pack,
    read_ignore_lines,
)
from tasks_engine.errors import SourceError, UsageError

TREE = (
    *(
        "a.txt",
        "b.md",
        "README.md",
        "Dockerfile",
        "src/main.py",
        "src/main.pyc",
        "src/deep/x.pyc",
        "src/deep/y.txt",
    ),
    *("logs/one.log", "logs/keep.log", "node_modules/m/index.js"),
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return fill(tmp_path / "tree", *TREE)


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.fsencode(name))
    return folder


def files(folder: Path, dockerfile: Path | None = None) -> set[str]:
    return {entry.name for entry in list_entries(folder, dockerfile) if entry.path.is_file()}


def unpacked(folder: Path, dockerfile: Path | None = None) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(pack(folder, dockerfile)))) as tar:
        return tar.getmembers()


def test_everything_is_sent_without_an_ignore_file(tree: Path) -> None:
    assert files(tree) == set(TREE)


@pytest.mark.parametrize(
    "name",
    [".git/config", ".gitignore", ".svn/x", ".hg/x", ".hgignore", ".bzr/x", "bzrignore", ".venv/bin/python"],
)
def test_what_version_control_keeps_is_left_out_at_every_depth(tree: Path, name: str) -> None:
    fill(tree, name, f"src/{name}")
    assert files(tree) == set(TREE)
    names = {entry.name for entry in list_entries(tree)}
    assert not {name.partition("/")[0], f"src/{name.partition('/')[0]}"} & names


def test_other_hidden_files_are_sent(tree: Path) -> None:
    fill(tree, ".github/x", ".env", ".gitmodules")
    assert files(tree) == {*TREE, ".github/x", ".env", ".gitmodules"}


@pytest.mark.parametrize(
    ("lines", "left_out"),
    [
        (["*.md"], {"b.md", "README.md"}),
        (["*.md", "!README.md"], {"b.md"}),
        (["!README.md", "*.md"], {"b.md", "README.md"}),
        (["*.pyc"], set()),
        (["**/*.pyc"], {"src/main.pyc", "src/deep/x.pyc"}),
        (["src/*.pyc"], {"src/main.pyc"}),
        (["src"], {"src/main.py", "src/main.pyc", "src/deep/x.pyc", "src/deep/y.txt"}),
        (["src", "!src/deep"], {"src/main.py", "src/main.pyc"}),
        (["src/", "!src/deep/*.txt"], {"src/main.py", "src/main.pyc", "src/deep/x.pyc"}),
        (["/logs", "!logs/keep.log"], {"logs/one.log"}),
        (["logs/*", "!logs/keep.log", "logs/keep.*"], {"logs/one.log", "logs/keep.log"}),
        (["?.txt"], {"a.txt"}),
        (["[ab].*"], {"a.txt", "b.md"}),
        (["**"], set(TREE)),
        (["**", "!**/*.py"], set(TREE) - {"src/main.py"}),
        (["# *.md", "", "   ", " a.txt "], {"a.txt"}),
    ],
)
def test_patterns_of_the_ignore_file(tree: Path, lines: list[str], left_out: set[str]) -> None:
    (tree / ".dockerignore").write_text("\n".join(lines))
    assert files(tree) == {*TREE, ".dockerignore"} - left_out - (
        {".dockerignore"} if lines[0] == "**" else set()
    )


def test_folders_above_what_is_brought_back_are_sent_before_it(tree: Path) -> None:
    (tree / ".dockerignore").write_text("**\n!src/deep/y.txt\n")
    assert [entry.name for entry in list_entries(tree)] == ["src", "src/deep", "src/deep/y.txt"]


def test_an_exception_brings_back_what_is_left_out_by_default(tree: Path) -> None:
    fill(tree, ".git/config", ".git/refs/x")
    (tree / ".dockerignore").write_text("!.git/**\n")
    assert {name for name in files(tree) if name.startswith(".git/")} == {".git/config", ".git/refs/x"}


def test_the_ignore_file_of_the_dockerfile_takes_precedence(tree: Path) -> None:
    fill(tree, "docker/app.Dockerfile")
    (tree / ".dockerignore").write_text("a.txt")
    own = tree / "app.Dockerfile.dockerignore"
    own.write_text("b.md")
    app = tree / "docker" / "app.Dockerfile"

    assert find_ignore_file(tree, tree / "Dockerfile") == tree / ".dockerignore"
    assert find_ignore_file(tree, app) == own
    assert "b.md" not in files(tree, app)
    assert "a.txt" in files(tree, app)

    beside = tree / "docker" / "app.Dockerfile.dockerignore"
    beside.write_text("README.md")
    assert find_ignore_file(tree, app) == beside
    assert find_ignore_file(tree / "src", None) is None


def test_a_byte_order_mark_is_no_part_of_a_pattern() -> None:
    assert read_ignore_lines(b"\xef\xbb\xbf# c\r\n*.md\r\n\r\n !x \n") == ["*.md", "!x"]


@pytest.mark.parametrize("data", [b"\xff\xfe*", b"[", b"!", b"a\\"])
def test_an_ignore_file_without_meaning_is_told(tree: Path, data: bytes) -> None:
    (tree / ".dockerignore").write_bytes(data)
    with pytest.raises(UsageError, match="dockerignore"):
        files(tree)


def test_a_dockerfile_that_is_ignored_is_sent_under_a_name_of_its_own(tree: Path) -> None:
    (tree / ".dockerignore").write_text("Dockerfile\n")
    names = [member.name for member in unpacked(tree, tree / "Dockerfile")]
    assert "Dockerfile" not in names
    assert names[-1] == dockerfile_name(tree / "Dockerfile")
    assert names[-1].endswith("_Dockerfile")


def test_a_dockerfile_outside_of_the_folder_is_sent_too(tree: Path, tmp_path: Path) -> None:
    fill(tmp_path, "other/app.Dockerfile")
    last = unpacked(tree, tmp_path / "other" / "app.Dockerfile")[-1]
    assert last.name.endswith("_app.Dockerfile")
    assert last.size == len("other/app.Dockerfile")
    with pytest.raises(UsageError, match="there is no Dockerfile"):
        unpacked(tree, tmp_path / "none")


def test_the_tar_names_no_owner_and_is_the_same_each_time(tree: Path) -> None:
    (tree / "link").symlink_to("../out")
    (tree / "empty").mkdir()
    (tree / "a.txt").chmod(0o751)
    os.utime(tree / "a.txt", (1000.5, 1000.5))
    members = unpacked(tree)
    assert {(m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, "", "")}
    by_name = {member.name: member for member in members}
    assert (by_name["a.txt"].mode, by_name["a.txt"].mtime) == (0o751, 1000)
    assert (by_name["link"].issym(), by_name["link"].linkname) == (True, "../out")
    assert by_name["empty"].isdir()
    assert [m.name for m in members] == sorted((m.name for m in members), key=lambda name: name.split("/"))
    assert b"".join(pack(tree)) == b"".join(pack(tree))


def test_names_of_any_length_and_bytes_survive(tmp_path: Path) -> None:
    names = {"x" * 200, "ä" * 80, os.fsdecode(b"\xff\xfe")}
    fill(tmp_path / "t", *names)
    assert {member.name for member in unpacked(tmp_path / "t")} == names


def test_sockets_and_pipes_are_left_out(tmp_path: Path) -> None:
    folder = fill(tmp_path / "t", "a")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "s"))
    assert [entry.name for entry in list_entries(folder)] == ["a"]


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    folder = fill(tmp_path / "t")
    folder.mkdir()
    (folder / "big").write_bytes(bytes(3 << 20))
    chunks = pack(folder)
    next(chunks)
    next(chunks)
    os.truncate(folder / "big", 1 << 20)
    with pytest.raises(SourceError, match="shrank"):
        list(chunks)
