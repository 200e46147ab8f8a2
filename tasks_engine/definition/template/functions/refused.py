"""What a task's text has no business with: the host's environment, its network, keys and certificates."""

from __future__ import annotations

import re

from tasks_engine.definition.template.functions.signatures import ANY, TEXT, Takes
from tasks_engine.definition.template.values import FunctionError, Value

#: a variable of a shell: a name or one special character, or anything in braces
_VARIABLE = re.compile(r"\$(?:\{[^}]*\}|[*#$@!?0-9-]|[A-Za-z_][A-Za-z0-9_]*)")
#: the same where no brace closes any more; an open one is dropped
_VARIABLE_OR_BRACE = re.compile(r"\$(?:\{|[*#$@!?0-9-]|[A-Za-z_][A-Za-z0-9_]*)")

_REASONS = {
    "genPrivateKey": "keys",
    "genCA": "certificates and their keys",
    "genSelfSignedCert": "certificates and their keys",
    "genSignedCert": "certificates and their keys",
    "buildCustomCert": "certificates and their keys",
}


def expand(text: str) -> str:
    """The text without its variables, since the environment is empty."""
    last_brace = text.rfind("}") + 1
    return _VARIABLE.sub("", text[:last_brace]) + _VARIABLE_OR_BRACE.sub("", text[last_brace:])


def _refusal(message: str) -> Takes:
    def refuse(*_: Value) -> Value:
        raise FunctionError(message)

    return Takes(refuse, rest=ANY)


SIGNATURES = {
    "env": Takes(lambda _: "", TEXT),
    "expandenv": Takes(expand, TEXT),
    "getHostByName": _refusal("the text of a task must not depend on what a host name stands for"),
    **{
        name: _refusal(
            f"{what} do not belong in the text of a task; make them elsewhere and pass them as secrets"
        )
        for name, what in _REASONS.items()
    },
}
