from __future__ import annotations

import pytest

from tasks_engine.backends.buildkit.capabilities import _GIT_FOLDER, unsupported


@pytest.mark.parametrize(
    ("message", "feature"),
    [
        ('exporter "image" could not be found', "export to 'image'"),
        ('failed to solve: exporter "oci" could not be found', "export to 'oci'"),
        ('unknown cache exporter: "registry"', "export its cache to 'registry'"),
    ],
)
def test_refusal_names_the_feature_the_daemon_and_a_way_out(message: str, feature: str) -> None:
    error = unsupported("unix:///d", message)
    assert error is not None
    assert (error.daemon, error.feature) == ("unix:///d", feature)
    assert error.way_out
    assert error.message.startswith(f"the BuildKit daemon at unix:///d can not {feature}: ")


@pytest.mark.parametrize("message", ["", "exit code: 7", "could not be found", 'exporter "' + "x" * 100_000])
def test_other_errors_are_no_refusals(message: str) -> None:
    assert unsupported("unix:///d", message) is None


@pytest.mark.parametrize(
    ("url", "has_folder"),
    [
        ("git://h:9418/r.git#main", False),
        ("git://h:9418/r#main:sub", True),
        ("https://h:8443/r.git#:sub", True),
        ("https://h/r.git#main", False),
        ("https://h/r.tgz#a:b", False),
        ("git@h:r.git", False),
        ("git@h:r.git#v1:a/b", True),
        ("ssh://git@h:22/r", False),
    ],
)
def test_folder_of_a_git_context(url: str, has_folder: bool) -> None:
    assert bool(_GIT_FOLDER.match(url)) is has_folder
