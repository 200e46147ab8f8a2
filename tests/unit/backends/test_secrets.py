"""Where values of secrets come from, and the one place where they take the place of their tokens."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks_engine.backends.fakes import PATIENCE_S
from tasks_engine.backends.revealing import revealed
from tasks_engine.backends.secrets import (
    MAX_BYTES,
    EnvironmentResolver,
    FileResolver,
    SecretBook,
    all_resolvers,
    resolve_all,
)
from tasks_engine.definition.model import Secret
from tasks_engine.definition.template.secret_text import END, START, has_token, secret, secret_value
from tasks_engine.errors import SecretError
from tasks_engine.plan.model import CmdWork, ContainerOption, Plan


class Recording:
    """Answers with the address, and remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def resolve(self, address: str, client_id: str) -> bytes:
        self.asked.append((address, client_id))
        return address.encode()


@pytest.mark.parametrize("address", ["env:NAME", "env://NAME", "ENV:NAME"])
def test_a_variable_of_the_environment_is_a_secret(address: str) -> None:
    assert EnvironmentResolver({"NAME": "vä\udcff"}).resolve(address, "") == "vä".encode() + b"\xff"


@pytest.mark.parametrize("address", ["env:", "env:OTHER", "env://", "env: NAME"])
def test_a_variable_that_is_not_set_is_told_by_name(address: str) -> None:
    with pytest.raises(SecretError, match="is not set") as caught:
        EnvironmentResolver({"NAME": "value"}).resolve(address, "")
    assert "value" not in str(caught.value)


def test_the_environment_never_shows() -> None:
    assert "s3cret" not in repr(EnvironmentResolver({"NAME": "s3cret"}))


def test_a_file_is_a_secret_byte_by_byte(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\x00\xff\r\n ")
    for address in ("file:token", "file:./token", f"file:{tmp_path}/token", f"file://{tmp_path}/token"):
        assert FileResolver(tmp_path).resolve(address, "") == b"\x00\xff\r\n "


def test_a_file_that_cannot_be_read_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=f"file '{tmp_path}/none' cannot be read: No such file"):
        FileResolver(tmp_path).resolve("file:none", "")
    with pytest.raises(SecretError, match="Is a directory"):
        FileResolver(tmp_path).resolve("file:", "")
    with pytest.raises(SecretError, match="null"):
        FileResolver(tmp_path).resolve("file:a\0b", "")


def test_a_file_has_a_largest_size(tmp_path: Path) -> None:
    (tmp_path / "fits").write_bytes(b"x" * MAX_BYTES)
    assert len(FileResolver(tmp_path).resolve("file:fits", "")) == MAX_BYTES
    with pytest.raises(SecretError, match="is larger than 1 MiB"):
        FileResolver(tmp_path).resolve("file:/dev/zero", "")


def test_every_secret_is_asked_for_where_its_address_says() -> None:
    one, two = Recording(), Recording()
    secrets = [Secret("a", "one:x"), Secret("b", "TWO:y", "me"), Secret("c", "one:z")]
    assert resolve_all(secrets, {"one": one, "two": two}) == {"a": b"one:x", "b": b"TWO:y", "c": b"one:z"}
    assert (sorted(one.asked), two.asked) == ([("one:x", ""), ("one:z", "")], [("TWO:y", "me")])


def test_no_secrets_are_fine() -> None:
    assert resolve_all([], {}) == {}


@pytest.mark.parametrize("address", ["https://v.vault.azure.net/secrets/a", "nothing", ""])
def test_an_address_that_nobody_reads_is_told_with_those_that_are_read(address: str) -> None:
    with pytest.raises(SecretError) as caught:
        resolve_all([Secret("a", address)], {"file": Recording(), "env": Recording()})
    assert caught.value.message == f"secret 'a': nothing here can read '{address}'"
    assert caught.value.hint == "addresses begin with one of env:, file:"


def test_an_error_names_the_secret_and_keeps_its_hint() -> None:
    with pytest.raises(SecretError) as caught:
        resolve_all([Secret("a", "env:X")], {"env": EnvironmentResolver({})})
    assert (caught.value.message, caught.value.hint) == (
        "secret 'a': variable 'X' is not set",
        "set it before the run: export X=…",
    )


def test_the_first_error_counts_while_other_secrets_are_waited_for() -> None:
    over = threading.Event()

    class Failing:
        def resolve(self, address: str, client_id: str) -> bytes:
            if address == "x:second":
                raise SecretError(f"{address} is gone")
            over.wait(PATIENCE_S)
            return b""

    with pytest.raises(SecretError, match="secret 'b': x:second is gone"):
        resolve_all([Secret("a", "x:first"), Secret("b", "x:second")], {"x": Failing()})
    over.set()


def test_every_kind_of_address_has_its_resolver(tmp_path: Path) -> None:
    resolvers = all_resolvers({"A": "1"}, tmp_path)
    assert sorted(resolvers) == ["env", "file", "https", "keyvault", "vault"]
    assert resolvers["env"].resolve("env:A", "") == b"1"


def test_a_token_becomes_its_value_wherever_it_stands() -> None:
    book = SecretBook({"v": "given"})
    book.add({"s": b"fetched"})
    assert book.reveal(f"<{secret('s').token}|{secret_value('v').token}|{secret('s').token}>") == (
        "<fetched|given|fetched>"
    )


def test_a_secret_and_a_value_of_one_name_are_two() -> None:
    book = SecretBook({"x": "given"})
    assert book.reveal(f"{secret_value('x').token}|{secret('x').token}") == "given|"


def test_bytes_that_are_no_text_survive() -> None:
    book = SecretBook()
    book.add({"s": b"\xff\x00"})
    assert os.fsencode(book.reveal(secret("s").token)) == b"\xff\x00"


def test_every_value_is_told_of_for_masking() -> None:
    told: list[bytes] = []
    book = SecretBook({"v": "given"}, told.append)
    book.add({"s": b"\xff"})
    book.reveal(secret("s").token)
    assert set(told) == {b"given", b"\xff"}


@pytest.fixture
def plan_with(plan_of: Callable[..., Plan]) -> Callable[[str], Plan]:
    def plan_with(step: str) -> Plan:
        return plan_of(f"secrets: [{{id: s, keyvault: env:S}}]\nsteps:\n- {step}")

    return plan_with


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (".Secrets.s", "s3 [cret"),
        ('index .Secrets "s"', "s3 [cret"),
        (".Secrets.s | upper", "S3 [CRET"),
        (".Secrets.s | b64enc", "czMgW2NyZXQ="),
        ('printf "%s-%s" .Secrets.s .Secrets.s', "s3 [cret-s3 [cret"),
        ("list .Secrets.s 1 | toJson", '["s3 [cret",1]'),
    ],
)
def test_functions_are_applied_when_the_value_is_there(
    plan_with: Callable[[str], Plan], expression: str, value: str
) -> None:
    step = plan_with(f"cmd: a '<{{{{ {expression} }}}}>'").steps[0]
    assert isinstance(step.work, CmdWork)
    assert "s3 [cret" not in repr(step)
    book = SecretBook()
    book.add({"s": b"s3 [cret"})
    work = revealed(step, book).work
    assert isinstance(work, CmdWork)
    assert work.args == (f"<{value}>",)


def test_a_function_that_refuses_a_value_does_not_show_it(plan_with: Callable[[str], Plan]) -> None:
    step = plan_with("""cmd: a {{ regexReplaceAll .Secrets.s "a" "b" }}""").steps[0]
    book = SecretBook()
    book.add({"s": b"s3 [cret"})
    with pytest.raises(SecretError, match=r"a template function refuses the value of secret 's'\Z") as caught:
        revealed(step, book)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("token", [f"{START}abc{END}", f"{START}W1tb{END}", f"{START}MQ{END}"])
def test_a_damaged_token_is_an_error(token: str) -> None:
    with pytest.raises(SecretError):
        SecretBook().reveal(f"a {token}")


def test_every_part_of_a_step_that_may_hold_a_secret_is_revealed(plan_with: Callable[[str], Plan]) -> None:
    token = "{{.Secrets.s}}"
    plan = plan_with(
        f"""{{cmd: '-e A={token} --label l={token} a x{token} && --label m={token} b {token}', env: ['B={token}']}}"""
    )
    book = SecretBook()
    book.add({"s": b"V"})
    step = revealed(plan.steps[0], book)
    assert not has_token(repr(step))
    assert isinstance(step.work, CmdWork)
    assert (step.env, step.work.args) == ({"B": "V"}, ("xV",))
    first, second = step.work.commands
    assert first.options == (ContainerOption("env", "A=V"), ContainerOption("label", "l=V"))
    assert (second.options, second.args) == ((ContainerOption("label", "m=V"),), ("V",))


@pytest.mark.parametrize("step", ["build: -t a .", "push: [a]", "cmd: a b"])
def test_a_step_without_secrets_stays_as_it_is(plan_with: Callable[[str], Any], step: str) -> None:
    planned = plan_with(step).steps[0]
    assert revealed(planned, SecretBook()) == planned
