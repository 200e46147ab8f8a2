"""Values of secrets: resolvers by the scheme of an address, and the book that turns tokens into values.

The book also has what steps give to later ones: their tokens stand beside those of secrets.

Values live here, in the memory of the process that runs the steps, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tasks_engine.backends.questions import Question, ask_all
from tasks_engine.cancel import CancelToken
from tasks_engine.definition.expand import shell_quote
from tasks_engine.definition.model import Secret
from tasks_engine.errors import SecretError, StepFailed
from tasks_engine.ports import SecretResolver

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


def all_resolvers(environ: Mapping[str, str], folder: Path) -> dict[str, SecretResolver]:
    """All resolvers there are, by the scheme of their addresses; relative paths of files count from `folder`."""
    from tasks_engine.backends.azure_secrets import KeyVaultResolver
    from tasks_engine.backends.vault_secrets import VaultResolver

    key_vault = KeyVaultResolver()
    return {
        "env": EnvironmentResolver(environ),
        "file": FileResolver(folder),
        "https": key_vault,
        "keyvault": key_vault,
        "vault": VaultResolver(environ),
    }


def resolve_all(
    secrets: Sequence[Secret],
    resolver_by_scheme: Mapping[str, SecretResolver],
    cancel: CancelToken | None = None,
) -> dict[str, bytes]:
    """Id -> value of every secret.

    Raises SecretError for the first one that cannot be had, or when they do not come within two minutes, and what
    `cancel` tells.
    """

    def resolve(secret: Secret) -> bytes:
        try:
            return resolve_address(secret.keyvault, secret.client_id, resolver_by_scheme)
        except SecretError as error:
            raise SecretError(f"secret '{secret.id}': {error.message}", hint=error.hint) from error

    questions = [Question(f"secret '{secret.id}'", partial(resolve, secret)) for secret in secrets]
    values = ask_all(questions, cancel=cancel)
    return dict(zip((secret.id for secret in secrets), values, strict=True))


def resolve_address(address: str, client_id: str, resolver_by_scheme: Mapping[str, SecretResolver]) -> bytes:
    """The value at an address. Raises SecretError."""
    scheme = address.partition(":")[0].lower()
    if scheme not in resolver_by_scheme:
        known = ", ".join(f"{each}:" for each in sorted(resolver_by_scheme))
        raise SecretError(f"nothing here can read '{address}'", hint=f"addresses begin with one of {known}")
    return resolver_by_scheme[scheme].resolve(address, client_id)


class SecretBook:
    """Turns tokens into values, and tells `on_value` of each that comes to be and is or holds a secret. Thread-safe."""

    def __init__(
        self, values: Mapping[str, str] | None = None, on_value: Callable[[bytes], None] = lambda _: None
    ) -> None:
        """`values` are those that were given by name with the run."""
        self._texts: dict[tuple[str, ...], str] = {}
        #: step -> its outputs, of steps that have succeeded
        self._outputs: dict[str, Mapping[str, str]] = {}
        self._on_value = on_value
        for name, text in (values or {}).items():
            self._add(("value", name), text)

    def add(self, value_by_id: Mapping[str, bytes]) -> None:
        for secret_id, value in value_by_id.items():
            self._add(("secret", secret_id), value.decode("utf-8", "surrogateescape"))

    def add_outputs(self, step_id: str, outputs: Mapping[str, str]) -> None:
        """What a step that has succeeded gives to later ones; replaces what it gave before."""
        self._outputs[step_id] = outputs

    def hear(self, value: bytes) -> None:
        """A value that must not be shown either, though no token stands for it."""
        self._on_value(value)

    def _add(self, key: tuple[str, str], text: str) -> None:
        self._texts[key] = text
        self._on_value(text.encode("utf-8", "surrogateescape"))

    def _find(self, kind: str, *names: str) -> str | None:
        return self._output(*names) if kind == "output" else self._texts.get((kind, *names))

    def _output(self, step_id: str, name: str) -> str:
        outputs = self._outputs.get(step_id)
        if outputs is not None and name in outputs:
            return outputs[name]
        if outputs is None:
            raise StepFailed(
                f"this needs output '{name}' of step '{step_id}', which has not succeeded and so has none"
            )
        written = ", ".join(f"'{each}'" for each in sorted(outputs))
        raise StepFailed(
            f"this needs output '{name}' of step '{step_id}', which has not written it"
            + (f", only {written}" if written else ", nor any other"),
            hint="an engine knows the digest of a build only with containerd's image store"
            if name == "digest" and outputs.keys() <= {"image"}
            else f"in that step: echo {name}=VALUE >> $TASKS_OUTPUT",
        )

    def reveal(self, text: str) -> str:
        """The text with the values of its tokens.

        Raises SecretError when a function refuses the value of a secret, StepFailed when it refuses an output, or when
        there is no such output.
        """
        from tasks_engine.definition.template.secret_text import has_token, reveal, tokens_in

        if not has_token(text):
            return text
        from tasks_engine.definition.template.functions import function_table
        from tasks_engine.definition.template.values import FunctionError

        functions = {**function_table(_NEVER, ""), "shellQuote": shell_quote}
        names: set[tuple[str, ...]] = set()
        try:
            for token in tokens_in(text):
                names |= token.names
                derived = reveal(token.token, self._find, functions)
                if token.holds_secret:
                    self._on_value(derived.encode("utf-8", "surrogateescape"))
            return reveal(text, self._find, functions)
        except FunctionError as error:
            if names and all(kind == "output" for kind, *_ in names):
                raise StepFailed(
                    f"a template function refuses the value of {_listed_outputs(sorted(names))}: {error}"
                ) from error
            # what the function says may hold a part of the value
            secrets = sorted(name[-1] for name in names if name[0] != "output")
            raise SecretError(f"a template function refuses the value of {_listed(secrets)}") from None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names)
    return f"secret{'s' if len(names) > 1 else ''} {shown}" if names else "a secret whose token is damaged"


def _listed_outputs(names: Sequence[tuple[str, ...]]) -> str:
    shown = ", ".join(f"'{name}' of step '{step_id}'" for _, step_id, name in names)
    return f"output{'s' if len(names) > 1 else ''} {shown}"
