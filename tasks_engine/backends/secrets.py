"""Values of secrets: resolvers by the scheme of an address, and the book that turns tokens into values.

Values live here, in the memory of the process that runs the steps, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from tasks_engine.definition.expand import shell_quote
from tasks_engine.definition.model import Secret
from tasks_engine.errors import SecretError
from tasks_engine.plan.model import CmdWork, ContainerOption, PlannedStep
from tasks_engine.ports import SecretResolver

#: secrets that are asked for at the same time, as in the original
_AT_ONCE = 5
MAX_BYTES = 1024 * 1024
#: functions that are applied to values know no time
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class EnvironmentResolver:
    """`env:NAME`: a variable of the environment that `tasks` was started with."""

    environ: Mapping[str, str] = field(repr=False)

    def resolve(self, address: str, client_id: str) -> bytes:  # noqa: ARG002 - part of the port
        name = address.partition(":")[2].removeprefix("//")
        if name not in self.environ:
            raise SecretError(f"variable '{name}' is not set", hint=f"set it before the run: export {name}=…")
        return self.environ[name].encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class FileResolver:
    """`file:PATH`: a file of this machine, byte by byte; a relative path counts from `folder`."""

    folder: Path

    def resolve(self, address: str, client_id: str) -> bytes:  # noqa: ARG002 - part of the port
        path = self.folder / address.partition(":")[2].removeprefix("//")
        try:
            with path.open("rb") as reader:
                data = reader.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SecretError(f"file '{path}' cannot be read: {reason}") from error
        if len(data) > MAX_BYTES:
            raise SecretError(f"file '{path}' is larger than {MAX_BYTES >> 20} MiB")
        return data


def resolve_all(
    secrets: Sequence[Secret], resolver_by_scheme: Mapping[str, SecretResolver]
) -> dict[str, bytes]:
    """Id -> value of every secret. Raises SecretError for the first one that cannot be had."""

    def resolve(secret: Secret) -> bytes:
        scheme = secret.keyvault.partition(":")[0].lower()
        if scheme not in resolver_by_scheme:
            known = ", ".join(f"{each}:" for each in sorted(resolver_by_scheme))
            raise SecretError(
                f"secret '{secret.id}': nothing here can read '{secret.keyvault}'",
                hint=f"addresses begin with one of {known}",
            )
        try:
            return resolver_by_scheme[scheme].resolve(secret.keyvault, secret.client_id)
        except SecretError as error:
            raise SecretError(f"secret '{secret.id}': {error.message}", hint=error.hint) from error

    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="secret") as pool:
        return dict(zip((secret.id for secret in secrets), pool.map(resolve, secrets), strict=True))


class SecretBook:
    """Turns tokens of secrets into values, and tells `on_value` of each value that comes to be."""

    def __init__(
        self, values: Mapping[str, str] | None = None, on_value: Callable[[bytes], None] = lambda _: None
    ) -> None:
        """`values` are those that were given by name with the run."""
        self._texts: dict[tuple[str, str], str] = {}
        self._on_value = on_value
        for name, text in (values or {}).items():
            self._add(("value", name), text)

    def add(self, value_by_id: Mapping[str, bytes]) -> None:
        for secret_id, value in value_by_id.items():
            self._add(("secret", secret_id), value.decode("utf-8", "surrogateescape"))

    def _add(self, key: tuple[str, str], text: str) -> None:
        self._texts[key] = text
        self._on_value(text.encode("utf-8", "surrogateescape"))

    def _find(self, kind: str, name: str) -> str | None:
        return self._texts.get((kind, name))

    def reveal(self, text: str) -> str:
        """The text with the values of its tokens. Raises SecretError when a function refuses a value."""
        from tasks_engine.definition.template.secret_text import has_token, reveal, tokens_in

        if not has_token(text):
            return text
        from tasks_engine.definition.template.functions import function_table
        from tasks_engine.definition.template.values import FunctionError

        functions = {**function_table(_NEVER, ""), "shellQuote": shell_quote}
        names: set[str] = set()
        try:
            for token in tokens_in(text):
                names |= {name for _, name in token.names}
                derived = reveal(token.token, self._find, functions)
                self._on_value(derived.encode("utf-8", "surrogateescape"))
            return reveal(text, self._find, functions)
        except FunctionError:
            # what the function says may hold a part of the value
            raise SecretError(f"a template function refuses the value of {_listed(sorted(names))}") from None


def revealed(step: PlannedStep, book: SecretBook) -> PlannedStep:
    """The step with values in the place of tokens; to be handed to an engine and nowhere else."""
    env = {name: book.reveal(value) for name, value in step.env.items()}
    work = step.work
    if isinstance(work, CmdWork):
        work = replace(
            work,
            args=tuple(map(book.reveal, work.args)),
            options=_revealed_options(work.options, book),
            commands=tuple(
                replace(
                    each,
                    args=tuple(map(book.reveal, each.args)),
                    options=_revealed_options(each.options, book),
                )
                for each in work.commands
            ),
        )
    return replace(step, env=env, work=work)


def _revealed_options(options: tuple[ContainerOption, ...], book: SecretBook) -> tuple[ContainerOption, ...]:
    return tuple(replace(each, value=book.reveal(each.value)) for each in options)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names)
    return f"secret{'s' if len(names) > 1 else ''} {shown}" if names else "a secret whose token is damaged"
