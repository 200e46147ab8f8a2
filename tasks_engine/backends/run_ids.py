"""Ids of runs."""

from __future__ import annotations

import os

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: sorts as the number, no l i o u
_EPOCH_S = 1_700_000_000


def new_run_id(now_s: float) -> str:
    """Ten characters that sort by time; fit for tags, container and network names."""
    chance = int.from_bytes(os.urandom(2), "big") >> 1
    number = ((int(now_s) - _EPOCH_S) << 15) | chance
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(45, -1, -5))
