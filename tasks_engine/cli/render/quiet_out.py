"""A stream that never fails: when its reader is gone, what is written to it goes nowhere."""

from __future__ import annotations

import os
from typing import TextIO


class QuietOut:
    """Wraps a text stream; takes the place of one where only these methods are called."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.is_gone = False

    @property
    def encoding(self) -> str:
        return getattr(self._out, "encoding", None) or "utf-8"

    def can_encode(self, text: str) -> bool:
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True

    def write(self, text: str) -> int:
        if not self.is_gone:
            try:
                self._out.write(self._encodable(text))
            except (OSError, ValueError):  # ValueError: the stream is closed
                self._give_up()
        return len(text)

    def flush(self) -> None:
        if not self.is_gone:
            try:
                self._out.flush()
            except (OSError, ValueError):
                self._give_up()

    def isatty(self) -> bool:
        try:
            return self._out.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        return self._out.fileno()

    def _encodable(self, text: str) -> str:
        if text.isascii():
            return text
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return text.encode(self.encoding, "replace").decode(self.encoding)
        return text

    def _give_up(self) -> None:
        self.is_gone = True
        try:
            # what is left in the stream's buffer would fail again when Python flushes it at exit
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            return  # no file below it
