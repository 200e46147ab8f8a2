"""Secrets of Azure Key Vault, read with Azure's own libraries, which are an extra of this package.

Source: Azure's documentation, "About Azure Key Vault keys, secrets and certificates".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tasks_engine.backends.patience import PASSING_STATUSES, PATIENT, Patience
from tasks_engine.errors import SecretError

if TYPE_CHECKING:  # an extra
    from azure.core.credentials import TokenCredential

_FORM = "https://VAULT.vault.azure.net/secrets/NAME or …/NAME/VERSION"
_PUBLIC_CLOUD = "vault.azure.net"
_LIMIT_OF_TOOLS_S = 10


@dataclass(frozen=True)
class KeyVaultAddress:
    #: https://HOST
    vault: str
    name: str
    #: empty: the newest one
    version: str
    #: what a token is asked for: https://HOST without its first part
    resource: str


def parse_key_vault_address(address: str) -> KeyVaultAddress:
    """Of an https address, or `keyvault:VAULT/NAME[/VERSION]` for one in Azure's public cloud. Raises SecretError.

    Names are compared without case there, so that the whole address is taken in lower case.
    """
    given = address.lower()
    if given.startswith("keyvault:"):
        given = given.partition(":")[2].removeprefix("//")
        if not given.startswith("https://"):
            vault, _, name = given.partition("/")
            host = vault if "." in vault else f"{vault}.{_PUBLIC_CLOUD}"
            given = f"https://{host}/secrets/{name}"
    try:
        parts = urlsplit(given)
        _ = parts.port
    except ValueError:
        raise _no_address(address) from None
    path = parts.path.removesuffix("/").split("/")
    domain = parts.netloc.partition(".")[2]
    is_secret = len(path) in (3, 4) and path[:2] == ["", "secrets"] and all(path[2:])
    if parts.scheme != "https" or not domain or "@" in parts.netloc or not is_secret:
        raise _no_address(address)
    if parts.query or parts.fragment:
        raise _no_address(address)
    version = path[3] if len(path) == 4 else ""
    return KeyVaultAddress(f"https://{parts.netloc}", path[2], version, f"https://{domain}")


def _no_address(address: str) -> SecretError:
    return SecretError(f"'{address}' is no address of a secret in Azure Key Vault", hint=_FORM)


def find_identity(client_id: str) -> TokenCredential:
    """The managed identity with a client id; without one whatever Azure's libraries find: the environment, a workload
    identity, the machine's managed identity, a login of Azure's command line. Close it.
    """
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    if client_id:
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential(process_timeout=_LIMIT_OF_TOOLS_S)


@dataclass(frozen=True)
class KeyVaultResolver:
    """`https://VAULT.vault.azure.net/secrets/NAME[/VERSION]`; `client_id` is a user-assigned managed identity's.

    `identity` makes what asks for tokens; `options` are further ones of Azure's client, such as `transport`.
    """

    identity: Callable[[str], TokenCredential] = find_identity
    patience: Patience = PATIENT
    options: dict[str, Any] = field(default_factory=dict)

    def resolve(self, address: str, client_id: str) -> bytes:
        wanted = parse_key_vault_address(address)
        _need_libraries()
        with _told(wanted):
            return self.patience.call(lambda: self._read(wanted, client_id))

    def _read(self, wanted: KeyVaultAddress, client_id: str) -> bytes:
        from azure.core.exceptions import AzureError
        from azure.keyvault.secrets import SecretClient

        identity = self.identity(client_id)
        try:
            client = SecretClient(
                wanted.vault,
                identity,
                permit_redirects=False,
                retry_total=0,
                connection_timeout=self.patience.request_s,
                read_timeout=self.patience.request_s,
                **self.options,
            )
            with client:
                value = client.get_secret(wanted.name, wanted.version or None).value
        except AzureError as error:
            raise _explained(error, wanted) from None
        finally:
            close = getattr(identity, "close", None)
            if close is not None:
                close()
        if value is None:
            raise SecretError(f"'{wanted.name}' in {wanted.vault} has no value")
        return value.encode()


def _need_libraries() -> None:
    import logging

    try:
        import azure.identity
        import azure.keyvault.secrets  # noqa: F401
    except ImportError:
        raise SecretError(
            "secrets of Azure Key Vault need libraries that are not installed",
            hint="install them: pip install 'tasks-engine[azure]'",
        ) from None
    # what these libraries warn of comes as an error too; without a handler it would be printed between our lines
    logger = logging.getLogger("azure")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _explained(error: Any, wanted: KeyVaultAddress) -> SecretError:
    """The error in our words: theirs may quote requests and answers."""
    from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError, ServiceResponseError

    status = getattr(error, "status_code", None)
    if status == 403:
        return SecretError(
            f"{wanted.vault} does not let this identity read '{wanted.name}'",
            hint="give it the role 'Key Vault Secrets User', or 'Get' in the vault's access policies",
        )
    if status == 404:
        version = f" in version {wanted.version}" if wanted.version else ""
        return SecretError(f"{wanted.vault} has no secret '{wanted.name}'{version}")
    if isinstance(error, ClientAuthenticationError):
        return SecretError(
            f"there is no identity that {wanted.vault} accepts",
            hint="give the machine a managed identity (clientID names one of several), set AZURE_TENANT_ID, "
            "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or run: az login",
        )
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return SecretError(f"{wanted.vault} cannot be reached or does not answer", retryable=True)
    if status in PASSING_STATUSES:
        return SecretError(
            f"{wanted.vault} failed to read '{wanted.name}' (HTTP status {status})", retryable=True
        )
    shown = f"HTTP status {status}" if status else type(error).__name__
    return SecretError(f"{wanted.vault} failed to read '{wanted.name}' ({shown})")


@contextmanager
def _told(wanted: KeyVaultAddress) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        # such as a vault that sends us for a token of another domain
        raise SecretError(f"{wanted.vault} cannot be asked ({type(error).__name__})") from None
