"""Go's `html`, `js` and `urlquery`: text for the inside of HTML, of a JavaScript literal, of a URL's query."""

from __future__ import annotations

import re

from tasks_engine.definition.template.functions.bounds import check_text_length
from tasks_engine.definition.template.functions.octets import to_bytes
from tasks_engine.definition.template.functions.printing import print_all
from tasks_engine.definition.template.functions.quoting import is_printable
from tasks_engine.definition.template.functions.signatures import ANY, Takes
from tasks_engine.definition.template.values import Value

_HTML = str.maketrans({"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JS_SPECIAL = re.compile("[\\\\'\"<>&=\x00-\x1f\x80-\U0010ffff]")
_JS_SHORT = {"\\": r"\\", "'": r"\'", '"': r"\""}
_QUERY_SPECIAL = re.compile(rb"[^A-Za-z0-9_.~-]")
#: how a template prints a missing value
_NO_VALUE = "<no value>"


def escape_html(*values: Value) -> str:
    return _text(values).translate(_HTML)


def escape_js(*values: Value) -> str:
    return _JS_SPECIAL.sub(_escape_js, _text(values))


def escape_query(*values: Value) -> str:
    octets = to_bytes(_text(values))
    check_text_length(len(octets))
    return _QUERY_SPECIAL.sub(_percent, octets).decode()


def _text(values: tuple[Value, ...]) -> str:
    """A single text as it is, anything else as it is printed."""
    return print_all(*(_NO_VALUE if value is None else value for value in values))


def _escape_js(match: re.Match[str]) -> str:
    character = match[0]
    if character in _JS_SHORT:
        return _JS_SHORT[character]
    if character > "\x7f" and is_printable(character):
        return character
    code = 0xFFFD if "\ud800" <= character <= "\udfff" else ord(character)
    return f"\\u{code:04X}"


def _percent(match: re.Match[bytes]) -> bytes:
    return b"+" if match[0] == b" " else b"%%%02X" % match[0][0]


SIGNATURES = {
    "html": Takes(escape_html, rest=ANY),
    "js": Takes(escape_js, rest=ANY),
    "urlquery": Takes(escape_query, rest=ANY),
}
