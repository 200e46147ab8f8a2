"""Sizes as people write them: `10GB` counts in thousands, `10GiB` in 1,024s."""

from __future__ import annotations

import re

_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*(?:([kmgt])(i)?)?b?", re.IGNORECASE)
_MAX_BYTES = 1 << 62


def parse_size(text: str) -> int:
    """Bytes. Raises ValueError with a message for people."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"'{text}' is no size: write 10GB, 512MiB or bytes")
    number, unit, binary = found.groups()
    size = float(number) * (1024 if binary else 1000) ** " kmgt".index((unit or " ").lower())
    if size > _MAX_BYTES:
        raise ValueError(f"'{text}' is more than any disk has")
    return int(size)


def size_text(size_bytes: int) -> str:
    """Such as `1.5 GB`."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
