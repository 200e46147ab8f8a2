"""A managed identity of Azure: tokens from the endpoint that its machine has, and logins at registries for them.

Sources: Azure's documentation, "How to use managed identities on a virtual machine to acquire an access token" and
"How to use managed identities for App Service"; "Azure Container Registry integration with Microsoft Entra ID".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks_engine.backends.patience import PASSING_STATUSES, PATIENT, Patience
from tasks_engine.errors import RegistryError

if TYPE_CHECKING:
    import requests

#: who logs in with a refresh token
TOKEN_USER = "00000000-0000-0000-0000-000000000000"  # noqa: S105 - a name
_LINK_LOCAL = "http://169.254.169.254/metadata/identity/oauth2/token"
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")


@dataclass(frozen=True)
class _TokenRequest:
    url: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class ManagedIdentity:
    """Asks where IDENTITY_ENDPOINT or MSI_ENDPOINT say, else at the address that Azure's machines have."""

    environ: Mapping[str, str] = field(repr=False)
    patience: Patience = PATIENT
    #: of the registry's certificate; None: those that the machine trusts
    authority_file: Path | None = None

    def registry_password(self, registry: str, resource: str, client_id: str) -> str:
        """What `TOKEN_USER` logs in with at a registry: a refresh token, got for a token for `resource`.

        Raises RegistryError, whose message holds no token.
        """
        if not _REGISTRY.fullmatch(registry):
            raise RegistryError(f"'{registry}' is no name of a registry", hint="such as name.azurecr.io")
        token = self.patience.call(lambda: self._token(resource, client_id))
        return self.patience.call(lambda: self._exchanged(registry, token))

    def _token(self, resource: str, client_id: str) -> str:
        request = _token_request(self.environ, resource, client_id)
        what = "the endpoint of managed identities"
        answer = self._ask(
            what, "GET", request.url, params=request.parameters, headers=request.headers, is_local=True
        )
        return _text(answer, "access_token", what)

    def _exchanged(self, registry: str, token: str) -> str:
        what = f"registry {registry}"
        form = {"grant_type": "access_token", "service": registry, "access_token": token}
        answer = self._ask(what, "POST", f"https://{registry}/oauth2/exchange", data=form)
        return _text(answer, "refresh_token", what)

    def _ask(self, what: str, method: str, url: str, *, is_local: bool = False, **request: Any) -> object:
        import requests

        try:
            with requests.Session() as session:
                # a proxy is no way to an address of this machine
                session.trust_env = not is_local
                answer = session.request(
                    method,
                    url,
                    timeout=self.patience.request_s,
                    allow_redirects=False,
                    verify=str(self.authority_file) if self.authority_file else None,
                    **request,
                )
                return _checked(what, answer)
        except requests.exceptions.SSLError:
            raise RegistryError(
                f"no trusted connection to {what}", hint="REQUESTS_CA_BUNDLE names a file of authorities"
            ) from None
        except requests.exceptions.JSONDecodeError:
            raise RegistryError(f"{what} answered something else than JSON") from None
        except (requests.ConnectionError, requests.Timeout):
            hint = "a managed identity is had on Azure's machines only" if is_local else ""
            raise RegistryError(f"{what} cannot be reached", hint=hint, retryable=True) from None
        except (requests.RequestException, OSError, ValueError) as error:
            # their texts may quote the request
            raise RegistryError(f"{what} cannot be asked ({type(error).__name__})") from None


def _token_request(environ: Mapping[str, str], resource: str, client_id: str) -> _TokenRequest:
    app_service = environ.get("IDENTITY_ENDPOINT", "").strip()
    if app_service:
        identity = {"client_id": client_id} if client_id else {}
        return _TokenRequest(
            app_service,
            {"api-version": "2019-08-01", "resource": resource, **identity},
            {"X-IDENTITY-HEADER": environ.get("IDENTITY_HEADER", "")},
        )
    older = environ.get("MSI_ENDPOINT", "").strip()
    if older and environ.get("MSI_SECRET"):
        identity = {"clientid": client_id} if client_id else {}
        return _TokenRequest(
            older,
            {"api-version": "2017-09-01", "resource": resource, **identity},
            {"secret": environ["MSI_SECRET"]},
        )
    identity = {"client_id": client_id} if client_id else {}
    return _TokenRequest(
        older or _LINK_LOCAL,
        {"api-version": "2018-02-01", "resource": resource, **identity},
        {"Metadata": "true"},
    )


def _checked(what: str, answer: requests.Response) -> object:
    if answer.status_code == 200:
        return answer.json()
    if answer.is_redirect:
        raise RegistryError(f"{what} sends us to another address, which would get the token")
    hints = {
        400: "see whether the machine has this identity, and the resource",
        401: "see whether the identity may pull and push: role AcrPull or AcrPush",
        403: "see whether the identity may pull and push: role AcrPull or AcrPush",
        404: "see whether this is a registry of Azure",
    }
    raise RegistryError(
        f"{what} refused with HTTP status {answer.status_code}",
        hint=hints.get(answer.status_code, ""),
        retryable=answer.status_code in PASSING_STATUSES,
    )


def _text(answer: object, name: str, what: str) -> str:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, str) or not value:
        raise RegistryError(f"{what} answered without '{name}'")
    return value
