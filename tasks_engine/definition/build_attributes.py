"""Values of `docker build` flags that are lists of `key=value`: secrets, caches, outputs and attestations.

The lists are CSV as Go reads it: a field with a comma stands in double quotes, and a quote in one is doubled.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tasks_engine.definition.build_values import FALSE, TRUE, InvalidValue, read_switch

_QUOTED_FIELD = re.compile(r'"((?:[^"]|"")*)"(?=,|\Z)')
_PLAIN_FIELD = re.compile(r'[^",]*(?=,|\Z)')
_SECRET_KEYS = ("id", "src", "source", "env", "type")
#: what `--sbom` and `--provenance` take from the next word
_ATTESTATION_VALUE = re.compile(r"[A-Za-z-]+=")


@dataclass(frozen=True)
class BuildSecret:
    """A file for `RUN --mount=type=secret,id=…`. With neither file nor variable, either may have the id's name."""

    id: str
    #: a file of the step; empty when it comes from a variable
    file: str = ""
    #: a variable of the step's environment
    env: str = ""


@dataclass(frozen=True)
class CacheEntry:
    """A place to take a build's cache from, or to put it."""

    #: such as registry, local or inline
    type: str
    #: key in lower case -> value, such as `ref` or `mode`
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildOutput:
    """Where the result of a build goes besides the image."""

    #: such as local, tar, image or registry
    type: str
    #: a path of the step, or `-` for standard output; empty where the type has none
    destination: str = ""
    #: key in lower case -> value
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def pushes(self) -> bool:
        return self.type == "registry" or self.attributes.get("push", "") in TRUE


@dataclass(frozen=True)
class Attestation:
    #: sbom or provenance
    type: str
    #: it must not be made, although it were by default
    disabled: bool = False
    #: key -> value, such as `mode` or `generator`
    attributes: Mapping[str, str] = field(default_factory=dict)


def read_secret(value: str) -> tuple[BuildSecret, ...]:
    if not value:
        return ()
    pairs = _pairs(value)
    for key in pairs:
        if key not in _SECRET_KEYS:
            guess = difflib.get_close_matches(key[:20], _SECRET_KEYS, n=1)
            raise InvalidValue(
                f"knows no '{key}'",
                f"did you mean '{guess[0]}'?" if guess else "it takes id, src, env and type",
            )
    if not pairs.get("id"):
        raise InvalidValue("needs an id", "write id=NAME,src=FILE or id=NAME,env=VARIABLE")
    kind = pairs.get("type", "")
    if kind not in ("", "file", "env"):
        raise InvalidValue(f"knows no type '{kind}'", "it is file or env")
    source = next((pairs[key] for key in reversed(pairs) if key in ("src", "source")), "")
    env = pairs.get("env", "")
    if kind == "env" and not env:
        source, env = "", source
    return (BuildSecret(pairs["id"], source, env),)


def read_cache(value: str) -> tuple[CacheEntry, ...]:
    """One entry, or several for a list of image names."""
    if "=" not in value:
        return tuple(CacheEntry("registry", {"ref": name}) for name in filter(None, csv_fields(value)))
    attributes = _pairs(value)
    kind = attributes.pop("type", "")
    if not kind:
        raise InvalidValue("needs a type", "write type=registry,ref=IMAGE, or just IMAGE")
    if kind == "registry" and not attributes.get("ref"):
        raise InvalidValue("needs an image", "write type=registry,ref=IMAGE")
    return (CacheEntry(kind, attributes),)


def read_output(value: str) -> tuple[BuildOutput, ...]:
    """`type=…,dest=…`; a lone path is a folder, and `-` a tar archive on standard output."""
    fields = csv_fields(value)
    if not fields:
        return ()
    if fields == [value] and not value.startswith("type="):
        return (BuildOutput("tar" if value == "-" else "local", value),)
    attributes = _pairs(value)
    kind = attributes.pop("type", "")
    if not kind:
        raise InvalidValue("needs a type", "write type=local,dest=FOLDER, or just FOLDER")
    return (BuildOutput(kind, attributes.pop("dest", ""), attributes),)


def read_attestation(value: str) -> tuple[Attestation, ...]:
    attributes = _pairs(value)
    kind = attributes.pop("type", "")
    if not kind:
        raise InvalidValue("needs a type", "write type=sbom or type=provenance,mode=max")
    (disabled,) = read_switch(attributes.pop("disabled", "false"))
    return (Attestation(kind, disabled, attributes),)


def read_sbom(value: str) -> tuple[Attestation, ...]:
    return _attestation("sbom", value)


def read_provenance(value: str) -> tuple[Attestation, ...]:
    return _attestation("provenance", value)


def _attestation(kind: str, value: str) -> tuple[Attestation, ...]:
    """True, false or attributes, which is how the flags named after an attestation take it."""
    if value in TRUE or value in FALSE:
        return (Attestation(kind, disabled=value in FALSE),)
    return (Attestation(kind, attributes=_pairs(value)),) if value else ()


def is_attestation_value(word: str) -> bool:
    """Whether a word behind `--sbom` belongs to it: docker takes any, but the next one may be the context."""
    return word in TRUE or word in FALSE or _ATTESTATION_VALUE.match(word) is not None


def csv_fields(text: str) -> list[str]:
    """The fields of one CSV record; none of an empty text. Raises InvalidValue for misplaced quotes."""
    return list(_csv_fields(text)) if text else []


def _csv_fields(text: str) -> Iterator[str]:
    at = 0
    while at <= len(text):
        is_quoted = text.startswith('"', at)
        found = (_QUOTED_FIELD if is_quoted else _PLAIN_FIELD).match(text, at)
        if found is None:
            raise InvalidValue(
                f"has a misplaced quote in '{text}'", 'quote a whole field, with its key: "key=a,b"'
            )
        yield found[1].replace('""', '"') if is_quoted else found[0]
        at = found.end() + 1


def _pairs(text: str) -> dict[str, str]:
    """Key in lower case -> value; the last of a key counts."""
    pairs: dict[str, str] = {}
    for each in csv_fields(text):
        key, equals, value = each.partition("=")
        key = key.strip().lower()
        if not equals or not key:
            raise InvalidValue(f"takes key=value, not '{each}'")
        pairs[key] = value
    return pairs
