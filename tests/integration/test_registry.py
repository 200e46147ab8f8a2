"""The registry client against a real registry, and against the fake one, so that the fake may be trusted elsewhere."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import tarfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from tasks_engine.backends.credentials import Credential
from tasks_engine.backends.registry import Descriptor, Manifest, RegistryClient, fetch_artifact
from tasks_engine.backends.registry.manifests import OCI_INDEX, OCI_MANIFEST
from tasks_engine.errors import Canceled, RegistryError
from tasks_engine.images.reference import Reference, parse_reference
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry
from tests.open_files import open_files
from tests.services import require

CONFIG = b"{}"
LOGIN = Credential(USERNAME, PASSWORD)


class Credentials:
    def __init__(self, credential: Credential | None) -> None:
        self.credential = credential

    def find(self, registry: str) -> Credential | None:
        return self.credential


@dataclass(frozen=True)
class Place:
    """A repository that nobody else uses, in a registry that may want a login."""

    registry: str
    repository: str
    wants_login: bool
    bearer: FakeRegistry | None = None

    def image(self, rest: str = ":1") -> Reference:
        return parse_reference(f"{self.registry}/{self.repository}{rest}")

    def push_blob(self, data: bytes) -> dict[str, object]:
        """In two requests, as the protocol wants it; returns its descriptor."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if self.bearer is not None:
            self.bearer.put_blob(self.repository, data)
        else:
            headers = {"Authorization": _basic()} if self.wants_login else {}
            connection = http.client.HTTPConnection(self.registry, timeout=10)
            try:
                connection.request("POST", f"/v2/{self.repository}/blobs/uploads/", headers=headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 202
                location = answer.headers["Location"]
                joint = "&" if "?" in location else "?"
                connection.request("PUT", f"{location}{joint}digest={digest}", body=data, headers=headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 201
            finally:
                connection.close()
        return {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": len(data)}

    def manifest(self, *layers: bytes) -> Manifest:
        """Of layers that it pushes."""
        config = {**self.push_blob(CONFIG), "mediaType": "application/vnd.oci.image.config.v1+json"}
        content = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config,
            "layers": [self.push_blob(each) for each in layers],
        }
        return Manifest.of(OCI_MANIFEST, json.dumps(content).encode())


@pytest.fixture(params=["fake", "fake with Basic", "fake with tokens", "real", "real with login"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    repository = f"registry-client/{uuid.uuid4().hex[:12]}"
    if request.param == "real":
        yield Place(require("TASKS_TEST_REGISTRY"), repository, False)
    elif request.param == "real with login":
        yield Place(require("TASKS_TEST_LOGIN_REGISTRY"), repository, True)
    else:
        auth = {"fake": "", "fake with Basic": "basic", "fake with tokens": "bearer"}[request.param]
        with FakeRegistry(auth).running() as fake:
            yield Place(fake.name, repository, bool(auth), fake if auth == "bearer" else None)


@pytest.fixture
def client(place: Place) -> Iterator[RegistryClient]:
    with RegistryClient(Credentials(LOGIN if place.wants_login else None), timeout_s=10) as client:
        yield client


def test_a_manifest_is_written_found_and_read(place: Place, client: RegistryClient) -> None:
    manifest = place.manifest(b"layer")

    assert client.digest(place.image()) is None
    assert client.put_manifest(place.image(), manifest) == manifest.digest
    assert client.digest(place.image()) == manifest.digest
    assert client.digest(place.image(f"@{manifest.digest}")) == manifest.digest
    assert client.manifest(place.image()) == manifest
    assert client.manifest(place.image(f"@{manifest.digest}")) == manifest


def test_a_manifest_written_by_its_digest_gets_its_tag_later(place: Place, client: RegistryClient) -> None:
    manifest = place.manifest(b"layer")
    client.put_manifest(place.image(f"@{manifest.digest}"), manifest)
    assert client.tags(place.image()) == ()

    client.put_manifest(place.image(":late"), client.manifest(place.image(f"@{manifest.digest}")))
    assert client.tags(place.image()) == ("late",)
    assert client.digest(place.image(":late")) == manifest.digest


def test_the_manifest_for_a_platform_is_found_in_an_index(place: Place, client: RegistryClient) -> None:
    manifests = {"amd64": place.manifest(b"1"), "arm64": place.manifest(b"2")}
    entries = []
    for architecture, manifest in manifests.items():
        client.put_manifest(place.image(f"@{manifest.digest}"), manifest)
        entries.append(
            {
                "mediaType": OCI_MANIFEST,
                "digest": manifest.digest,
                "size": len(manifest.data),
                "platform": {"os": "linux", "architecture": architecture},
            }
        )
    content = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    index = Manifest.of(OCI_INDEX, json.dumps(content).encode())
    client.put_manifest(place.image(":multi"), index)

    assert client.digest(place.image(":multi")) == index.digest
    for architecture, manifest in manifests.items():
        assert client.platform_digest(place.image(":multi"), f"linux/{architecture}") == manifest.digest


def test_blobs_are_found_and_read(place: Place, client: RegistryClient) -> None:
    data = bytes(range(256)) * 10_000
    digest = str(place.push_blob(data)["digest"])

    assert client.blob_exists(place.image(), digest)
    assert not client.blob_exists(place.image(), "sha256:" + "0" * 64)
    with client.blob(place.image(), digest, len(data)) as blob:
        assert blob.read() == data


def test_a_blob_is_uploaded_in_pieces(place: Place, client: RegistryClient) -> None:
    data = uuid.uuid4().bytes * 100_000
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    pieces = [data[at : at + 300_000] for at in range(0, len(data), 300_000)]

    client.upload_blob(place.image(), Descriptor("", digest, len(data)), lambda: pieces)

    with client.blob(place.image(), digest) as blob:
        assert blob.read() == data


def test_a_blob_that_is_not_what_its_digest_says_is_refused(place: Place, client: RegistryClient) -> None:
    wrong = Descriptor("", f"sha256:{hashlib.sha256(uuid.uuid4().bytes).hexdigest()}", 5)
    with pytest.raises(RegistryError):
        client.upload_blob(place.image(), wrong, lambda: [b"other"])
    assert not client.blob_exists(place.image(), wrong.digest)


def test_what_fails_to_give_a_blob_comes_out(place: Place, client: RegistryClient) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"12"
        raise Canceled("enough")

    with pytest.raises(Canceled, match="enough"):
        client.upload_blob(place.image(), Descriptor("", f"sha256:{'0' * 64}", 5), pieces)
    assert client.tags(place.image()) is not None


def test_what_is_missing_is_said(place: Place, client: RegistryClient) -> None:
    for ask in (
        lambda: client.manifest(place.image()),
        lambda: client.manifest(place.image("@sha256:" + "0" * 64)),
        lambda: client.blob(place.image(), "sha256:" + "0" * 64),
    ):
        with pytest.raises(RegistryError, match="is not in registry"):
            ask()
    assert client.tags(place.image()) == ()


def test_tags_are_listed(place: Place, client: RegistryClient) -> None:
    manifest = place.manifest(b"layer")
    for number in range(5):
        client.put_manifest(place.image(f":v{number}"), manifest)

    assert client.tags(place.image()) == ("v0", "v1", "v2", "v3", "v4")


def test_a_manifest_without_its_layers_is_refused(place: Place, client: RegistryClient) -> None:
    manifest = place.manifest(b"layer")
    (layer,) = manifest.layers()
    content = manifest.data.replace(layer.digest.encode(), b"sha256:" + b"0" * 64)
    with pytest.raises(RegistryError, match=r"does not take the manifest for .*: MANIFEST_BLOB_UNKNOWN"):
        client.put_manifest(place.image(), Manifest.of(OCI_MANIFEST, content))


def test_many_threads_share_one_client(place: Place, client: RegistryClient) -> None:
    manifest = place.manifest(b"layer")
    client.put_manifest(place.image(), manifest)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: client.digest(place.image()), range(100)))

    assert found == [manifest.digest] * 100


@pytest.mark.parametrize("place", ["fake with Basic", "fake with tokens", "real with login"], indirect=True)
@pytest.mark.parametrize("credential", [None, Credential(USERNAME, "wrong horse")])
def test_without_its_login_a_registry_says_nothing(place: Place, credential: Credential | None) -> None:
    wanted = "wants a login, and there is none" if credential is None else "refused the login"
    with (
        RegistryClient(Credentials(credential)) as client,
        pytest.raises(RegistryError, match=wanted) as caught,
    ):
        client.digest(place.image())
    assert "wrong horse" not in str(caught.value)


def test_a_context_is_fetched_from_an_artifact(place: Place, client: RegistryClient, tmp_path: Path) -> None:
    def unpack(stream: BinaryIO, into: Path) -> None:
        with tarfile.open(fileobj=stream, mode="r:*") as archive:
            archive.extractall(into, filter="data")

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("Dockerfile")
        info.size = 12
        archive.addfile(info, io.BytesIO(b"FROM scratch"))
    manifest = place.manifest(buffer.getvalue())
    client.put_manifest(place.image(":context"), manifest)

    assert fetch_artifact(client, f"oci://{place.image(':context')}", tmp_path, unpack) == manifest.digest
    assert (tmp_path / "Dockerfile").read_text() == "FROM scratch"


@pytest.mark.parametrize("place", ["real", "real with login"], indirect=True)
def test_nothing_stays_open(place: Place) -> None:
    manifest = place.manifest(b"layer")
    before = open_files()
    client = RegistryClient(Credentials(LOGIN if place.wants_login else None))
    client.put_manifest(place.image(), manifest)
    client.digest(place.image())
    assert not open_files() <= before
    client.close()
    assert open_files() <= before


def _basic() -> str:
    return "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
