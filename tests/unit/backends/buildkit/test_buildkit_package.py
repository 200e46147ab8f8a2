from __future__ import annotations

import subprocess
import sys

import pytest

from tasks_engine.backends import buildkit


def test_importing_the_package_does_not_import_grpc() -> None:
    program = "import sys, tasks_engine.backends.buildkit; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", buildkit.__all__)
def test_public_names_exist(name: str) -> None:
    # Aliases of types belong to no module.
    assert getattr(buildkit, name).__module__.startswith((buildkit.__name__, "types", "collections.abc"))


def test_other_names_do_not() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        buildkit.nonsense  # noqa: B018 - the access is the test
