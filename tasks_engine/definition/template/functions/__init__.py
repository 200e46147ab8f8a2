"""The functions of a template: Go's own and those of Sprig 2.22's text function map. Pure and bounded.

A function takes already evaluated arguments and returns a Value; it raises FunctionError for what Go or Sprig
refuses, and for a result beyond the bounds. Modules are imported when a template first calls one of their
functions: most templates need few.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from importlib import import_module

from tasks_engine.definition.template.values import Function

_NAMES_BY_MODULE = {
    "choosing": "coalesce deepEqual default empty fail kindIs kindOf ternary typeIs typeIsLike typeOf",
    "ciphers": "decryptAES",
    "casing": "camelcase initials kebabcase lower snakecase swapcase title untitle upper",
    "comparing": "and eq ge gt le lt ne not or",
    "dates": "dateModify date_modify toDate unixEpoch",
    "encoding": "b32dec b32enc b64dec b64enc",
    "escaping": "html js urlquery",
    "formats": "printf",
    "hashing": "adler32sum sha1sum sha256sum",
    "indexing": "index len slice",
    "json_text": "toJson toPrettyJson",
    "lists": "append compact concat first has initial last list prepend push rest reverse tuple uniq without",
    "maps": "deepCopy dict hasKey keys merge mergeOverwrite omit pick pluck set unset values",
    "numbers": (
        "add add1 atoi biggest ceil div float64 floor int int64 max min mod mul round sub toDecimal until untilStep"
    ),
    "paths": "base clean dir ext isAbs",
    "printing": "print println",
    "refused": (
        "buildCustomCert env expandenv genCA genPrivateKey genSelfSignedCert genSignedCert getHostByName"
    ),
    "text": (
        "cat contains hasPrefix hasSuffix hello indent join nindent nospace plural quote repeat replace sortAlpha "
        "split splitList splitn squote substr toString toStrings trim trimAll trimPrefix trimSuffix trimall trunc"
    ),
    "urls": "urlJoin urlParse",
    "versions": "semver semverCompare",
    "wrapping": "abbrev abbrevboth wrap wrapWith",
}
#: functions that know the time, draw from the seed or count their work, and so belong to one table
_BOUND_NAMES_BY_MODULE = {
    "dates": "ago date dateInZone date_in_zone htmlDate htmlDateInZone now",
    "hashing": "derivePassword",
    "patterns": "regexFind regexFindAll regexMatch regexReplaceAll regexReplaceAllLiteral regexSplit",
    "randomness": "encryptAES randAlpha randAlphaNum randAscii randNumeric shuffle uuidv4",
}
_MODULE_BY_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()}
_BOUND_MODULE_BY_NAME = {
    name: module for module, names in _BOUND_NAMES_BY_MODULE.items() for name in names.split()
}
_NAMES = frozenset((*_MODULE_BY_NAME, *_BOUND_MODULE_BY_NAME))


def function_table(now: datetime, seed: str) -> Mapping[str, Function]:
    """The functions by name, for one rendering.

    `now` is an aware moment. What is random follows from the seed, from the beginning for every table.
    """
    return _FunctionTable(now, seed)


class _FunctionTable(Mapping[str, Function]):
    def __init__(self, now: datetime, seed: str) -> None:
        self._now = now
        self._seed = seed
        self._functions: dict[str, Function] = {}

    def __getitem__(self, name: str) -> Function:
        if name not in self._functions:
            self._functions.update(self._load(name))
        return self._functions[name]

    def __contains__(self, name: object) -> bool:
        return name in _NAMES

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(_NAMES))

    def __len__(self) -> int:
        return len(_NAMES)

    def _load(self, name: str) -> Mapping[str, Function]:
        """The function and what comes with it."""
        if name in _MODULE_BY_NAME:
            return _module_functions(_MODULE_BY_NAME[name])
        return self._bound_functions(_BOUND_MODULE_BY_NAME[name])

    def _bound_functions(self, module: str) -> Mapping[str, Function]:
        if module == "dates":
            from tasks_engine.definition.template.functions.dates import clock_functions

            return clock_functions(self._now)
        if module == "randomness":
            from tasks_engine.definition.template.functions.randomness import random_functions

            return random_functions(self._seed)
        if module == "patterns":
            from tasks_engine.definition.template.functions.patterns import pattern_functions

            return pattern_functions()
        from tasks_engine.definition.template.functions.hashing import costly_functions

        return costly_functions()


@cache
def _module_functions(module: str) -> Mapping[str, Function]:
    from tasks_engine.definition.template.functions.signatures import callables

    return callables(import_module(f"{__name__}.{module}").SIGNATURES)
