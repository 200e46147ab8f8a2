from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from tasks_engine.definition.template.functions import function_table
from tasks_engine.definition.template.values import FunctionError

NOW = datetime(2024, 1, 2, tzinfo=UTC)
TABLE = function_table(NOW, "seed")


@pytest.mark.parametrize(
    ("name", "text", "result"),
    [
        ("sha1sum", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("sha256sum", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("sha256sum", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("adler32sum", "Wikipedia", "300286872"),
    ],
)
def test_checksums(name: str, text: str, result: str) -> None:
    assert TABLE[name](text) == result


@pytest.mark.parametrize(
    ("kind", "password"),
    [
        ("long", "ZedaFaxcZaso9*"),
        ("maximum", "pf4zS1LjCg&LjhsZ7T2~"),
        ("basic", "pIS54PLs"),
    ],
)
def test_passwords_are_derived(kind: str, password: str) -> None:
    derive = function_table(NOW, "seed")["derivePassword"]
    assert derive(1, kind, "password", "user", "example.com") == password


def test_an_unknown_kind_of_password_is_named_in_the_result() -> None:
    derive = function_table(NOW, "seed")["derivePassword"]
    assert derive(1, "huge", "p", "u", "s") == "cannot find password template huge"


def test_passwords_can_be_derived_a_few_times_only() -> None:
    derive = function_table(NOW, "seed")["derivePassword"]
    for _ in range(20):
        derive(1, "huge", "p", "u", "s")
    with pytest.raises(FunctionError) as caught:
        derive(1, "huge", "p", "u", "s")
    assert str(caught.value) == "derivePassword: it takes long, so a file may use it 20 times"


@pytest.mark.parametrize("text", ["hi", "é" * 100, "x" * 16, "\udcff"])
def test_what_is_encrypted_can_be_decrypted(text: str) -> None:
    encrypted = TABLE["encryptAES"]("secret", text)
    assert TABLE["decryptAES"]("secret", encrypted) == text
    assert len(base64.b64decode(encrypted)) % 16 == 0


def test_nothing_is_encrypted_as_nothing() -> None:
    assert (TABLE["encryptAES"]("p", ""), TABLE["decryptAES"]("p", "")) == ("", "")


def test_what_sprig_encrypted_is_decrypted() -> None:
    encrypted = "lsEXyNx41n6cDPZQrgfg9mdQxdbf4Ts49rKj1m4KxqA="
    assert TABLE["decryptAES"]("secretkey", encrypted) == "plaintext"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("*", "decryptAES: the text is not Base64"),
        ("aGk=", "decryptAES: the text is not what encryptAES makes: its length is wrong"),
        (
            base64.b64encode(bytes(40)).decode(),
            "decryptAES: the text is not what encryptAES makes: its length is wrong",
        ),
        (base64.b64encode(bytes(32)).decode(), "decryptAES: the password is wrong"),
    ],
)
def test_what_cannot_be_decrypted(text: str, message: str) -> None:
    with pytest.raises(FunctionError) as caught:
        TABLE["decryptAES"]("secret", text)
    assert str(caught.value) == message
