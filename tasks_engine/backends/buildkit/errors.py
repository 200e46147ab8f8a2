"""What can go wrong between us and a BuildKit daemon, as one tree.

    BuildKitError
      ConnectError        no daemon there, or not one that speaks BuildKit
      ConnectionLost      it was there, and went away while building
        DaemonLost        the connection stands, but the daemon has been silent for too long
      BuildFailed         the author's build: a step, the Dockerfile, a missing image
      BuildCanceled       somebody called cancel()
        BuildTimedOut     the build took longer than it was given
      UnsupportedFeature  the daemon, or this client, can not do what was asked; nothing was begun
      ContextError        a file of ours could not be read or named
      ExportError         a result could not be written here
      SecretError         the value of a build secret could not be had
      SshError            an SSH agent or a private key could not be used
      CredentialError     a login or a token of a registry could not be had

Exceptions raised by a caller's own callbacks (events, credentials, sink) are not wrapped: they come out as
they are.
"""

from __future__ import annotations


class BuildKitError(Exception):
    """Base of all errors of this package; the text is meant for a user."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConnectError(BuildKitError):
    """No daemon at the address, or it is not BuildKit."""


class ConnectionLost(BuildKitError):
    """The connection to the daemon broke while a build ran; the daemon cancels such a build."""


class DaemonLost(ConnectionLost):
    """The daemon said nothing at all for the length of the watchdog, not even its health checks."""


class BuildCanceled(BuildKitError):
    """The build ended because `cancel` was called."""


class BuildTimedOut(BuildCanceled):
    """The build took longer than its time limit, and was cancelled."""


class UnsupportedFeature(BuildKitError):
    """The daemon, or this client, can not do what was asked. Nothing was begun."""

    def __init__(self, daemon: str, feature: str, way_out: str) -> None:
        """As in "the BuildKit daemon at <daemon> can not <feature>: <way_out>".

        `daemon` is empty when it is this client that can not.
        """
        self.what = f"{f'the BuildKit daemon at {daemon}' if daemon else 'this client'} can not {feature}"
        super().__init__(f"{self.what}: {way_out}")
        self.daemon = daemon
        self.feature = feature
        self.way_out = way_out


class ContextError(BuildKitError):
    """A file or folder on this side could not be sent."""


class ExportError(BuildKitError):
    """What the daemon sent back could not be written here, or must not be."""


class SecretError(BuildKitError):
    """The value of a build secret could not be had; the text never shows a value."""


class SshError(BuildKitError):
    """An SSH agent or a private key on this side could not be used."""


class CredentialError(BuildKitError):
    """A login or a token of a registry could not be had; the text never shows a password or a token."""

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{reason}; {hint}" if hint else reason)
        #: what is wrong, without the hint
        self.reason = reason
        #: how to fix it; empty when there is nothing to say
        self.hint = hint


class BuildFailed(BuildKitError):
    """The daemon could not build what the author wrote."""

    def __init__(
        self,
        message: str,
        *,
        dockerfile: str = "",
        line_range: tuple[int, int] | None = None,
        snippet: str = "",
        vertex_name: str = "",
        exit_code: int | None = None,
        last_output: bytes = b"",
    ) -> None:
        super().__init__(message)
        #: path of the Dockerfile; for one in a remote context, within that
        self.dockerfile = dockerfile
        #: first and last line of the instruction in the Dockerfile, counted from 1; None when not known
        self.line_range = line_range
        #: those lines
        self.snippet = snippet
        #: as BuildKit shows it, "[2/4] RUN make"; empty when no step had started
        self.vertex_name = vertex_name
        #: of the process in a RUN
        self.exit_code = exit_code
        #: the end of what the failed step printed, at most a few KiB
        self.last_output = last_output

    @property
    def dockerfile_line(self) -> int | None:
        """The first line of the instruction that failed."""
        return self.line_range[0] if self.line_range else None
