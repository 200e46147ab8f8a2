"""Derives a private list of apt sources from the machine's own, for another suite of the same mirrors.

Text in, text out; reads and writes no files. Format: sources.list(5), one-line and deb822.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: options worth keeping, one-line name -> deb822 field. `trusted` and `allow-insecure` are left out on
#: purpose: what is fetched with these sources is always verified
_FIELD_BY_OPTION = {
    "arch": "Architectures",
    "signed-by": "Signed-By",
    "check-valid-until": "Check-Valid-Until",
    "check-date": "Check-Date",
    "by-hash": "By-Hash",
    "snapshot": "Snapshot",
}
#: how the suites of one release are named after it; suite -> the same of another release
_SUITE_ENDINGS = {"": "", "-updates": "-updates", "-security": "-security", "/updates": "-security"}


@dataclass(frozen=True)
class AptSource:
    """One entry: where binary packages come from."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    #: deb822 field -> its value, line breaks included
    option_by_field: Mapping[str, str] = field(default_factory=dict)


def parse_one_line(text: str) -> list[AptSource]:
    """Entries of a `.list` file: `deb [signed-by=/k.gpg] http://mirror/debian bookworm main`."""
    sources = []
    for line in text.splitlines():
        words = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?([^#]*)", line)
        if words is None:
            continue
        uri_suite_components = words.group(2).split()
        if len(uri_suite_components) < 3:  # `deb uri folder/` is a flat repository, never a distribution's
            continue
        options = dict(option.split("=", 1) for option in (words.group(1) or "").split() if "=" in option)
        kept = {
            name: options[option].replace(",", " ")
            for option, name in _FIELD_BY_OPTION.items()
            if option in options
        }
        uri, suite, *components = uri_suite_components
        sources.append(AptSource((uri,), (suite,), tuple(components), kept))
    return sources


def parse_deb822(text: str) -> list[AptSource]:
    """Entries of a `.sources` file that are enabled and hold binary packages."""
    sources = []
    for stanza in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        value_by_field = _read_stanza(stanza)
        types = value_by_field.get("types", "").split()
        enabled = value_by_field.get("enabled", "yes").strip().lower()
        if "deb" not in types or enabled in ("no", "false", "without", "off", "disable", "0"):
            continue
        sources.append(
            AptSource(
                uris=tuple(value_by_field.get("uris", "").split()),
                suites=tuple(value_by_field.get("suites", "").split()),
                components=tuple(value_by_field.get("components", "").split()),
                option_by_field={
                    name: value_by_field[name.lower()]
                    for name in _FIELD_BY_OPTION.values()
                    if name.lower() in value_by_field
                },
            )
        )
    return sources


def retarget(
    sources: Iterable[AptSource], codename: str, aliases: Iterable[str], suite: str
) -> list[AptSource]:
    """The distribution's own entries with their suites changed to those of `suite`.

    codename, aliases: names of the machine's release, such as "bookworm" and ("stable", "oldstable").
    Entries of other vendors are left out; they are known by suites or components of their own.
    """
    own_names = (codename, *aliases)
    ending_by_suite = {name + ending: new for name in own_names for ending, new in _SUITE_ENDINGS.items()}
    changed = []
    for source in sources:
        endings = [ending_by_suite[name] for name in source.suites if name in ending_by_suite]
        if not endings or "main" not in source.components:
            continue
        suites = tuple(dict.fromkeys(suite + ending for ending in endings))
        changed.append(AptSource(source.uris, suites, source.components, source.option_by_field))
    return changed


def render(sources: Iterable[AptSource]) -> str:
    """The entries as one deb822 file."""
    stanzas = []
    for source in sources:
        lines = [
            "Types: deb",
            f"URIs: {' '.join(source.uris)}",
            f"Suites: {' '.join(source.suites)}",
            f"Components: {' '.join(source.components)}",
            *(f"{name}: {value}".replace(": \n", ":\n", 1) for name, value in source.option_by_field.items()),
        ]
        stanzas.append("\n".join(lines) + "\n")
    return "\n".join(stanzas)


def _read_stanza(stanza: str) -> dict[str, str]:
    """Lower-case field name -> value; following lines keep their indent, as an inline key needs it."""
    value_by_field: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line[0] in " \t":
            if name:
                value_by_field[name] += "\n" + line
            continue
        name, _, value = line.partition(":")
        name = name.strip().lower()
        value_by_field[name] = value.strip()
    return value_by_field
