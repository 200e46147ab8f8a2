from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks_engine.backends.buildkit.build_secrets import (
    MAX_SECRET_BYTES,
    Secret,
    SecretEnv,
    SecretFile,
    SecretValue,
    parse_secret,
)
from tasks_engine.backends.buildkit.errors import SecretError

ALL_BYTES = bytes(range(256))


def test_value_is_given_as_it_is() -> None:
    assert SecretValue(ALL_BYTES).read() == ALL_BYTES


def test_value_never_shows_in_a_repr() -> None:
    assert "hunter2" not in repr(SecretValue(b"hunter2"))


def test_file_is_given_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(ALL_BYTES)
    SecretFile(path).check()
    assert SecretFile(path).read() == ALL_BYTES


def test_file_is_read_anew_each_time(tmp_path: Path) -> None:
    secret = SecretFile(tmp_path / "token")
    for content in (b"old", b"new"):
        secret.path.write_bytes(content)
        assert secret.read() == content


def test_file_behind_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"x")
    (tmp_path / "link").symlink_to("token")
    assert SecretFile(tmp_path / "link").read() == b"x"


def test_variable_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = SecretEnv("TASKS_TEST_SECRET")
    for value in ("old", "new", ""):
        monkeypatch.setenv("TASKS_TEST_SECRET", value)
        secret.check()
        assert secret.read() == value.encode()


def test_variable_may_hold_any_bytes_but_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKS_TEST_SECRET", os.fsdecode(ALL_BYTES[1:]))
    assert SecretEnv("TASKS_TEST_SECRET").read() == ALL_BYTES[1:]


@pytest.mark.parametrize("method", ["read", "check"])
def test_missing_variable_is_told_by_name(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKS_TEST_SECRET", raising=False)
    with pytest.raises(SecretError, match="variable TASKS_TEST_SECRET is not set"):
        getattr(SecretEnv("TASKS_TEST_SECRET"), method)()


@pytest.mark.parametrize("method", ["read", "check"])
def test_missing_file_is_told_with_path_and_reason(method: str, tmp_path: Path) -> None:
    path = tmp_path / "gone"
    with pytest.raises(SecretError, match=rf"{path} cannot be read: No such file"):
        getattr(SecretFile(path), method)()


@pytest.mark.parametrize("method", ["read", "check"])
def test_named_pipe_is_refused_without_waiting(method: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SecretError, match="pipe cannot be read: it is not a regular file"):
        getattr(SecretFile(tmp_path / "pipe"), method)()


@pytest.mark.parametrize("method", ["read", "check"])
def test_folder_is_refused(method: str, tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="cannot be read"):
        getattr(SecretFile(tmp_path), method)()


def test_path_with_a_null_byte_is_refused() -> None:
    with pytest.raises(SecretError, match="cannot be read: embedded null byte"):
        SecretFile(Path("a\0b")).read()


def test_path_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"gone\\xff cannot be read"):
        SecretFile(tmp_path / os.fsdecode(b"gone\xff")).read()


@pytest.fixture(params=["value", "file", "variable"])
def sized(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def make(size: int) -> Secret:
        if request.param == "value":
            return SecretValue(b"x" * size)
        if request.param == "file":
            (tmp_path / "token").write_bytes(b"x" * size)
            return SecretFile(tmp_path / "token")
        monkeypatch.setattr(os, "environ", {"TASKS_TEST_SECRET": "x" * size})
        return SecretEnv("TASKS_TEST_SECRET")

    return make


def test_secret_of_500_kib_is_given(sized) -> None:
    sized(MAX_SECRET_BYTES).check()
    assert len(sized(MAX_SECRET_BYTES).read()) == 500 * 1024


@pytest.mark.parametrize("method", ["read", "check"])
def test_larger_secret_is_refused_with_the_limit(sized, method: str) -> None:
    with pytest.raises(SecretError, match="too large: a build secret has at most 500 KiB"):
        getattr(sized(MAX_SECRET_BYTES + 1), method)()


@pytest.mark.parametrize(
    ("text", "secret_id", "secret"),
    [
        ("id=a,src=some/file", "a", SecretFile(Path("some/file"))),
        ("id=a,source=/f", "a", SecretFile(Path("/f"))),
        ("source=/f,id=a", "a", SecretFile(Path("/f"))),
        ("id=a,src=/f=1", "a", SecretFile(Path("/f=1"))),
        ("ID=a,SRC=/f", "a", SecretFile(Path("/f"))),
        ("type=file,id=a,src=/f", "a", SecretFile(Path("/f"))),
        ("type=file,id=a", "a", SecretFile(Path("a"))),
        ("id=a,env=B", "a", SecretEnv("B")),
        ("type=env,id=a,env=B", "a", SecretEnv("B")),
        ("type=env,id=a,src=B", "a", SecretEnv("B")),
        ("type=env,id=a", "a", SecretEnv("a")),
        ('"id=a,b",src=/f', "a,b", SecretFile(Path("/f"))),
        ('id=a,"src=/with ""quotes"", and comma"', "a", SecretFile(Path('/with "quotes", and comma'))),
    ],
)
def test_each_form_names_id_and_source(text: str, secret_id: str, secret: Secret) -> None:
    assert parse_secret(text) == (secret_id, secret)


def test_id_alone_is_a_variable_that_is_set_or_else_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKS_TEST_SECRET", "x")
    assert parse_secret("id=TASKS_TEST_SECRET")[1] == SecretEnv("TASKS_TEST_SECRET")
    assert parse_secret("type=file,id=TASKS_TEST_SECRET")[1] == SecretFile(Path("TASKS_TEST_SECRET"))
    monkeypatch.delenv("TASKS_TEST_SECRET")
    assert parse_secret("id=TASKS_TEST_SECRET")[1] == SecretFile(Path("TASKS_TEST_SECRET"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "field 1"),
        ("src=/f", "needs an id"),
        ("id=,src=/f", "needs an id"),
        ("id=a,src=", "field without a value"),
        ("id=a,env=", "field without a value"),
        ("id=a,src=/f,env=B", "both a file and a variable"),
        ("type=env,id=a,src=/f,env=B", "both a file and a variable"),
        ("type=file,id=a,env=B", "type=file and a variable"),
        ("type=vault,id=a", "type of secret 'a'"),
        ("id=a,id=b", "its id twice"),
        ("id=a,src=/f,source=/g", "its src twice"),
        ("id=a,", "field 2"),
        ("id=a,target=/x", "field 2"),
        ('"id=a', "double quotes"),
        ('id=a,src=/f"g"', "double quotes"),
        ('"id=a"b', "double quotes"),
        ("id=a\nb,src=/f", "line break"),
    ],
)
def test_other_forms_are_refused_with_the_right_ones(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_secret(text)
    assert "write id=NAME,src=PATH" in str(caught.value)


@pytest.mark.parametrize("text", ["hunter2", "id=a,hunter2", "id=a,value=hunter2", "hunter2=,id=a"])
def test_secret_in_the_wrong_place_is_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is none of id=") as caught:
        parse_secret(text)
    assert "hunter2" not in str(caught.value)
