"""Sprig's functions of text that neither change its case nor break its lines."""

from __future__ import annotations

from collections.abc import Iterable

from tasks_engine.definition.template.functions.bounds import TextWriter, check_list_length, check_text_length
from tasks_engine.definition.template.functions.letters import SPACES
from tasks_engine.definition.template.functions.octets import byte_length, cut, to_bytes
from tasks_engine.definition.template.functions.printing import printed
from tasks_engine.definition.template.functions.quoting import quote
from tasks_engine.definition.template.functions.signatures import ANY, TEXT, WHOLE, Takes
from tasks_engine.definition.template.values import FunctionError, Value

_NO_SPACES = str.maketrans("", "", SPACES)


def truncate(length: int, text: str) -> str:
    """The first bytes of a text."""
    if length < 0:
        raise FunctionError(f"a text cannot have {length} bytes")
    return cut(text, 0, min(length, byte_length(text)))


def part_of_text(start: int, end: int, text: str) -> str:
    """The bytes from a start up to an end; a negative one means the start or the end of the text."""
    length = byte_length(text)
    if start < 0:
        start = 0
    elif end < 0 or end > length:
        end = length
    if not start <= end <= length:
        raise FunctionError(f"a text of {length} bytes has no part from {start} to {end}")
    return cut(text, start, end)


def repeat(count: int, text: str) -> str:
    if count < 0:
        raise FunctionError(f"a text cannot be repeated {count} times")
    check_text_length(count * len(text))
    return text * count


def replace(old: str, new: str, text: str) -> str:
    count = text.count(old)
    check_text_length(len(text) + count * (len(new) - len(old)))
    return text.replace(old, new)


def trim_all(characters: str, text: str) -> str:
    """The text without any of the characters at both ends."""
    return text.strip(characters) if characters else text


def indent(count: int, text: str) -> str:
    """The text with blanks before every line."""
    if count < 0:
        raise FunctionError(f"a line cannot be indented by {count} blanks")
    check_text_length(len(text) + count * (text.count("\n") + 1))
    blanks = " " * count
    return blanks + text.replace("\n", f"\n{blanks}")


def split(separator: str, text: str, most: int = -1) -> dict[str, str]:
    """The parts of a text under the keys `_0`, `_1`, …; at most so many, if that is not negative."""
    return {f"_{index}": part for index, part in enumerate(split_list(separator, text, most))}


def split_list(separator: str, text: str, most: int = -1) -> list[str]:
    """The parts of a text; without a separator its characters."""
    if most == 0:
        return []
    check_list_length(min(text.count(separator), most if most > 0 else len(text)))
    if separator:
        return text.split(separator, most - 1 if most > 0 else -1)
    if most < 0 or most >= len(text):
        return list(text)
    return [*text[: most - 1], text[most - 1 :]]


def join(separator: str, values: Value) -> str:
    """The values of a list, nil aside, with a separator between them; any other value as it is printed."""
    texts = to_texts(values)
    check_text_length(sum(map(len, texts)) + len(separator) * max(len(texts) - 1, 0))
    return separator.join(texts)


def to_texts(values: Value) -> list[str]:
    """The values of a list, nil aside, as text; any other value as the only item."""
    if values is None:
        return []
    if not isinstance(values, list):
        return [printed(values)]
    length = 0
    texts = []
    for value in values:
        if value is not None:
            texts.append(printed(value))
            length += len(texts[-1])
            check_text_length(length)
    return texts


def sort_alphabetically(values: Value) -> list[str]:
    """The values as text in the order of their bytes."""
    if not isinstance(values, list):
        return [printed(values)]
    return sorted(to_texts(values), key=to_bytes)


def in_double_quotes(*values: Value) -> str:
    return _spaced(quote(printed(value)) for value in values if value is not None)


def in_single_quotes(*values: Value) -> str:
    """Quotes inside stay as they are."""
    return _spaced(f"'{printed(value)}'" for value in values if value is not None)


def concatenate(*values: Value) -> str:
    return _spaced(printed(value) for value in values if value is not None)


def _spaced(texts: Iterable[str]) -> str:
    writer = TextWriter()
    for index, text in enumerate(texts):
        writer.write(" " if index else "")
        writer.write(text)
    return writer.text


_TRIM_ALL = Takes(trim_all, TEXT, TEXT)

SIGNATURES = {
    "hello": Takes(lambda: "Hello!"),
    "trim": Takes(lambda text: text.strip(SPACES), TEXT),
    "trimAll": _TRIM_ALL,
    "trimall": _TRIM_ALL,
    "trimPrefix": Takes(lambda start, text: text.removeprefix(start), TEXT, TEXT),
    "trimSuffix": Takes(lambda end, text: text.removesuffix(end), TEXT, TEXT),
    "nospace": Takes(lambda text: text.translate(_NO_SPACES), TEXT),
    "trunc": Takes(truncate, WHOLE, TEXT),
    "substr": Takes(part_of_text, WHOLE, WHOLE, TEXT),
    "repeat": Takes(repeat, WHOLE, TEXT),
    "replace": Takes(replace, TEXT, TEXT, TEXT),
    "contains": Takes(lambda part, text: part in text, TEXT, TEXT),
    "hasPrefix": Takes(lambda start, text: text.startswith(start), TEXT, TEXT),
    "hasSuffix": Takes(lambda end, text: text.endswith(end), TEXT, TEXT),
    "plural": Takes(lambda one, many, count: one if count == 1 else many, TEXT, TEXT, WHOLE),
    "indent": Takes(indent, WHOLE, TEXT),
    "nindent": Takes(lambda count, text: "\n" + indent(count, text), WHOLE, TEXT),
    "split": Takes(split, TEXT, TEXT),
    "splitn": Takes(lambda separator, most, text: split(separator, text, most), TEXT, WHOLE, TEXT),
    "splitList": Takes(split_list, TEXT, TEXT),
    "join": Takes(join, TEXT, ANY),
    "toString": Takes(printed, ANY),
    "toStrings": Takes(to_texts, ANY),
    "sortAlpha": Takes(sort_alphabetically, ANY),
    "quote": Takes(in_double_quotes, rest=ANY),
    "squote": Takes(in_single_quotes, rest=ANY),
    "cat": Takes(concatenate, rest=ANY),
}
