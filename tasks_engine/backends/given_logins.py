"""Turns logins that are given with a run into user names and passwords, before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from tasks_engine.backends.credential_arguments import GivenCredential, ValueKind
from tasks_engine.backends.managed_identity import TOKEN_USER, ManagedIdentity
from tasks_engine.backends.questions import Question, ask_all
from tasks_engine.backends.secrets import resolve_address
from tasks_engine.cancel import CancelToken
from tasks_engine.errors import BackendError, RegistryError
from tasks_engine.ports import SecretResolver


def resolve_logins(
    given: Sequence[GivenCredential],
    resolver_by_scheme: Mapping[str, SecretResolver],
    identity: ManagedIdentity,
    on_value: Callable[[bytes], None] = lambda _: None,
    cancel: CancelToken | None = None,
) -> list[GivenCredential]:
    """The same logins, each with user name and password as text. The last one of a registry wins.

    `on_value` is told of everything that must not be shown. Raises RegistryError for one that cannot be had, and what
    `cancel` tells.
    """
    last = {each.registry: each for each in given}
    questions = [
        Question(f"login for '{each.registry}'", partial(_resolved, each, resolver_by_scheme, identity))
        for each in last.values()
    ]
    logins = ask_all(questions, cancel=cancel)
    for login, asked in zip(logins, last.values(), strict=True):
        on_value(login.password.encode())
        if asked.username_kind is ValueKind.VAULT_SECRET:
            on_value(login.username.encode())
    return logins


def _resolved(
    given: GivenCredential, resolver_by_scheme: Mapping[str, SecretResolver], identity: ManagedIdentity
) -> GivenCredential:
    def value(kind: ValueKind, text: str) -> str:
        if kind is not ValueKind.VAULT_SECRET:
            return text
        # an end of line is how editors end files, and no part of a login
        return resolve_address(text, given.identity, resolver_by_scheme).decode().rstrip("\r\n")

    try:
        if given.username_kind is ValueKind.NONE:
            username = TOKEN_USER
            password = identity.registry_password(given.registry, given.resource, given.identity)
        else:
            username = value(given.username_kind, given.username)
            password = value(given.password_kind, given.password)
    except UnicodeDecodeError:
        raise RegistryError(f"login for '{given.registry}': its secret is no text") from None
    except BackendError as error:
        raise RegistryError(f"login for '{given.registry}': {error.message}", hint=error.hint) from error
    return GivenCredential(given.registry, username, ValueKind.OPAQUE, password, ValueKind.OPAQUE)
