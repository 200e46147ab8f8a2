"""What a git context leaves in a folder, from a repository on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_engine.backends.contexts import FetchedContext, FetchOptions, Revision, fetch_context
from tasks_engine.errors import SourceError

TRUSTED = FetchOptions(trusted=True)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def fetch(repository: Path, fragment: str, into: Path) -> FetchedContext:
    return fetch_context(f"{repository}#{fragment}", into, TRUSTED)


@pytest.mark.parametrize(
    ("fragment", "word", "at", "branch", "tag"),
    [
        ("", "second", "main", "", ""),
        ("main", "second", "main", "main", ""),
        ("feature/x", "feature", "feature/x", "feature/x", ""),
        ("refs/heads/feature/x", "feature", "feature/x", "feature/x", ""),
        ("light", "first", "v1", "", "light"),
        ("v1", "first", "v1", "", "v1"),
        ("refs/tags/v1", "first", "v1", "", "v1"),
        ("pull/7/head", "first", "v1", "", ""),
        ("refs/pull/7/head", "first", "v1", "", ""),
        ("feature%2Fx", "feature", "feature/x", "feature/x", ""),
    ],
)
def test_every_kind_of_reference_is_found(
    repository: Path, git, tmp_path: Path, fragment: str, word: str, at: str, branch: str, tag: str
) -> None:
    found = fetch(repository, fragment, tmp_path / "into")
    assert (found.folder / "word").read_text() == word
    assert found.revision == Revision(git(repository, "rev-parse", f"{at}^{{commit}}"), branch, tag)
    assert found.warnings == ()
    # a short name of a branch is checked out as such
    expected = branch if fragment == branch or "%" in fragment else ""
    assert git(found.folder, "branch", "--show-current") == expected


@pytest.mark.parametrize("length", [7, 12, 40])
def test_a_commit_is_found_by_the_begin_of_its_id(repository: Path, git, tmp_path: Path, length: int) -> None:
    commit = git(repository, "rev-parse", "v1^{commit}")
    found = fetch(repository, commit[:length], tmp_path / "into")
    assert (found.folder / "word").read_text() == "first"
    assert found.revision == Revision(commit)


def test_a_branch_called_like_a_commit_is_found(repository: Path, git, tmp_path: Path) -> None:
    git(repository, "branch", "cafe", "feature/x")
    assert (fetch(repository, "cafe", tmp_path / "into").folder / "word").read_text() == "feature"


def test_the_clone_is_shallow_and_keeps_its_git_folder(repository: Path, git, tmp_path: Path) -> None:
    found = fetch(repository, "main", tmp_path / "into")
    assert git(found.folder, "rev-list", "--count", "HEAD") == "1"
    assert git(found.folder, "status", "--porcelain") == ""
    assert git(found.folder, "rev-parse", "--abbrev-ref", "HEAD@{upstream}") == "origin/main"


@pytest.mark.parametrize("fragment", ["main:sub", ":sub", ":/sub/", "v1:./sub"])
def test_a_folder_may_be_named(repository: Path, tmp_path: Path, fragment: str) -> None:
    found = fetch(repository, fragment, tmp_path / "into")
    assert found.folder == tmp_path / "into" / "sub"
    assert found.revision is not None


@pytest.mark.parametrize("fragment", ["main:..", "main:../..", ":none", ":word"])
def test_a_folder_that_is_none_is_told_and_nothing_is_left(
    repository: Path, tmp_path: Path, fragment: str
) -> None:
    with pytest.raises(SourceError, match="folder '"):
        fetch(repository, fragment, tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.parametrize("reference", ["none", "refs/heads/none", "deadbeef", "0" * 40, "pull/8/head"])
def test_a_reference_that_is_not_there_is_told(repository: Path, tmp_path: Path, reference: str) -> None:
    with pytest.raises(SourceError) as caught:
        fetch(repository, reference, tmp_path / "into")
    assert reference in caught.value.message
    assert not caught.value.retryable
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.parametrize(
    "reference", ["-x", "--upload-pack=x", "+main", "a..b", "a b", "a^", "a~1", "@{-1}", "a*", "a\\b"]
)
def test_what_is_no_reference_never_reaches_git(repository: Path, tmp_path: Path, reference: str) -> None:
    with pytest.raises(SourceError, match="is no branch, tag or commit"):
        fetch(repository, reference, tmp_path / "into")


def test_hooks_of_templates_do_not_run(repository: Path, git, tmp_path: Path) -> None:
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (hooks / "post-checkout").chmod(0o755)
    (tmp_path / ".gitconfig").write_text(
        f"[init]\ntemplateDir={tmp_path}/template\n[core]\nhooksPath={hooks}\n"
    )
    fetch(repository, "main", tmp_path / "into")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("address", ["{0}", "file://{0}", "ext::touch {1}/ran"])
def test_a_submodule_cannot_be_of_this_machine(repository: Path, git, tmp_path: Path, address: str) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    git(secret, "init", "-q", "-b", "main")
    git(secret, "commit", "-qm", "x", "--allow-empty")
    url = address.format(secret, tmp_path)
    git(repository, "submodule", "--quiet", "add", str(secret), "module")
    git(repository, "config", "--file", ".gitmodules", "submodule.module.url", url)
    git(repository, "commit", "-qam", "module")
    with pytest.raises(SourceError, match="not allowed") as caught:
        fetch(repository, "main", tmp_path / "into")
    assert "come over https, http, ssh or git" in caught.value.hint
    assert not (tmp_path / "ran").exists()
    assert list((tmp_path / "into").iterdir()) == []


def test_pointers_of_large_files_are_told(
    repository: Path, git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    (repository / ".gitattributes").write_text("*.bin filter=lfs\n")
    (repository / "a.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "large")
    found = fetch(repository, "main", tmp_path / "into")
    assert found.warnings == (f"1 file is only a pointer, because git-lfs is not installed: {repository}",)
    assert (found.folder / "a.bin").read_text().startswith("version")


@pytest.mark.parametrize("trusted", [True, False])
def test_an_address_without_a_server_is_told_without_its_login(tmp_path: Path, trusted: bool) -> None:
    with pytest.raises(SourceError) as caught:
        fetch_context(
            "http://user:hunter2@127.0.0.1:1/r.git#main", tmp_path / "into", FetchOptions(trusted=trusted)
        )
    assert caught.value.retryable
    assert caught.value.message.startswith("http://127.0.0.1:1/r.git cannot be fetched at 'main': ")
    assert "hunter2" not in str(caught.value) + repr(caught.value.__cause__)
