"""The text of a template becomes text, actions and the tokens of an action.

Rules: Go text/template. An action stands between `{{` and `}}`; a minus sign beside a brace, with a blank on its
inner side, eats the white space outside. A comment is an action of its own. Inside an action a line break is a
blank.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tasks_engine.definition.template.literals import read_number, unquote
from tasks_engine.definition.template.secret_text import has_secret, has_token
from tasks_engine.definition.template.values import Value

#: white space that trim markers eat
BLANKS = " \t\r\n"

_KEYWORDS = frozenset(
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"]
)
_CONSTANTS = {"true": True, "false": False}
#: the id of a step up to a character that no name has
_STEP = re.compile(r"\.Steps\.(\w+)\Z")
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<close>\}\})
    |(?P<field>\.[^\W\d]\w*)
    |(?P<number>[+-]?(?:\.?\d)[\w.]*(?:(?<=[eEpP])[+-]\w+)?i?)
    |(?P<word>\w+)
    |(?P<variable>\$\w*)
    |(?P<string>"(?:\\.|[^"\\\n])*")
    |(?P<raw>`[^`]*`)
    |(?P<character>'(?:\\.|[^'\\\n])*')
    |(?P<declare>:=)
    |(?P<mark>[|()=,.])
    """,
    re.VERBOSE,
)
#: what may follow a name directly
_TERMINATORS = frozenset(" \t\r\n.,|:)(")


class Token(NamedTuple):
    """Offsets count from the start of the action."""

    #: space, field, variable, word, keyword, constant (its value stands in `value`), nil, or the character itself
    kind: str
    text: str
    start: int
    end: int
    value: Value = None


@dataclass(frozen=True)
class TextPart:
    """Text outside of actions, what trim markers eat left out."""

    start: int
    end: int


@dataclass(frozen=True)
class ActionPart:
    start: int
    end: int
    tokens: tuple[Token, ...]


class TemplateError(Exception):
    """`start` and `end` are offsets in the template's text."""

    def __init__(self, message: str, start: int, end: int, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.start, self.end, self.hint = message, start, end, hint


def split_template(text: str) -> Iterator[TextPart | ActionPart]:
    """Text and actions in order; comments and empty text are left out. Raises TemplateError."""
    at = 0
    tokens_by_body: dict[str, tuple[Token, ...]] = {}
    while True:
        opening = text.find("{{", at)
        if opening < 0:
            if at < len(text):
                yield TextPart(at, len(text))
            return
        trims_left = text.startswith("-", opening + 2) and text[opening + 3 : opening + 4] in tuple(BLANKS)
        end = _rstrip(text, at, opening) if trims_left else opening
        if end > at:
            yield TextPart(at, end)
        body = opening + 3 if trims_left else opening + 2
        closing = _comment_end(text, opening, body)
        if closing is None:
            closing, tokens = _action(text, opening, body, tokens_by_body)
            yield ActionPart(opening, closing, tokens)
        at = _lstrip(text, closing) if _trims_right(text, closing) else closing


def _action(
    text: str, opening: int, body: int, known: dict[str, tuple[Token, ...]]
) -> tuple[int, tuple[Token, ...]]:
    """The end of an action, and its tokens; actions of the same text share them."""
    end = text.find("}}", body)
    if end >= 0:
        tokens = known.get(text[opening:end])
        if tokens is not None:
            return end + 2, tokens
    closing, tokens = _tokens(text, opening, body)
    known[text[opening : closing - 2]] = tokens
    return closing, tokens


def _tokens(text: str, opening: int, body: int) -> tuple[int, tuple[Token, ...]]:
    tokens: list[Token] = []
    at = body
    depth = 0
    while True:
        match = _TOKEN.match(text, at)
        if match is None:
            if text.startswith("-}}", at) and at > 0 and text[at - 1] in BLANKS:
                return at + 3, tuple(tokens)
            raise _unexpected(text, opening, at)
        kind = match.lastgroup or ""
        if kind == "close":
            if depth:
                raise TemplateError("'(' is never closed by ')'", opening, match.end())
            return match.end(), tuple(tokens)
        token = _token(kind, match, opening)
        if kind in ("field", "word", "variable") and not _ends_well(text, match.end()):
            raise _unexpected(text, opening, match.end())
        depth += {"(": 1, ")": -1}.get(token.kind, 0)
        if depth < 0:
            raise TemplateError("')' without '('", at, at + 1)
        tokens.append(token)
        at = match.end()


def _token(kind: str, match: re.Match[str], opening: int) -> Token:
    text = match[0]
    start, end = match.start() - opening, match.end() - opening
    value: Value = None
    if kind == "word":
        if text in _CONSTANTS:
            kind, value = "constant", _CONSTANTS[text]
        elif text == "nil":
            kind = "nil"
        elif text in _KEYWORDS:
            kind = "keyword"
    elif kind in ("string", "raw", "character", "number"):
        if has_token(text):
            raise TemplateError(
                f"{'a secret' if has_secret(text) else 'an output of a step'} stands inside of a text in a template "
                "expression",
                match.start(),
                match.end(),
                hint="give it to the function as an argument of its own: {{ print .Secrets.NAME }}",
            )
        try:
            value = text[1:-1].replace("\r", "") if kind == "raw" else _constant(kind, text)
        except ValueError as error:
            raise TemplateError(str(error), match.start(), match.end()) from error
        kind = "constant"
    elif kind in ("mark", "declare"):
        kind = text
    return Token(kind, text, start, end, value)


def _constant(kind: str, text: str) -> Value:
    if kind == "number":
        return read_number(text)
    content = unquote(text)
    return content if kind == "string" else ord(content)


def _ends_well(text: str, end: int) -> bool:
    following = text[end : end + 1]
    return not following or following in _TERMINATORS or text.startswith(("}}", "="), end)


def _unexpected(text: str, opening: int, at: int) -> TemplateError:
    character = text[at : at + 1]
    if not character:
        return TemplateError("'{{' is never closed by '}}'", opening, opening + 2)
    if character in "\"`'" and _TOKEN.match(text, at) is None:
        line = text[at:].partition("\n")[0]
        return TemplateError(f"quote {character} is never closed", at, at + len(line))
    if text.startswith("/*", at):
        return TemplateError("a comment stands alone in its braces: {{/* like this */}}", at, at + 2)
    hint = ""
    if text.startswith("{{", at):
        return TemplateError("'{{' inside of '{{'", at, at + 2, hint="close the first one with '}}'")
    step = _STEP.search(text, max(opening, at - 100), at) if character == "-" else None
    if step is not None:
        hint = (
            f'an id with other characters than letters stands in quotes: (index .Steps "{step[1]}-…").Outputs'
        )
    elif character in "+*/%<>&!-":
        hint = "templates have functions, not operators: {{ add 1 2 }}, {{ eq .a .b }}, {{ and .a .b }}"
    return TemplateError(f"unexpected '{character}' in a template expression", at, at + 1, hint)


def _comment_end(text: str, opening: int, body: int) -> int | None:
    """The end of the comment that an action is; None for any other action."""
    start = body + 1 if body == opening + 3 else body
    if not text.startswith("/*", start):
        return None
    end = text.find("*/", start + 2)
    if end < 0:
        raise TemplateError("the comment is never closed by '*/}}'", opening, start + 2)
    for close in ("}}", " -}}", "\t-}}", "\r-}}", "\n-}}"):
        if text.startswith(close, end + 2):
            return end + 2 + len(close)
    raise TemplateError("a comment ends with '*/}}'", end, end + 2)


def _trims_right(text: str, closing: int) -> bool:
    return text.startswith("-}}", closing - 3) and text[closing - 4 : closing - 3] in tuple(BLANKS)


def _rstrip(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1] in BLANKS:
        end -= 1
    return end


def _lstrip(text: str, at: int) -> int:
    while at < len(text) and text[at] in BLANKS:
        at += 1
    return at
