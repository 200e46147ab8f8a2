"""Letters as Go's unicode package sees them: one character becomes one, never more, and by its own class."""

from __future__ import annotations

from unicodedata import category

#: Go's IsSpace
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
    "\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_DOTTED_I = "\u0130"


def to_upper(text: str) -> str:
    return text.upper() if text.isascii() else "".join(map(upper, text))


def to_lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(map(lower, text))


def upper(character: str) -> str:
    capital = character.upper()
    # what becomes two letters stays; a few have one capital all the same, which is their title form
    return capital if len(capital) == 1 else title(character)


def lower(character: str) -> str:
    return "i" if character == _DOTTED_I else character.lower()


def title(character: str) -> str:
    form = character.title()
    return form if len(form) == 1 else character


def is_upper(character: str) -> bool:
    return category(character) == "Lu"


def is_lower(character: str) -> bool:
    return category(character) == "Ll"


def is_title(character: str) -> bool:
    return category(character) == "Lt"


def is_letter(character: str) -> bool:
    return category(character)[0] == "L"


def is_number(character: str) -> bool:
    return category(character)[0] == "N"


def is_punctuation(character: str) -> bool:
    return category(character)[0] == "P"


def is_space(character: str) -> bool:
    return character in SPACES
