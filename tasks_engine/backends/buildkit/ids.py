"""Names that are unique in practice and that nobody can guess."""

from __future__ import annotations

import os
import string

_CHARS = string.ascii_lowercase + string.digits


def random_id() -> str:
    """25 letters and digits, as other clients name their sessions and builds."""
    # 36^25 is a little more than 2^129.
    number, text = int.from_bytes(os.urandom(17), "big"), ""
    for _ in range(25):
        number, digit = divmod(number, len(_CHARS))
        text += _CHARS[digit]
    return text
