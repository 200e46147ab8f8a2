from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tasks_engine.backends.credentials import Credential
from tasks_engine.backends.registry import Manifest, RegistryClient
from tasks_engine.backends.registry.manifests import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tasks_engine.errors import Canceled, RegistryError
from tasks_engine.images.reference import Reference, parse_reference
from tasks_engine.settings import RegistrySettings
from tests.fake_registry import PASSWORD, USERNAME, FakeRegistry, Scripted
from tests.open_files import open_files

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LOGIN = Credential(USERNAME, PASSWORD)
MANIFEST = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": []}


class Credentials:
    def __init__(self, credential: Credential | None = None) -> None:
        self.credential = credential
        self.asked: list[str] = []

    def find(self, registry: str) -> Credential | None:
        self.asked.append(registry)
        return self.credential


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry().running() as registry:
        yield registry


@pytest.fixture
def waited() -> list[float]:
    """Seconds that clients slept, or rather did not."""
    return []


@pytest.fixture
def connect(waited: list[float]) -> Iterator[Callable[..., RegistryClient]]:
    clients: list[RegistryClient] = []

    def connect(credential: Credential | None = None, **options) -> RegistryClient:
        settings = {"sleep": waited.append, "now": lambda: NOW, "timeout_s": 5, **options}
        clients.append(RegistryClient(Credentials(credential), **settings))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., RegistryClient]) -> RegistryClient:
    return connect()


def image(fake: FakeRegistry, rest: str = "team/app:1") -> Reference:
    return parse_reference(f"{fake.name}/{rest}")


def test_digest_of_a_tag_is_asked_with_one_head(fake, client):
    digest = fake.put("team/app", "1", MANIFEST, OCI_MANIFEST)

    assert client.digest(image(fake)) == digest
    assert fake.requests() == ["GET /v2/", "HEAD /v2/team/app/manifests/1"]
    accepted = fake.asked[-1].headers["accept"]
    assert all(each in accepted for each in (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))


def test_what_is_not_there_has_no_digest(fake, client):
    assert client.digest(image(fake)) is None


def test_a_registry_that_tells_no_digest_is_asked_for_the_manifest(fake, client):
    digest = fake.put("team/app", "1", MANIFEST, OCI_MANIFEST)
    fake.sends_digest = False

    assert client.digest(image(fake)) == digest


def test_a_registry_without_head_is_asked_for_the_manifest(fake, client):
    digest = fake.put("team/app", "1", MANIFEST, OCI_MANIFEST)
    fake.fail("HEAD", Scripted(405))

    assert client.digest(image(fake)) == digest


@pytest.mark.parametrize("wrong", ["sha256:1", "sha256:" + "A" * 64, "md5:" + "0" * 32, "../x"])
def test_a_digest_that_is_none_is_refused(fake, client, wrong):
    fake.fail("HEAD", Scripted(200, {"Docker-Content-Digest": wrong}))

    with pytest.raises(RegistryError, match="does not have its digest"):
        client.digest(image(fake))


def test_a_manifest_comes_byte_for_byte(fake, client):
    data = json.dumps(MANIFEST, indent=3).encode()
    digest = fake.put("team/app", "1", data, OCI_MANIFEST)

    assert client.manifest(image(fake)) == Manifest(OCI_MANIFEST, digest, data)
    assert client.manifest(image(fake, f"team/app@{digest}")).data == data


def test_a_manifest_may_be_named_by_sha512(fake, client):
    data = json.dumps(MANIFEST).encode()
    fake.put("a", "x", data, OCI_MANIFEST)
    digest = f"sha512:{hashlib.sha512(data).hexdigest()}"
    fake.manifests["a"][digest] = (OCI_MANIFEST, data)
    fake.sends_digest = False

    assert client.manifest(image(fake, f"a@{digest}")).digest == digest


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Scripted(404), "is not in registry"),
        (Scripted(200, {"Docker-Content-Digest": "sha256:" + "0" * 64}, b"{}"), "does not have its digest"),
        (Scripted(200, {}, b"<html>"), "form that cannot be read"),
        (Scripted(200, {}, b"[" * 100_000), "form that cannot be read"),
        (Scripted(200, {}, b"[]"), "form that cannot be read"),
        (
            Scripted(200, {"Content-Type": OCI_MANIFEST}, b'{"mediaType": "x"}'),
            "something else than its registry",
        ),
        (Scripted(200, {}, b" " * (5 << 20)), "more than 4 MiB"),
        (Scripted(200, {}, b" " * (5 << 20), length=None), "more than 4 MiB"),
        (Scripted(302, {"Location": "http://example.com/x"}), "example.com over plain HTTP"),
        (Scripted(302, {"Location": "ftp://example.com/x"}), "cannot be read"),
        (Scripted(302, {"Location": "https://a:b@example.com/x"}), "cannot be read"),
        (Scripted(302, {"Location": "https://[::1/x"}), "cannot be read"),
        (Scripted(302), "cannot be read"),
        (
            Scripted(400, {}, b'{"errors": [{"code": "BAD", "message": "so\\u001b bad"}]}'),
            "answered 400 .*: BAD so. bad",
        ),
        (Scripted(400, {}, b'{"errors": 1}'), "answered 400"),
        (Scripted(403), "does not let us read"),
        (Scripted(304), "answered 304"),
        (Scripted(raw=lambda handler: handler.wfile.write(b"SSH-2.0\r\n")), "does not speak HTTP"),
        (
            Scripted(raw=lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200)),
            "HTTP",
        ),
        (
            Scripted(raw=lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000)),
            "HTTP",
        ),
    ],
)
def test_hostile_answers_are_errors_that_say_so(fake, client, answer, message):
    fake.fail("GET .*manifests", answer, times=10)

    with pytest.raises(RegistryError, match=message) as caught:
        client.manifest(image(fake))
    assert caught.value.hint
    assert not caught.value.retryable


def test_redirects_without_end_are_left(fake, client):
    fake.fail("GET .*manifests", Scripted(302, {"Location": "/v2/team/app/manifests/1"}), times=50)

    with pytest.raises(RegistryError, match="redirects without an end"):
        client.manifest(image(fake))
    assert len(fake.requests("manifests")) == 6


def test_a_body_that_breaks_off_is_asked_for_again_and_then_an_error(fake, client, waited):
    fake.fail("GET .*manifests", Scripted(200, {}, b"{", length=100), times=4)

    with pytest.raises(RegistryError, match="broke off") as caught:
        client.manifest(image(fake))
    assert caught.value.retryable


def test_a_server_that_drips_is_left_at_the_time_limit(fake, connect):
    stop = threading.Event()

    def drip(handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not stop.wait(0.05):
            handler.wfile.write(b" ")

    fake.fail("GET .*manifests", Scripted(raw=drip))
    started = time.monotonic()
    try:
        with pytest.raises(RegistryError, match="in time"):
            connect(timeout_s=0.4).manifest(image(fake))
    finally:
        stop.set()
    assert time.monotonic() - started < 3


def test_a_server_that_drips_headers_is_left_at_the_time_limit(fake, connect):
    stop = threading.Event()

    def drip(handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not stop.wait(0.05):
            handler.wfile.write(b"x")

    fake.fail("GET .*manifests", Scripted(raw=drip), times=4)
    try:
        with pytest.raises(RegistryError, match="in time"):
            connect(timeout_s=0.3).manifest(image(fake))
    finally:
        stop.set()


# -- further attempts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_failures_that_pass_are_tried_again(fake, client, waited, status):
    digest = fake.put("team/app", "1", MANIFEST, OCI_MANIFEST)
    fake.fail("HEAD", Scripted(status), times=3)

    assert client.digest(image(fake)) == digest
    assert waited == [1, 2, 4]


def test_failures_that_stay_end_after_four_attempts(fake, client, waited):
    fake.fail("HEAD", Scripted(503), times=10)

    with pytest.raises(RegistryError, match="answered 503 to HEAD of") as caught:
        client.digest(image(fake))
    assert caught.value.retryable
    assert len(fake.requests("HEAD")) == 4


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", [7.0]),
        ("0", [0.0]),
        (format_datetime(NOW + timedelta(seconds=9), usegmt=True), [9.0]),
        (format_datetime(NOW - timedelta(seconds=9), usegmt=True), [0.0]),
        ("soon", [1.0]),
        ("-5", [1.0]),
    ],
)
def test_the_registry_says_how_long_to_wait(fake, client, waited, value, expected):
    fake.fail("HEAD", Scripted(429, {"Retry-After": value}))

    assert client.digest(image(fake)) is None
    assert waited == expected


def test_a_registry_that_asks_to_wait_for_long_is_not_waited_for(fake, client, waited):
    fake.fail("HEAD", Scripted(429, {"Retry-After": "3600"}))

    with pytest.raises(RegistryError, match="429") as caught:
        client.digest(image(fake))
    assert "wait 3600 s" in caught.value.hint
    assert waited == []


def test_waiting_may_be_given_up(fake, connect):
    def give_up(_seconds: float) -> None:
        raise Canceled("enough")

    fake.fail("HEAD", Scripted(503))
    with pytest.raises(Canceled):
        connect(sleep=give_up).digest(image(fake))


def test_a_registry_that_is_not_there_is_an_error(client, waited):
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:1 cannot be reached") as caught:
        client.digest(parse_reference("127.0.0.1:1/a"))
    assert caught.value.retryable


def test_a_connection_that_was_closed_meanwhile_is_made_anew(fake, client, waited):
    fake.put("team/app", "1", MANIFEST, OCI_MANIFEST)
    client.digest(image(fake))
    fake.fail("HEAD", Scripted(raw=lambda handler: None))

    assert client.digest(image(fake)) is not None
    assert waited == []


# -- logins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login_is_given_once_and_then_at_once(fake, connect, auth):
    fake.auth = auth
    digest = fake.put("team/app", "1", MANIFEST, OCI_MANIFEST)
    client = connect(LOGIN)

    assert [client.digest(image(fake)) for _ in range(3)] == [digest] * 3
    assert len(fake.requests("HEAD")) == 4, "one is refused, the others know what to send"
    assert len(fake.requests("/token")) == (1 if auth == "bearer" else 0)


def test_a_token_is_asked_for_what_it_is_used_for(fake, connect):
    fake.auth = "bearer"
    client = connect(LOGIN)
    client.put_manifest(image(fake), Manifest.of(OCI_MANIFEST, b"{}"))
    client.digest(image(fake, "other:1"))

    assert fake.requests("/token") == [
        "GET /token?service=fake&scope=repository%3Ateam%2Fapp%3Apull%2Cpush",
        "GET /token?service=fake&scope=repository%3Aother%3Apull",
    ]


def test_a_token_is_used_until_shortly_before_its_end(fake, connect):
    fake.auth = "bearer"
    time_s = [1000.0]
    client = connect(LOGIN, clock=lambda: time_s[0])
    for at_s, tokens in [(1000, 1), (1289, 1), (1291, 2)]:
        time_s[0] = at_s
        client.digest(image(fake))
        assert len(fake.requests("/token")) == tokens


def test_a_token_that_is_not_taken_any_more_is_replaced(fake, connect):
    fake.auth = "bearer"
    client = connect(LOGIN)
    client.digest(image(fake))
    fake.tokens.clear()

    assert client.digest(image(fake)) is None
    assert len(fake.requests("/token")) == 2


def test_threads_share_a_token(fake, connect):
    fake.auth = "bearer"
    digest = fake.put("team/app", "1", MANIFEST, OCI_MANIFEST)
    client = connect(LOGIN)
    client.digest(image(fake))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: client.digest(image(fake)), range(40)))

    assert found == [digest] * 40
    assert len(fake.requests("/token")) == 1


def test_an_identity_token_is_posted(fake, connect):
    fake.auth = "bearer"
    client = connect(Credential("", "", "identity"))
    client.digest(image(fake))

    (asked,) = [each for each in fake.asked if each.path == "/token"]
    assert asked.method == "POST"
    assert b"grant_type=refresh_token" in asked.body
    assert b"refresh_token=identity" in asked.body
    assert "authorization" not in asked.headers


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_wrong_login_is_refused_without_showing_it(fake, connect, auth):
    fake.auth = auth
    with pytest.raises(RegistryError, match="refused the login") as caught:
        connect(Credential("tester", "wrong horse")).digest(image(fake))
    assert "docker login" in caught.value.hint
    assert "wrong horse" not in repr(caught.value) + str(caught.value)
    assert len(fake.requests("HEAD|token")) <= 3


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_missing_login_is_said(fake, client, auth):
    fake.auth = auth
    with pytest.raises(RegistryError, match="wants a login, and there is none"):
        client.digest(image(fake))


@pytest.mark.parametrize(
    ("challenge", "message"),
    [
        ("", "of a kind that tasks does not know"),
        ("Negotiate abc", "of a kind that tasks does not know"),
        ("Bearer", "address cannot be read"),
        ('Bearer realm="file:///etc/passwd"', "address cannot be read"),
        ('Bearer realm="http://example.com/token"', "example.com, which speaks plain HTTP"),
        ('Bearer realm="https://u:p@example.com/token"', "address cannot be read"),
    ],
)
def test_a_login_goes_nowhere_it_should_not(fake, connect, challenge, message):
    fake.fail("HEAD", Scripted(401, {"WWW-Authenticate": challenge} if challenge else {}), times=5)

    with pytest.raises(RegistryError, match=message) as caught:
        connect(LOGIN).digest(image(fake))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Scripted(200, {}, b"no json"), "not JSON"),
        (Scripted(200, {}, b'"text"'), "not JSON"),
        (Scripted(200, {}, b"{}"), "without a token"),
        (Scripted(200, {}, b'{"token": 1}'), "without a token"),
        (Scripted(200, {}, b'{"token": "a\\r\\nb: c"}'), "without a token"),
        (Scripted(200, {}, b" " * (2 << 20)), "more than 1 MiB"),
        (Scripted(302, {"Location": "https://example.com/"}), "answered 302"),
        (Scripted(404), "answered 404"),
    ],
)
def test_hostile_token_servers_are_errors(fake, connect, answer, message):
    fake.auth = "bearer"
    fake.fail("/token", answer, times=5)

    with pytest.raises(RegistryError, match=message):
        connect(LOGIN).digest(image(fake))


def test_a_token_server_in_trouble_is_asked_again(fake, connect, waited):
    fake.auth = "bearer"
    fake.fail("/token", Scripted(503, {"Retry-After": "3"}))

    assert connect(LOGIN).digest(image(fake)) is None
    assert waited == [3]


@pytest.mark.parametrize("lifetime", ["null", "-1", "1e400", "true", '"x"'])
def test_odd_lifetimes_of_tokens_count_as_not_said(fake, connect, lifetime):
    fake.auth = "bearer"
    body = f'{{"access_token": "1|repository:team/app:pull", "expires_in": {lifetime}}}'
    fake.tokens.add("1|repository:team/app:pull")
    fake.fail("/token", Scripted(200, {}, body.encode()))

    client = connect(LOGIN)
    assert [client.digest(image(fake)) for _ in range(2)] == [None, None]
    assert len(fake.requests("/token")) == 1


def test_a_login_is_not_sent_to_where_a_registry_redirects(fake, connect):
    fake.auth = "basic"
    with FakeRegistry().running() as other:
        digest = other.put_blob("team/app", b"content")
        fake.fail("GET .*blobs", Scripted(401, {"WWW-Authenticate": "Basic"}))
        fake.fail(
            "GET .*blobs", Scripted(307, {"Location": f"http://{other.name}/v2/team/app/blobs/{digest}"})
        )
        with connect(LOGIN).blob(image(fake), digest) as blob:
            assert blob.read() == b"content"
        assert [("authorization" in each.headers) for each in other.asked] == [False]
    assert "authorization" in fake.asked[-1].headers


def test_a_redirect_that_wants_another_login_is_an_error(fake, connect):
    with FakeRegistry("basic").running() as other:
        fake.fail("GET .*manifests", Scripted(307, {"Location": f"http://{other.name}/v2/x/manifests/1"}))
        with pytest.raises(RegistryError, match="wants a login of its own"):
            connect(LOGIN).manifest(image(fake))
        assert len(other.asked) == 1


def test_a_write_is_not_redirected_to_another_host(fake, connect):
    with FakeRegistry().running() as other:
        fake.fail("PUT", Scripted(307, {"Location": f"http://{other.name}/v2/x/manifests/1"}))
        with pytest.raises(RegistryError, match="redirects a write"):
            connect().put_manifest(image(fake), Manifest.of(OCI_MANIFEST, b"{}"))
        assert other.asked == []


def test_refusal_of_a_repository_is_told_apart_from_a_wrong_login(fake, connect):
    fake.auth = "bearer"
    fake.fail(
        "HEAD", Scripted(401, {"WWW-Authenticate": f'Bearer realm="http://{fake.name}/token"'}), times=2
    )
    with pytest.raises(RegistryError, match=r"does not let us read .*/team/app \(401\)") as caught:
        connect(LOGIN).digest(image(fake))
    assert "does not exist, or the login may not read it" in caught.value.hint


# -- platforms, tags, quotas --------------------------------------------------------------------------------------


def entry(digit: str, os: str, architecture: str, variant: str = "") -> dict:
    platform = {"os": os, "architecture": architecture} | ({"variant": variant} if variant else {})
    return {"mediaType": OCI_MANIFEST, "digest": f"sha256:{digit * 64}", "size": 2, "platform": platform}


INDEX = {
    "schemaVersion": 2,
    "manifests": [
        entry("0", "unknown", "unknown"),
        entry("1", "linux", "amd64"),
        entry("2", "linux", "arm", "v6"),
        entry("3", "linux", "arm64", "v8"),
        entry("4", "windows", "amd64"),
    ],
}


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
@pytest.mark.parametrize(
    ("platform", "digit"),
    [
        ("linux/amd64", "1"),
        ("linux/amd64/v1", "1"),
        ("linux/amd64/v3", "1"),
        ("linux/x86_64", "1"),
        ("linux/arm/v7", "2"),
        ("linux/arm", "2"),
        ("linux/arm64", "3"),
        ("linux/aarch64", "3"),
        ("windows/amd64", "4"),
    ],
)
def test_the_manifest_for_a_platform(fake, client, media_type, platform, digit):
    fake.put("team/app", "1", INDEX, media_type)

    assert client.platform_digest(image(fake), platform) == f"sha256:{digit * 64}"


@pytest.mark.parametrize("platform", ["linux/arm/v5", "linux/riscv64", "linux", ""])
def test_a_platform_that_is_not_there_is_an_error_with_those_that_are(fake, client, platform):
    fake.put("team/app", "1", INDEX, OCI_INDEX)

    with pytest.raises(RegistryError, match="has no image for") as caught:
        client.platform_digest(image(fake), platform)
    assert caught.value.hint == "it has: linux/amd64, linux/arm/v6, linux/arm64, windows/amd64"


def test_a_manifest_outside_an_index_is_the_one_for_every_platform(fake, client):
    digest = fake.put("team/app", "1", MANIFEST, OCI_MANIFEST)

    assert client.platform_digest(image(fake), "linux/arm64") == digest


@pytest.mark.parametrize(
    "entries",
    [None, {}, [1], [{}], [{"digest": "x", "size": 1}], [{**entry("1", "linux", "amd64"), "size": -1}]],
)
def test_a_damaged_index_is_an_error(fake, client, entries):
    fake.put("team/app", "1", {"manifests": entries}, OCI_INDEX)

    with pytest.raises(RegistryError, match=r"has (no list|an entry without)"):
        client.platform_digest(image(fake), "linux/amd64")


def test_a_manifest_is_moved_to_another_tag(fake, client):
    digest = fake.put("team/app", "1", MANIFEST, OCI_MANIFEST)
    manifest = client.manifest(image(fake, f"team/app@{digest}"))

    assert client.put_manifest(image(fake, "team/app:2"), manifest) == digest
    assert client.digest(image(fake, "team/app:2")) == digest
    assert fake.manifests["team/app"]["2"] == (OCI_MANIFEST, manifest.data)


def test_a_registry_that_stores_something_else_is_found_out(fake, client):
    fake.fail("PUT", Scripted(201, {"Docker-Content-Digest": "sha256:" + "0" * 64}))

    with pytest.raises(RegistryError, match="does not have its digest"):
        client.put_manifest(image(fake), Manifest.of(OCI_MANIFEST, b"{}"))


def test_tags_are_listed_over_all_pages(fake, client):
    fake.page_size = 3
    for number in range(10):
        fake.put("team/app", f"v{number}", MANIFEST, OCI_MANIFEST)

    assert client.tags(image(fake)) == tuple(f"v{number}" for number in range(10))
    assert client.tags(image(fake, "absent")) == ()


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("garbage", "cannot be read"),
        ('<https://example.com/v2/x>; rel="next"', "cannot be read"),
        ('</other>; rel="next"', "cannot be read"),
        ('<//example.com/v2/>; rel="next"', "cannot be read"),
        ("<" * 10_000, "cannot be read"),
        ('</v2/team/app/tags/list>; rel="next"', "without an end"),
    ],
)
def test_hostile_links_to_further_pages_are_errors(fake, client, link, message):
    body = b'{"name": "team/app", "tags": ["a"]}'
    fake.fail("GET .*tags", Scripted(200, {"Link": link}, body), times=10)

    with pytest.raises(RegistryError, match=message):
        client.tags(image(fake))


def test_the_quota_is_what_the_registry_said_last(fake, client):
    assert client.quota(fake.name) is None
    fake.headers = {"ratelimit-limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"}
    client.digest(image(fake))

    quota = client.quota(fake.name)
    assert (quota.limit, quota.remaining, quota.window_s, quota.seen_at) == (100, 76, 21600, NOW)


# -- blobs --------------------------------------------------------------------------------------------------------

DATA = bytes(range(256)) * 1000


def test_a_blob_comes_as_a_stream(fake, client):
    digest = fake.put_blob("team/app", DATA)

    assert client.blob_exists(image(fake), digest)
    with client.blob(image(fake), digest) as blob:
        assert blob.size_bytes == len(DATA)
        assert blob.read(10) == DATA[:10]
        assert blob.read() == DATA[10:]


def test_a_blob_that_is_not_there(fake, client):
    digest = "sha256:" + "0" * 64
    assert not client.blob_exists(image(fake), digest)
    with pytest.raises(RegistryError, match="is not in registry"):
        client.blob(image(fake), digest)


@pytest.mark.parametrize("digest", ["", "sha256:..", "../../x", "md5:" + "0" * 32])
def test_a_digest_that_cannot_be_checked_is_refused(fake, client, digest):
    with pytest.raises(RegistryError, match="is no digest"):
        client.blob(image(fake), digest)
    assert fake.asked == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Scripted(200, {}, DATA[:-1] + b"x"), "is damaged"),
        (Scripted(200, {}, DATA[:-1], length=None), "is damaged"),
        (Scripted(200, {}, DATA[:-1], length=len(DATA)), "broke off"),
        (Scripted(200, {}, DATA + b"x", length=None), "longer than it should be"),
        (Scripted(200, {}, DATA + b"x"), "should be 256000 bytes long; its registry has 256001"),
    ],
)
def test_a_blob_that_is_not_what_its_digest_says_is_found_out(fake, client, answer, message):
    digest = fake.put_blob("team/app", DATA)
    fake.fail("GET .*blobs", answer)

    with pytest.raises(RegistryError, match=message), client.blob(image(fake), digest, len(DATA)) as blob:
        blob.read()


def test_a_blob_without_length_is_checked_at_its_end(fake, client):
    digest = fake.put_blob("team/app", DATA)
    fake.fail("GET .*blobs", Scripted(200, {}, DATA, length=None))

    with client.blob(image(fake), digest) as blob:
        assert blob.size_bytes is None
        assert blob.read() == DATA
        assert blob.read() == b""


# -- connections --------------------------------------------------------------------------------------------------


def test_connections_are_used_again_and_closed(connect, waited):
    before = open_files()
    with FakeRegistry().running() as fake:
        client = RegistryClient(Credentials(), sleep=waited.append)
        for _ in range(5):
            client.digest(image(fake))
        digest = fake.put_blob("team/app", DATA)
        client.blob(image(fake), digest).close()
        with pytest.raises(RegistryError):
            client.manifest(image(fake))
        client.close()
        assert client.digest(image(fake)) is None, "it still works, and keeps nothing"
    assert open_files() <= before


def test_a_name_that_is_no_registry_is_refused(client):
    with pytest.raises(RegistryError, match="not the name of a registry"):
        client.digest(Reference("a b", "x", "1", ""))


def test_a_plain_registry_elsewhere_is_not_asked_without_tls(fake, client):
    name = fake.name.replace("127.0.0.1", "0.0.0.0")
    with pytest.raises(RegistryError, match="does not speak TLS") as caught:
        client.digest(parse_reference(f"{name}/a"))
    assert "registries.insecure" in caught.value.hint
    assert fake.asked == []


def test_a_registry_named_insecure_is_asked_without_tls(fake, connect):
    name = fake.name.replace("127.0.0.1", "0.0.0.0")
    client = connect(registries=RegistrySettings(insecure=frozenset({name})))
    assert client.digest(parse_reference(f"{name}/a")) is None
