"""Files of a task's volumes."""

from __future__ import annotations

import pytest

from tasks_engine.backends.volume_files import volume_files
from tasks_engine.definition.model import Volume
from tasks_engine.errors import DefinitionError, ExitCode


def test_files_are_what_the_base64_stands_for_and_a_line_break() -> None:
    volume = Volume("v", {"text": "aGVsbG8=", "bytes": "AP8=", "folded": "aGVs\nbG8=\n", "empty": ""})
    assert volume_files(volume, str) == {
        "text": b"hello\n",
        "bytes": b"\x00\xff\n",
        "folded": b"hello\n",
        "empty": b"\n",
    }


def test_secrets_are_put_in_their_places_first() -> None:
    assert volume_files(Volume("v", {"a": "token"}), {"token": "eA=="}.__getitem__) == {"a": b"x\n"}


@pytest.mark.parametrize("text", ["!!!", "aGVsbG8", "aGVs bG8=", "é", "a"])
def test_what_is_no_base64_is_the_authors_mistake_and_is_not_shown(text: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        volume_files(Volume("v", {"key": text}), str)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.message == "file 'key' of volume 'v' is not Base64"
