"""Reads what registries say beside manifests and blobs: challenges, quotas, pages, delays, errors. Pure.

Every word of it is a stranger's: what cannot be read counts as not said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

#: characters of a registry's own words that messages show
_MAX_SHOWN = 200
#: a part of WWW-Authenticate: name="text", name=word, or the name of a scheme alone
_CHALLENGE_PART = re.compile(r'([A-Za-z0-9_-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?')
_LINK = re.compile(r'\s*<([^>]*)>\s*((?:;\s*[A-Za-z0-9*-]+\s*=\s*(?:"[^"]*"|[^\s;,"]+)\s*)*)(?:,|\Z)')
_NUMBER = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class Challenge:
    """How a registry wants a login."""

    #: in lower case, such as "basic" or "bearer"
    scheme: str
    #: name in lower case -> value
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Quota:
    """What a registry said last of how often it may still be asked."""

    remaining: int
    #: requests in one window; None when it does not say
    limit: int | None
    #: length of the window; None when it does not say
    window_s: int | None
    #: when it said so, UTC
    seen_at: datetime


def read_challenges(values: Iterable[str]) -> list[Challenge]:
    """The challenges in the values of WWW-Authenticate. Source: RFC 9110, 11.6.1."""
    challenges: list[Challenge] = []
    for value in values:
        parameters: dict[str, str] = {}
        scheme = ""
        for part in _CHALLENGE_PART.finditer(value):
            name, quoted, word = part.groups()
            if quoted is None and word is None:
                scheme, parameters = name.lower(), {}
                challenges.append(Challenge(scheme, parameters))
            elif scheme:
                parameters[name.lower()] = word or re.sub(r"\\(.)", r"\1", quoted or "")
    return challenges


def read_quota(headers: Mapping[str, str], seen_at: datetime) -> Quota | None:
    """Of headers with names in lower case, as Docker Hub sends them: `ratelimit-limit: 100;w=21600`."""
    remaining, window = _rate(headers.get("ratelimit-remaining", ""))
    if remaining is None:
        return None
    limit, limit_window = _rate(headers.get("ratelimit-limit", ""))
    return Quota(remaining, limit, window or limit_window, seen_at)


def retry_after_s(value: str, now: datetime) -> float | None:
    """Seconds of a Retry-After header, which has a number or a date; None without one. Source: RFC 9110, 10.2.3."""
    value = value.strip()
    if _NUMBER.fullmatch(value):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
        return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def next_page(values: Iterable[str]) -> str | None:
    """Address of the next page in the values of Link; None when this was the last one. Source: RFC 8288.

    Raises ValueError for a value that is no link.
    """
    for value in values:
        at = 0
        while at < len(value):
            link = _LINK.match(value, at)
            if link is None:
                raise ValueError("not a link")
            relation = re.search(r'(?:^|;)\s*rel\s*=\s*"?([^";]*)', link[2], re.IGNORECASE)
            if relation is not None and "next" in relation[1].lower().split():
                return link[1]
            at = link.end()
    return None


def read_json_object(data: bytes) -> dict[str, Any] | None:
    """None for everything that is not a JSON object."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def said(data: bytes) -> str:
    """The registry's own words in the body of an error, on one line; empty when it has none to show.

    Source: OCI distribution-spec, "Error Codes".
    """
    content = read_json_object(data) or {}
    errors = content.get("errors")
    texts: list[str] = []
    for error in errors[:3] if isinstance(errors, list) else ():
        if isinstance(error, dict):
            words = (error.get("code"), error.get("message"))
            texts.append(" ".join(each for each in words if isinstance(each, str)))
    text = " ".join("; ".join(filter(None, texts)).split())
    shown = "".join(each if each.isprintable() else "?" for each in text)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"


def _rate(value: str) -> tuple[int | None, int | None]:
    """Number and window in seconds of `76;w=21600`."""
    number, _, rest = value.partition(";")
    number = number.partition(",")[0].strip()
    window = re.search(r"(?:^|;)\s*w=([0-9]{1,12})", rest)
    return (
        int(number) if _NUMBER.fullmatch(number) else None,
        int(window[1]) if window is not None else None,
    )
