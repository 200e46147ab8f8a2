from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tasks_engine.backends.registry import RegistryClient, artifacts, fetch_artifact
from tasks_engine.backends.registry.manifests import OCI_INDEX, OCI_MANIFEST
from tasks_engine.errors import RegistryError, SourceError
from tests.fake_registry import FakeRegistry, Scripted

TITLE = "org.opencontainers.image.title"
UNPACK = "io.deis.oras.content.unpack"


class NoCredentials:
    def find(self, registry: str) -> None:
        return None


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry().running() as registry:
        yield registry


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient(NoCredentials(), sleep=lambda _: None, timeout_s=5) as client:
        yield client


def tar(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content.encode()))
    return buffer.getvalue()


def unpack(stream: BinaryIO, into: Path) -> None:
    with tarfile.open(fileobj=stream, mode="r:*") as archive:
        archive.extractall(into, filter="data")


def push(fake: FakeRegistry, *layers: tuple[bytes, dict[str, str]], media_type: str = "x/tar") -> str:
    listed = [
        {
            "mediaType": media_type,
            "digest": fake.put_blob("ctx", data),
            "size": len(data),
            "annotations": notes,
        }
        for data, notes in layers
    ]
    return fake.put("ctx", "1", {"layers": listed}, OCI_MANIFEST)


def files_in(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([(tar(a="1"), {})], {"a": "1"}),
        ([(gzip.compress(tar(a="1")), {})], {"a": "1"}),
        ([(tar(a="1"), {}), (tar(b="2"), {})], {"a": "1", "b": "2"}),
        ([(gzip.compress(tar(**{"src/a": "1"})), {TITLE: "src", UNPACK: "true"})], {"src/a": "1"}),
        ([(gzip.compress(tar(a="1")), {TITLE: "Context.TAR.GZ"})], {"a": "1"}),
        ([(b"FROM x", {TITLE: "Dockerfile"})], {"Dockerfile": "FROM x"}),
        ([(b"1", {TITLE: "a"}), (b"2", {TITLE: "b/c/d"})], {"a": "1", "b/c/d": "2"}),
        # beside other files, an archive is a file too
        (
            [(b"FROM x", {TITLE: "Dockerfile"}), (b"tar", {TITLE: "a.tar"})],
            {"Dockerfile": "FROM x", "a.tar": "tar"},
        ),
    ],
)
def test_layers_become_files(fake, client, tmp_path, layers, expected):
    digest = push(fake, *layers)

    assert fetch_artifact(client, f"oci://{fake.name}/ctx:1", tmp_path, unpack) == digest
    assert files_in(tmp_path) == expected


@pytest.mark.parametrize("form", ["oci://{}/ctx:1", "OCI://{}/ctx:1", "{}/ctx:1", "oci://{}/ctx@DIGEST"])
def test_the_scheme_may_be_spelled_as_people_do(fake, client, tmp_path, form):
    digest = push(fake, (tar(a="1"), {}))
    address = form.format(fake.name).replace("DIGEST", digest)

    assert fetch_artifact(client, address, tmp_path, unpack) == digest


def test_an_index_of_one_manifest_stands_for_it(fake, client, tmp_path):
    digest = push(fake, (tar(a="1"), {}))
    fake.put("ctx", "2", {"manifests": [{"digest": digest, "size": 1}]}, OCI_INDEX)

    assert fetch_artifact(client, f"{fake.name}/ctx:2", tmp_path, unpack) == digest
    assert files_in(tmp_path) == {"a": "1"}


@pytest.mark.parametrize(
    "title",
    ["../a", "/a", "a/../../b", "a/..", ".", "./", "a\\b", "a\0b", "x" * 5000],
    ids=lambda title: title[:9],
)
def test_names_that_lead_outside_are_refused_before_anything_is_written(fake, client, tmp_path, title):
    push(fake, (b"1", {TITLE: "good"}), (b"2", {TITLE: title}))

    with pytest.raises(SourceError, match="outside of the context"):
        fetch_artifact(client, f"{fake.name}/ctx:1", tmp_path, unpack)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_written_through_a_link_of_an_archive(fake, client, tmp_path):
    into, outside = tmp_path / "into", tmp_path / "outside"
    into.mkdir()
    outside.mkdir()

    def careless(_stream: BinaryIO, folder: Path) -> None:
        (folder / "link").symlink_to(outside)

    push(fake, (b"", {}), (b"2", {TITLE: "link/a"}))
    with pytest.raises(SourceError, match="through a link"):
        fetch_artifact(client, f"{fake.name}/ctx:1", into, careless)
    assert list(outside.iterdir()) == []


def test_a_file_that_an_archive_left_is_not_overwritten(fake, client, tmp_path):
    push(fake, (tar(a="1"), {}), (b"2", {TITLE: "a"}))

    with pytest.raises(SourceError, match="'a' cannot be written: File exists"):
        fetch_artifact(client, f"{fake.name}/ctx:1", tmp_path, unpack)


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("oci://UPPER CASE", SourceError, "is no artifact"),
        ("oci://", SourceError, "is no artifact"),
        ("oci://{}/absent:1", RegistryError, "is not in registry"),
    ],
)
def test_what_is_no_artifact_is_said(fake, client, tmp_path, reference, error, message):
    with pytest.raises(error, match=message):
        fetch_artifact(client, reference.format(fake.name), tmp_path, unpack)


def test_artifacts_without_use_are_refused(fake, client, tmp_path, monkeypatch):
    def fetch(tag: str = "1") -> None:
        fetch_artifact(client, f"{fake.name}/ctx:{tag}", tmp_path, unpack)

    push(fake)
    with pytest.raises(SourceError, match="has no layers"):
        fetch()
    push(fake, (b"1", {TITLE: "a"}), (b"2", {TITLE: "./a"}))
    with pytest.raises(SourceError, match="several files of one name"):
        fetch()
    fake.put("ctx", "2", {"manifests": []}, OCI_INDEX)
    with pytest.raises(SourceError, match="an index of 0 manifests"):
        fetch("2")
    monkeypatch.setattr(artifacts, "MAX_BYTES", 1)
    with pytest.raises(SourceError, match="larger than"):
        fetch()
    monkeypatch.setattr(artifacts, "MAX_LAYERS", 1)
    with pytest.raises(SourceError, match="1 is the limit"):
        fetch()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_when_one_layer_is_damaged(fake, client, tmp_path):
    push(fake, (tar(a="1"), {}), (tar(b="2"), {}))
    listed = json.loads(fake.manifests["ctx"]["1"][1])["layers"]
    fake.blobs["ctx"][listed[1]["digest"]] = tar(b="3")

    with pytest.raises(RegistryError, match="is damaged"):
        fetch_artifact(client, f"{fake.name}/ctx:1", tmp_path, unpack)
    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_broke_off_is_fetched_again(fake, client, tmp_path):
    push(fake, (tar(a="1"), {}))
    size = json.loads(fake.manifests["ctx"]["1"][1])["layers"][0]["size"]
    fake.fail("GET .*blobs", Scripted(200, {}, b"half", length=size), times=2)

    fetch_artifact(client, f"{fake.name}/ctx:1", tmp_path, unpack)
    assert files_in(tmp_path) == {"a": "1"}
