"""What an address means, and who may name it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tasks_engine.backends.contexts import FetchedContext, FetchOptions, Revision, fetch_context
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import Canceled, SourceError, UsageError


def tar(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as writer:
        for name in names:
            writer.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def test_a_local_folder_stays_where_it_is(tmp_path: Path, repository: Path, git) -> None:
    into = tmp_path / "into"
    options = FetchOptions(trusted=True, current=tmp_path)
    (tmp_path / "plain").mkdir()
    assert fetch_context("plain", into, options) == FetchedContext(tmp_path / "plain", None, "plain")
    revision = Revision(git(repository, "rev-parse", "HEAD"), "main")
    assert fetch_context(str(repository), into, options) == FetchedContext(
        repository, revision, str(repository)
    )
    assert not into.exists()


@pytest.mark.parametrize(
    ("address", "what"), [("none", "does not exist"), ("file", "is a file"), ("none#x", "not exist")]
)
def test_a_local_context_is_a_folder(tmp_path: Path, address: str, what: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=what):
        fetch_context(address, tmp_path / "into", FetchOptions(trusted=True, current=tmp_path))


@pytest.mark.parametrize(
    "address", ["file://{0}", "file://{0}/.git", "{0}/.git", "{0}#", "{0}#main", "repo#main"]
)
def test_repositories_of_this_machine_are_fetched(repository: Path, tmp_path: Path, address: str) -> None:
    options = FetchOptions(trusted=True, current=tmp_path)
    found = fetch_context(address.format(repository), tmp_path / "into", options)
    assert found.folder == tmp_path / "into"
    assert (found.folder / "word").read_text() == "second"


def test_a_folder_with_a_number_sign_in_its_name_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a#b").mkdir()
    options = FetchOptions(trusted=True, current=tmp_path)
    assert fetch_context("a#b", tmp_path / "into", options).folder == tmp_path / "a#b"


@pytest.mark.parametrize("address", [".", "/", "{0}", "{0}#main", "file://{0}", "-", ""])
def test_strangers_may_name_remote_contexts_only(repository: Path, tmp_path: Path, address: str) -> None:
    with pytest.raises(SourceError, match="is not a remote one"):
        fetch_context(address.format(repository), tmp_path / "into", FetchOptions(current=repository))
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("trusted", [True, False])
def test_nothing_is_an_empty_context(tmp_path: Path, trusted: bool) -> None:
    found = fetch_context("/dev/null", tmp_path / "into", FetchOptions(trusted=trusted))
    assert found == FetchedContext(tmp_path / "into", None, "/dev/null")
    assert list(found.folder.iterdir()) == []


def test_standard_input_is_an_archive(tmp_path: Path) -> None:
    options = FetchOptions(trusted=True, stdin=lambda: io.BytesIO(tar("a", "b")))
    found = fetch_context("-", tmp_path / "into", options)
    assert {path.name for path in found.folder.iterdir()} == {"a", "b"}


def test_a_bad_archive_on_standard_input_leaves_nothing(tmp_path: Path) -> None:
    options = FetchOptions(trusted=True, stdin=lambda: io.BytesIO(tar("a", "../b")))
    with pytest.raises(
        SourceError, match="context on standard input: the archive has a path that leads outside"
    ):
        fetch_context("-", tmp_path / "into", options)
    assert list((tmp_path / "into").iterdir()) == []


def test_artifacts_are_pulled_by_whoever_can(tmp_path: Path) -> None:
    def pull(artifact: str, into: Path) -> str:
        (into / "pulled").write_text(artifact)
        return "sha256:0"

    found = fetch_context("oci://r.io/a:1", tmp_path / "into", FetchOptions(fetch_oci=pull))
    assert found == FetchedContext(tmp_path / "into", None, "oci://r.io/a:1 (sha256:0)")
    assert (found.folder / "pulled").read_text() == "r.io/a:1"
    with pytest.raises(SourceError, match="there is no registry client"):
        fetch_context("oci://r.io/a:1", tmp_path / "into")


def test_a_pull_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def pull(artifact: str, into: Path) -> str:
        (into / "half").mkdir()
        raise SourceError("broke off")

    with pytest.raises(SourceError, match="broke off"):
        fetch_context("oci://r.io/a:1", tmp_path / "into", FetchOptions(fetch_oci=pull))
    assert list((tmp_path / "into").iterdir()) == []


def test_a_cancelled_fetch_gives_the_reason(tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel(Canceled("enough"))
    for address in ("git://127.0.0.1:1/r.git", "http://127.0.0.1:1/x.tar"):
        with pytest.raises(Canceled, match="enough"):
            fetch_context(address, tmp_path / "into", FetchOptions(cancel=cancel))
