"""What registries answer instead of what was asked, as errors."""

from __future__ import annotations

from tasks_engine.errors import RegistryError

#: answers after which the same request may work later
_PASSING = (408, 429, 500, 502, 503, 504)


class Busy(RegistryError):
    """It may work later; the registry may have said when."""

    def __init__(self, message: str, retry_after_s: float | None, hint: str = "") -> None:
        super().__init__(message, hint=hint, retryable=True)
        self.retry_after_s = retry_after_s


class Refused(RegistryError):
    """The registry does not let us in."""

    def __init__(self, registry: str, *, has_login: bool) -> None:
        if has_login:
            super().__init__(
                f"registry {registry} refused the login", hint=f"log in again: docker login {registry}"
            )
        else:
            super().__init__(
                f"registry {registry} wants a login, and there is none",
                hint=f"run: docker login {registry}, or give the login with the run",
            )


def status_error(message: str, status: int, retry_after_s: float | None) -> RegistryError:
    """The error of a status; Busy where the same request may work later."""
    if status not in _PASSING:
        return RegistryError(message, hint="check the name of the registry and that it works")
    when = f" It asks to wait {retry_after_s:.0f} s." if retry_after_s else ""
    if status == 429:
        return Busy(
            message, retry_after_s, hint=f"it allows fewer requests, more of them with a login.{when}"
        )
    return Busy(message, retry_after_s, hint=f"the registry has trouble; try again later.{when}")
