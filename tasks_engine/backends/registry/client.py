"""A client of registries: manifests, blobs and tags.

Source of the protocol: OCI distribution-spec. References are asked as they stand: mirrors are for the caller to apply.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

from tasks_engine.backends.registry.addresses import Url, resolve
from tasks_engine.backends.registry.answers import (
    Quota,
    next_page,
    read_json_object,
    read_quota,
    retry_after_s,
    said,
)
from tasks_engine.backends.registry.blobs import SLOWEST_BYTES_PER_S, BlobStream
from tasks_engine.backends.registry.connections import Answer, Body, Connections
from tasks_engine.backends.registry.failures import Busy, Refused, status_error
from tasks_engine.backends.registry.manifests import (
    MANIFEST_TYPES,
    MAX_MANIFEST_BYTES,
    Descriptor,
    Manifest,
    digest_of,
    is_digest,
    parse_platform,
    select_platform,
)
from tasks_engine.backends.registry.sites import Site, Sites
from tasks_engine.backends.registry.tokens import FindsCredentials, Logins
from tasks_engine.errors import RegistryError
from tasks_engine.images.reference import Reference
from tasks_engine.settings import RegistrySettings

TIMEOUT_S = 30.0
MAX_ATTEMPTS = 4
_FIRST_DELAY_S = 1.0
#: a registry that asks to wait longer than this is not waited for
_LONGEST_DELAY_S = 60.0
_MAX_REDIRECTS = 5
_MAX_ERROR_BYTES = 64 * 1024
_MAX_PAGE_BYTES = 8 << 20
_MAX_PAGES = 1000
_REDIRECTS = (301, 302, 303, 307, 308)
_ACCEPT = ", ".join(MANIFEST_TYPES)
T = TypeVar("T")


@dataclass(frozen=True)
class _Request:
    method: str
    #: below /v2/
    path: str
    reference: Reference
    headers: Mapping[str, str]
    body: Body = None
    #: more than that of any answer
    time_s: float = 0.0

    @property
    def scope(self) -> str:
        """Source: Distribution's "Token Scope Documentation"."""
        actions = "pull" if self.method in ("GET", "HEAD") else "pull,push"
        return f"repository:{self.reference.repository}:{actions}"


class RegistryClient:
    """Asks any number of registries, with the logins that `credentials` finds. Thread-safe.

    Failures that may pass are tried again, at most four times in all, after one, two and four seconds or what the
    registry asks for up to a minute; `sleep` waits, and may raise to give up. Every method raises RegistryError.
    """

    def __init__(
        self,
        credentials: FindsCredentials,
        registries: RegistrySettings = RegistrySettings(),  # noqa: B008 - frozen
        *,
        timeout_s: float = TIMEOUT_S,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`timeout_s` bounds each answer but a blob; `clock` tells when tokens expire, `now` reads dates of headers."""
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._now = now
        self._connections = Connections()
        self._sites = Sites(registries, self._connections)
        self._logins = Logins(
            credentials, self._sites, self._connections, timeout_s=timeout_s, clock=clock, now=now
        )
        self._lock = threading.Lock()
        self._quota_by_registry: dict[str, Quota] = {}

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes idle connections. Blobs that are read keep theirs until they are closed."""
        self._connections.close()

    def digest(self, reference: Reference) -> str | None:
        """Digest of the manifest or index that a reference names now; None when there is none.

        One HEAD request, which registries do not count as a pull.
        """
        request = _manifest_request("HEAD", reference)
        with self._ask(request, allowed=(404, 405)) as answer:
            digest = answer.headers.get("docker-content-digest", "").strip()
            if answer.status == 404:
                return None
        if answer.status == 405 or not digest:
            manifest = self._find_manifest(reference)
            return manifest.digest if manifest is not None else None
        if not is_digest(digest) or (reference.digest and digest != reference.digest):
            raise _wrong_digest(str(reference), digest)
        return digest

    def manifest(self, reference: Reference) -> Manifest:
        """The manifest or index that a reference names, checked by its digest."""
        manifest = self._find_manifest(reference)
        if manifest is None:
            raise _missing(reference)
        return manifest

    def platform_digest(self, reference: Reference, platform: str) -> str:
        """Digest of the manifest for `linux/arm64` or the like; of the manifest itself where there is no index.

        Whether a manifest outside an index is for that platform is not looked at.
        """
        manifest = self.manifest(reference)
        if not manifest.is_index:
            return manifest.digest
        entries = manifest.manifests()
        found = select_platform(entries, parse_platform(platform))
        if found is None:
            offered = sorted({str(entry.platform) for entry in entries if entry.platform is not None})
            shown = ", ".join(each for each in offered if each != "unknown/unknown")
            raise RegistryError(
                f"{reference} has no image for {platform}",
                hint=f"it has: {shown[:500]}" if shown else "it names no platforms",
            )
        return found.digest

    def put_manifest(self, reference: Reference, manifest: Manifest) -> str:
        """Writes a manifest under a tag, or under its digest; returns the digest. Its blobs must be there."""
        digest = digest_of(manifest.data)
        request = _Request(
            "PUT",
            f"{reference.repository}/manifests/{reference.digest or reference.tag}",
            reference,
            {"Content-Type": manifest.media_type},
            manifest.data,
        )
        with self._ask(request, allowed=()) as answer:
            answer.read(_MAX_ERROR_BYTES)
            written = answer.headers.get("docker-content-digest", "").strip()
        if written and written != digest:
            raise _wrong_digest(str(reference), written)
        return digest

    def blob(self, reference: Reference, digest: str, size_bytes: int | None = None) -> BlobStream:
        """A blob of the reference's repository, as a stream that is checked while it is read. To be closed.

        `size_bytes` is what a manifest says of it. Only the beginning of the answer is tried again.
        """
        answer = self._ask(_blob_request("GET", reference, digest), allowed=(404,))
        try:
            if answer.status == 404:
                raise _missing(reference, f"blob {digest}")
            name = f"{reference.registry}/{reference.repository}@{digest}"
            return BlobStream(answer, name, digest, size_bytes)
        except BaseException:
            answer.close()
            raise

    def upload_blob(
        self, reference: Reference, blob: Descriptor, pieces: Callable[[], Iterable[bytes]]
    ) -> None:
        """Brings a blob into the reference's repository; the registry checks its digest.

        `pieces` gives the content, anew for each attempt; what it raises comes out. Source: OCI distribution-spec,
        "POST then PUT".
        """
        self._with_attempts(lambda: self._upload(reference, blob, pieces))

    def _upload(self, reference: Reference, blob: Descriptor, pieces: Callable[[], Iterable[bytes]]) -> None:
        begin = _Request("POST", f"{reference.repository}/blobs/uploads/", reference, {"Content-Length": "0"})
        with self._attempt(begin, allowed=()) as answer:
            answer.read(_MAX_ERROR_BYTES)
            target = resolve(answer.url, answer.headers.get("location", ""))
            if target is None or target.origin != answer.url.origin or not target.target.startswith("/v2/"):
                raise _not_a_registry(answer, "a place for an upload")
        path = target.target.removeprefix("/v2/")
        request = _Request(
            "PUT",
            f"{path}{'&' if '?' in path else '?'}digest={quote(blob.digest, safe='')}",
            reference,
            {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size_bytes)},
            pieces,
            blob.size_bytes / SLOWEST_BYTES_PER_S,
        )
        with self._attempt(request, allowed=()) as answer:
            answer.read(_MAX_ERROR_BYTES)

    def blob_exists(self, reference: Reference, digest: str) -> bool:
        with self._ask(_blob_request("HEAD", reference, digest), allowed=(404,)) as answer:
            return answer.status != 404

    def tags(self, reference: Reference) -> tuple[str, ...]:
        """All tags of the reference's repository, sorted; none when there is no such repository."""
        found: set[str] = set()
        path = f"{reference.repository}/tags/list"
        seen = {path}
        for _ in range(_MAX_PAGES):
            with self._ask(_Request("GET", path, reference, {}), allowed=(404,)) as answer:
                if answer.status == 404:
                    return ()
                content = read_json_object(answer.read(_MAX_PAGE_BYTES)) or {}
                tags = content.get("tags", [])
                if "name" not in content or not isinstance(tags, list | None):
                    raise _not_a_registry(answer, "tags")
                found.update(tag for tag in tags or () if isinstance(tag, str))
                following = self._next_path(answer)
            if following is None:
                return tuple(sorted(found))
            if following in seen:
                break
            seen.add(following)
            path = following
        raise RegistryError(
            f"registry {reference.registry} lists the tags of {reference.repository} without an end",
            hint="check that this is a registry",
        )

    def quota(self, registry: str) -> Quota | None:
        """What a registry said last of how many requests it still allows; None when it said nothing."""
        with self._lock:
            return self._quota_by_registry.get(registry)

    def _find_manifest(self, reference: Reference) -> Manifest | None:
        with self._ask(_manifest_request("GET", reference), allowed=(404,)) as answer:
            if answer.status == 404:
                return None
            data = answer.read(MAX_MANIFEST_BYTES)
            promised = answer.headers.get("docker-content-digest", "").strip()
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        manifest = Manifest.of(media_type, data)
        wanted = reference.digest or promised
        if is_digest(wanted) and wanted.startswith("sha512:"):
            import hashlib

            manifest = Manifest(media_type, f"sha512:{hashlib.sha512(data).hexdigest()}", data)
        if wanted and manifest.digest != wanted:
            raise _wrong_digest(str(reference), manifest.digest)
        named = read_json_object(data)
        if named is None:
            raise _not_a_registry(answer, "a manifest")
        inner = named.get("mediaType", media_type)
        if not isinstance(inner, str) or (media_type in MANIFEST_TYPES and inner != media_type):
            raise RegistryError(
                f"{reference} says of its own type something else than its registry", hint="push it again"
            )
        return manifest if media_type in MANIFEST_TYPES else Manifest(inner, manifest.digest, data)

    def _ask(self, request: _Request, allowed: tuple[int, ...]) -> Answer:
        """The answer of status 2xx or an allowed one, after further attempts; to be closed."""
        return self._with_attempts(lambda: self._attempt(request, allowed))

    def _with_attempts(self, attempt: Callable[[], T]) -> T:
        delay_s = _FIRST_DELAY_S
        for further in reversed(range(MAX_ATTEMPTS)):
            try:
                return attempt()
            except RegistryError as error:
                asked_s = error.retry_after_s if isinstance(error, Busy) else None
                if not error.retryable or not further or (asked_s or 0) > _LONGEST_DELAY_S:
                    raise
            self._sleep(delay_s if asked_s is None else asked_s)
            delay_s *= 2
        raise AssertionError("the last attempt raises or returns")

    def _attempt(self, request: _Request, allowed: tuple[int, ...]) -> Answer:
        site = self._sites.find(request.reference.registry)
        header = self._logins.header(site, request.scope)
        answer = self._follow(site, request, header)
        if answer.status == 401:
            with answer:
                answer.read(_MAX_ERROR_BYTES)
                header = self._logins.answer(
                    site, answer.values("www-authenticate"), request.scope, refused=header
                )
            answer = self._follow(site, request, header)
        self._remember_quota(site, answer)
        if 200 <= answer.status < 300 or answer.status in allowed:
            return answer
        with answer:
            raise self._failure(request, answer, header)

    def _follow(self, site: Site, request: _Request, header: str) -> Answer:
        """The answer behind redirects. Only the registry itself gets the login."""
        url = site.url.at(f"/v2/{request.path}")
        for _ in range(_MAX_REDIRECTS + 1):
            is_own = url.origin == site.url.origin
            login = {"Authorization": header} if header and is_own else {}
            answer = self._connections.send(
                request.method,
                url,
                {**request.headers, **login},
                context=self._sites.context_for(site, url),
                deadline_s=time.monotonic() + self._timeout_s + request.time_s,
                idle_s=self._timeout_s,
                body=request.body,
            )
            if answer.status not in _REDIRECTS:
                if answer.status != 401 or is_own:
                    return answer
                with answer:
                    raise RegistryError(
                        f"registry {site.name} redirects to {url.host}, which wants a login of its own",
                        hint="name that registry instead",
                    )
            with answer:
                url = self._redirect(site, request, answer)
        raise RegistryError(
            f"registry {site.name} redirects without an end", hint="check that this is a registry"
        )

    def _redirect(self, site: Site, request: _Request, answer: Answer) -> Url:
        # addresses of redirects hold signatures that let in whoever has them: only hosts are shown
        target = resolve(answer.url, answer.headers.get("location", ""))
        if target is None:
            raise RegistryError(
                f"registry {site.name} redirects to an address that cannot be read",
                hint="check that this is a registry",
            )
        if target.scheme == "http" and not self._sites.may_send_plainly(site, target):
            raise RegistryError(
                f"registry {site.name} redirects to {target.host} over plain HTTP",
                hint=f'if you trust the network, add "{target.host}" to registries.insecure in the settings',
            )
        may_move = request.method in ("GET", "HEAD")
        if not may_move and (answer.status not in (307, 308) or target.origin != site.url.origin):
            raise RegistryError(
                f"registry {site.name} redirects a write to {target.host}", hint="name that registry instead"
            )
        return target

    def _failure(self, request: _Request, answer: Answer, header: str) -> RegistryError:
        reference = request.reference
        if answer.status == 401 and header.startswith("Basic "):
            return Refused(reference.registry, has_login=True)
        words = "" if request.method == "HEAD" else _body_of_error(answer)
        reason = f": {words}" if words else ""
        name = f"{reference.registry}/{reference.repository}"
        if answer.status in (401, 403):
            what = "read" if request.method in ("GET", "HEAD") else "write"
            login = "the login may not" if header else "a login is needed to"
            return RegistryError(
                f"registry {reference.registry} does not let us {what} {name} ({answer.status}){reason}",
                hint=f"it does not exist, or {login} {what} it: docker login {reference.registry}",
            )
        if request.method == "PUT" and answer.status in (400, 404, 413, 422):
            return RegistryError(
                f"registry {reference.registry} does not take the manifest for {name}{reason}",
                hint="what it lists must be pushed first",
            )
        return status_error(
            f"registry {reference.registry} answered {answer.status} to {request.method} of {name}{reason}",
            answer.status,
            retry_after_s(answer.headers.get("retry-after", ""), self._now()),
        )

    def _remember_quota(self, site: Site, answer: Answer) -> None:
        if answer.url.origin == site.url.origin:
            quota = read_quota(answer.headers, self._now())
            if quota is not None:
                with self._lock:
                    self._quota_by_registry[site.name] = quota

    def _next_path(self, answer: Answer) -> str | None:
        """The next page, below /v2/ of the same registry."""
        try:
            link = next_page(answer.values("link"))
        except ValueError:
            raise _not_a_registry(answer, "links to further pages") from None
        if link is None:
            return None
        target = resolve(answer.url, link)
        if target is None or target.origin != answer.url.origin or not target.target.startswith("/v2/"):
            raise _not_a_registry(answer, "links to further pages")
        return target.target.removeprefix("/v2/")


def _manifest_request(method: str, reference: Reference) -> _Request:
    path = f"{reference.repository}/manifests/{reference.digest or reference.tag}"
    return _Request(method, path, reference, {"Accept": _ACCEPT})


def _blob_request(method: str, reference: Reference, digest: str) -> _Request:
    if not is_digest(digest):
        raise RegistryError(
            f"'{digest[:100]}' is no digest that can be checked", hint="known are sha256 and sha512"
        )
    return _Request(method, f"{reference.repository}/blobs/{digest}", reference, {})


def _body_of_error(answer: Answer) -> str:
    try:
        return said(answer.read(_MAX_ERROR_BYTES))
    except RegistryError:
        return ""


def _missing(reference: Reference, what: str = "") -> RegistryError:
    return RegistryError(
        f"{what or reference} is not in registry {reference.registry}", hint="check its name and tag"
    )


def _wrong_digest(what: str, digest: str) -> RegistryError:
    shown = digest[:100] if digest.isprintable() else "something else"
    return RegistryError(
        f"the registry sent for {what} what does not have its digest: {shown}",
        hint="try again; if it stays so, do not trust that registry",
    )


def _not_a_registry(answer: Answer, what: str) -> RegistryError:
    return RegistryError(
        f"{answer.url.host} answered with {what} in a form that cannot be read",
        hint="check that this is a registry",
    )
