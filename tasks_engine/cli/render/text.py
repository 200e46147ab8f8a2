"""Text that is safe to show: foreign text without terminal control, cut to a width; times and sizes in words."""

from __future__ import annotations

import re
import unicodedata

#: longest escape sequence looked for where a line is cut in two
_LONGEST_ESCAPE = 64

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
# ECMA-48: control sequences, control strings (title, clipboard, links), other escapes, single controls.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f]*+(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*+[0-~]"
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)
_COLOR = re.compile(r"\x1b\[[0-9;:]{0,32}m")
# Marks that reorder or hide what stands next to them, and separators that some programs break lines at.
_INVISIBLE = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")

_RESET = "\x1b[0m"
_SGR_BY_COLOR = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}


def safe_line(line: str, *, color: bool = False) -> str:
    """A line of output without anything that drives a terminal; tabs stay, colours only when asked for."""
    if not _CONTROL.search(line):
        return line
    if not color:
        return _ESCAPE.sub("", line)
    shown = _ESCAPE.sub(lambda found: found[0] if _COLOR.fullmatch(found[0]) else "", line)
    return shown + _RESET if "\x1b" in shown else shown


def safe_name(name: str, max_width: int = 200) -> str:
    """An id or name from a task file or registry, on one line and never empty."""
    text = _ESCAPE.sub("", re.sub(r"[\t\r\n]+", " ", name))
    return cut(_INVISIBLE.sub("", text).strip() or "?", max_width)


def last_overwrite(line: str) -> str:
    """What a terminal would show of a line that was rewritten with carriage returns."""
    line = line.rstrip("\r")
    return line[line.rfind("\r") + 1 :]


def split_before_escape(text: str, size: int) -> tuple[str, str]:
    """The first `size` characters and the rest; an escape sequence at the border goes to the rest."""
    start = text.rfind("\x1b", max(1, size - _LONGEST_ESCAPE), size)
    if start != -1:
        found = _ESCAPE.match(text, start)
        if found is not None and found.end() >= size:
            return text[:start], text[start:]
    return text[:size], text[size:]


def width_of(text: str) -> int:
    """Columns that text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """Text in at most `width` columns; the end of what was cut is marked."""
    if width_of(text) <= width:
        return text
    room = width - width_of(ellipsis)
    if room < 0:
        return ellipsis[: max(width, 0)]
    if text.isascii():
        return text[:room] + ellipsis
    used = 0
    for at, character in enumerate(text):
        used += _character_width(character)
        if used > room:
            return text[:at] + ellipsis
    return text


def pad(text: str, width: int) -> str:
    return text + " " * (width - width_of(text))


def paint(text: str, color: str) -> str:
    """Text in a colour of `_SGR_BY_COLOR`; unchanged for an empty one."""
    return f"\x1b[{_SGR_BY_COLOR[color]}m{text}{_RESET}" if color else text


def duration(seconds: float) -> str:
    """`0.4 s`, `12.3 s`, `2 min 03 s`, `1 h 02 min`."""
    tenths = round(max(seconds, 0.0) * 10)
    if tenths < 600:
        return f"{tenths / 10:.1f} s"
    whole = round(max(seconds, 0.0))
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def size(size_bytes: float) -> str:
    """`12 B`, `3.4 kB`, `50.3 MB`, in powers of a thousand as registries and engines count."""
    if size_bytes < 1000:
        return f"{int(size_bytes)} B"
    for unit in ("kB", "MB", "GB"):
        size_bytes /= 1000
        if size_bytes < 999.95:
            return f"{size_bytes:.1f} {unit}"
    return f"{size_bytes / 1000:.1f} TB"


def _character_width(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return 0 if unicodedata.category(character) in ("Mn", "Me", "Cf") else 1
