"""Which real services the tests may use; `make test` starts them and says where they are."""

from __future__ import annotations

import os

import pytest


def require(variable: str) -> str:
    """The address of a service. Without it the test is skipped on a laptop and fails in CI."""
    address = os.environ.get(variable, "")
    if not address:
        message = f"{variable} is not set: `make test` starts the services"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return address
