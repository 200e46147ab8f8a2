"""Sprig's `urlParse` and `urlJoin`, with the rules of Go's net/url. Nothing is ever fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks_engine.definition.template.functions.octets import from_bytes, to_bytes
from tasks_engine.definition.template.functions.signatures import MAP_OR_NIL, TEXT, Takes, describe
from tasks_engine.definition.template.values import FunctionError, Value

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORT = re.compile(r"(?::[0-9]*)?")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_USER_INFO = re.compile(r"[A-Za-z0-9._:~!$&'()*+,;=%@-]*")

_SAFE = "A-Za-z0-9._~"
_PATH_UNSAFE = re.compile(rf"[^{_SAFE}$&+,/:;=@-]".encode())
_USER_UNSAFE = re.compile(rf"[^{_SAFE}$&+,;=-]".encode())
_FRAGMENT_UNSAFE = re.compile(rf"[^{_SAFE}$&+,/:;=?@!()*-]".encode())
_HOST_SAFE = rf"{_SAFE}!$&'()*+,;=:\[\]<>\""
_HOST_UNSAFE = re.compile(rf"[^{_HOST_SAFE}-]".encode())
#: ASCII that a host may not hold, neither as it is nor escaped
_HOST_FORBIDDEN = re.compile(rf"[^{_HOST_SAFE}%\x80-\U0010ffff-]")
_FIELDS = ("scheme", "opaque", "userinfo", "host", "path", "query", "fragment")


@dataclass(frozen=True)
class Url:
    scheme: str = ""
    opaque: str = ""
    #: escaped, as it stands in the URL; None where there is none
    userinfo: str | None = None
    host: str = ""
    path: str = ""
    query: str = ""
    fragment: str = ""

    @property
    def hostname(self) -> str:
        """The host without port and brackets."""
        host, colon, port = self.host.rpartition(":")
        if not colon or not _PORT.fullmatch(f":{port}"):
            host = self.host
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def parse_url(text: str) -> Url:
    """Reads a URL or a part of one. Raises FunctionError."""
    text, _, fragment = text.partition("#")
    if _CONTROL.search(text):
        raise FunctionError("a URL has no control characters")
    if text == "*":
        return Url(path="*", fragment=_unescape(fragment))
    if text.startswith(":"):
        raise FunctionError("the URL begins with a colon: its scheme is missing")
    match = _SCHEME.fullmatch(text)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", text)
    rest, _, query = rest.partition("?")
    if scheme and not rest.startswith("/"):
        return Url(scheme, opaque=rest, query=query, fragment=_unescape(fragment))
    if ":" in rest.partition("/")[0]:
        raise FunctionError("the first part of a path without a scheme must not have a colon")
    userinfo, host = None, ""
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        userinfo, host = _parse_authority(authority)
        rest = slash + path
    return Url(scheme, "", userinfo, host, _unescape(rest), query, _unescape(fragment))


def write_url(url: Url) -> str:
    """The URL as one text, escaped where it has to be."""
    written = f"{url.scheme}:" if url.scheme else ""
    if url.opaque:
        written += url.opaque
    else:
        written += _written_authority(url)
        path = url.path if url.path == "*" else _escape(url.path, _PATH_UNSAFE)
        if path and url.host and not path.startswith("/"):
            written += "/"
        if not written and ":" in path.partition("/")[0]:
            # it would be taken for a scheme
            written = "./"
        written += path
    if url.query:
        written += f"?{url.query}"
    if url.fragment:
        written += f"#{_escape(url.fragment, _FRAGMENT_UNSAFE)}"
    return written


def parse_to_map(text: str) -> dict[str, Value]:
    url = parse_url(text)
    return {
        "scheme": url.scheme,
        "host": url.host,
        "hostname": url.hostname,
        "path": url.path,
        "query": url.query,
        "opaque": url.opaque,
        "fragment": url.fragment,
        "userinfo": url.userinfo or "",
    }


def join_from_map(parts: dict[str, Value]) -> str:
    """The URL of the parts that `urlParse` finds; those that are missing are empty."""
    for name in _FIELDS:
        if not isinstance(parts.get(name, ""), str):
            raise FunctionError(f"{name} must be text, not {describe(parts[name])}")
    found = {name: parts.get(name, "") for name in _FIELDS}
    if found["userinfo"]:
        found["userinfo"] = parse_url(f"proto://{found['userinfo']}@host").userinfo
    else:
        found["userinfo"] = None
    return write_url(Url(**found))


def _parse_authority(authority: str) -> tuple[str | None, str]:
    """User information and host."""
    userinfo, at, host = authority.rpartition("@")
    host = _parse_host(host)
    if not at:
        return None, host
    if not _USER_INFO.fullmatch(userinfo):
        raise FunctionError("the user information of the URL has a character that must be escaped")
    return ":".join(_escape(_unescape(part), _USER_UNSAFE) for part in userinfo.split(":", 1)), host


def _parse_host(host: str) -> str:
    name, bracket, port = host.rpartition("]")
    if host.startswith("[") and not bracket:
        raise FunctionError("a bracket in the host is never closed")
    if not host.startswith("["):
        name, colon, number = host.partition(":")
        port = colon + number
    if not _PORT.fullmatch(port):
        raise FunctionError(f"'{port}' is not a port")
    zone_at = name.find("%25") if bracket and host.startswith("[") else -1
    if zone_at >= 0:
        zone = _unescape(host[zone_at : len(name)])
        host = _unescape_host(host[:zone_at]) + zone + host[len(name) :]
        _check_zone(zone)
    else:
        host = _unescape_host(host)
    if host.startswith("["):
        _check_address(host[1 : host.rindex("]")])
    return host


def _unescape_host(host: str) -> str:
    """A host in which only characters beyond ASCII may be escaped."""
    forbidden = _HOST_FORBIDDEN.search(host)
    if forbidden is not None:
        raise FunctionError(f"'{forbidden[0]}' cannot stand in a host")
    if re.search("%(?!25)[0-7]", host):
        raise FunctionError("only characters beyond ASCII can be escaped in a host")
    return _unescape(host)


def _check_zone(zone: str) -> None:
    if _HOST_FORBIDDEN.search(zone.replace(" ", "")):
        raise FunctionError("the zone of the address has a character that cannot stand there")


def _check_address(text: str) -> None:
    import ipaddress

    try:
        ipaddress.IPv6Address(text)
    except ValueError as error:
        raise FunctionError(f"'{text}' is not an IPv6 address") from error


def _written_authority(url: Url) -> str:
    if not (url.scheme or url.host or url.userinfo is not None):
        return ""
    if not (url.host or url.path or url.userinfo is not None):
        return ""
    userinfo = "" if url.userinfo is None else f"{url.userinfo}@"
    return f"//{userinfo}{_escape(url.host, _HOST_UNSAFE)}"


def _escape(text: str, unsafe: re.Pattern[bytes]) -> str:
    return from_bytes(unsafe.sub(lambda match: b"%%%02X" % match[0][0], to_bytes(text)))


def _unescape(text: str) -> str:
    if "%" not in text:
        return text
    return from_bytes(_ESCAPE.sub(_unescaped, to_bytes(text)))


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        raise FunctionError("a percent sign in a URL needs two hexadecimal digits behind it")
    return bytes([int(match[1], 16)])


SIGNATURES = {
    "urlParse": Takes(parse_to_map, TEXT),
    "urlJoin": Takes(join_from_map, MAP_OR_NIL),
}
