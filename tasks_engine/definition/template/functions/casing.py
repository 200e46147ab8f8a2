"""Sprig's functions of upper and lower case; words are found as the libraries do that Sprig uses."""

from __future__ import annotations

from tasks_engine.definition.template.functions.letters import (
    is_lower,
    is_space,
    is_title,
    is_upper,
    lower,
    title,
    to_lower,
    to_upper,
    upper,
)
from tasks_engine.definition.template.functions.signatures import TEXT, Takes
from tasks_engine.definition.template.functions.words import CONNECTORS, is_connector, separated_words


def title_words(text: str) -> str:
    """Every word with a capital; the rest of the word stays."""
    previous = " "
    written = []
    for character in text:
        written.append(title(character) if _separates(previous) else character)
        previous = character
    return "".join(written)


def small_words(text: str) -> str:
    """Every word, as blanks separate them, with a small first letter."""
    starts = True
    written = []
    for character in text:
        space = is_space(character)
        written.append(lower(character) if starts and not space else character)
        starts = space
    return "".join(written)


def swap_case(text: str) -> str:
    """Small letters for capitals and the other way round; the first small letter of a word gets its title form."""
    starts = True
    written = []
    for character in text:
        if is_upper(character) or is_title(character):
            written.append(lower(character))
            starts = False
        elif is_lower(character):
            written.append(title(character) if starts else upper(character))
            starts = False
        else:
            written.append(character)
            starts = is_space(character)
    return "".join(written)


def camel_case(text: str) -> str:
    """`http_server` and `http server` as `HttpServer`; leading, trailing and doubled separators leave a mark."""
    rest = text.lstrip(CONNECTORS)
    written = list(text[: len(text) - len(rest)])
    if not rest:
        # so it is there: the last separator is written twice
        return "".join((*written, *text[-1:]))
    current = upper(rest[0])
    for character in rest[1:]:
        previous, current = current, character
        if is_connector(previous) and is_connector(current):
            written.append(previous)
        elif is_connector(previous):
            current = upper(current)
        else:
            written.append(previous)
            current = lower(current)
    return "".join((*written, current))


def initials(text: str) -> str:
    """The first character of every word, as blanks separate them."""
    return "".join(
        character
        for before, character in zip(" " + text, text, strict=False)
        if is_space(before) and not is_space(character)
    )


def _separates(character: str) -> bool:
    """Whether a word begins behind it. All signs of ASCII do but the underscore, and blanks everywhere."""
    if character.isascii():
        return not (character.isalnum() or character == "_")
    return is_space(character)


SIGNATURES = {
    "upper": Takes(to_upper, TEXT),
    "lower": Takes(to_lower, TEXT),
    "title": Takes(title_words, TEXT),
    "untitle": Takes(small_words, TEXT),
    "swapcase": Takes(swap_case, TEXT),
    "camelcase": Takes(camel_case, TEXT),
    "snakecase": Takes(lambda text: separated_words(text, "_"), TEXT),
    "kebabcase": Takes(lambda text: separated_words(text, "-"), TEXT),
    "initials": Takes(initials, TEXT),
}
