"""Words in camel case, or in any other, written apart: `HTTPServer` as `http_server`.

Finds the words as version 1.3 of the Go package xstrings does. A text is cut into runs of characters of one
kind; a number belongs to the word before it unless small letters follow: `Bld4Floor` is `bld4_floor`, but
`http2xx` is `http_2xx`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks_engine.definition.template.functions.letters import (
    SPACES,
    is_letter,
    is_number,
    is_punctuation,
    is_upper,
    lower,
)

CONNECTORS = f"-_{SPACES}"
#: Chinese, Japanese and Korean characters have no case
_CJK_START = "\u3400"
_CJK = re.compile("[\u4e00-\u9fcc\u3400-\u4d85\U00020000-\U0002b81d]")

_NO_CHARACTER = "x"
_CONNECTOR, _DASH, _PUNCTUATION, _UPPER, _SMALL, _NUMBER, _OTHER = "cdpUano"
#: runs in a text of kinds; what is no character belongs to the run around it. A capital before small letters
#: begins their word, also when capitals stand before it; a dash (`d`) connects, but goes on with punctuation
_RUN = re.compile(
    r"x*(?:[cd](?:x*[cd])*|p(?:x*[pd])*|U(?:x*a)+|U(?:x*U)*(?=x*Ux*a)|U(?:x*U)*|a(?:x*a)*|n(?:x*n)*|o(?:x*o)*)(?:x+\Z)?|x+"
)


def separated_words(text: str, connector: str) -> str:
    """The words in small letters with a connector between them."""
    runs = [*_runs(text), ("", "")]
    written: list[str] = []
    at = 0

    def write_while_word() -> None:
        nonlocal at
        while runs[at][0] in (_SMALL, _NUMBER):
            written.append(runs[at][1])
            at += 1

    while at < len(runs) - 2:
        kind, run = runs[at]
        written.append(_lowered(kind, run, connector))
        at += 1
        following = runs[at][0]
        if kind in (_CONNECTOR, _PUNCTUATION):
            continue
        if kind == _NUMBER:
            write_while_word()
            if runs[at][0] not in ("", _NO_CHARACTER, _PUNCTUATION):
                written.append(connector)
        elif following != _NUMBER:
            if following not in (_CONNECTOR, _PUNCTUATION):
                written.append(connector)
        elif at < len(runs) - 2:
            number = runs[at][1]
            at += 1
            if runs[at][0] == _SMALL:
                written.append(connector)
                written.append(number)
                write_while_word()
                if runs[at][0] not in ("", _NO_CHARACTER, _CONNECTOR, _PUNCTUATION):
                    written.append(connector)
            else:
                written.append(number)
                if runs[at][0] not in (_CONNECTOR, _PUNCTUATION):
                    written.append(connector)
    written.append(_lowered(*runs[at], connector))
    return "".join(written)


def is_connector(character: str) -> bool:
    return character in CONNECTORS


def _runs(text: str) -> Iterator[tuple[str, str]]:
    """The runs of a text with their kinds."""
    kinds = "".join(map(_kind, text))
    for match in _RUN.finditer(kinds):
        kind = match[0].lstrip(_NO_CHARACTER)[:1] or _NO_CHARACTER
        yield kind.replace(_DASH, _CONNECTOR), text[match.start() : match.end()]


def _kind(character: str) -> str:
    if character == "\ufffd" or "\ud800" <= character <= "\udfff":
        return _NO_CHARACTER
    if is_connector(character):
        return _DASH if character in "-_" else _CONNECTOR
    if is_punctuation(character):
        return _PUNCTUATION
    if is_upper(character):
        return _UPPER
    if is_letter(character) and (character < _CJK_START or not _CJK.match(character)):
        return _SMALL
    return _NUMBER if is_number(character) else _OTHER


def _lowered(kind: str, run: str, connector: str) -> str:
    if kind not in (_UPPER, _CONNECTOR):
        return run
    return "".join(
        connector if is_connector(character) else lower(character) if is_upper(character) else character
        for character in run
    )
