"""An SSH agent made of private key files, for builds on machines where no agent runs.

Sources: draft-miller-ssh-agent for messages, RFC 4253, RFC 5656, RFC 8332 and RFC 8709 for keys and
signatures.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tasks_engine.backends.buildkit.build_secrets import read_regular_file, reason_of, shown
from tasks_engine.backends.buildkit.errors import SshError
from tasks_engine.backends.buildkit.ssh_agent import (
    FAILURE,
    IDENTITIES_ANSWER,
    REQUEST_IDENTITIES,
    SIGN_REQUEST,
    SIGN_RESPONSE,
    AgentConnection,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey

_RSA_SHA2_256 = 2
_RSA_SHA2_512 = 4
_MAX_KEY_BYTES = 64 * 1024
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_REFUSED = bytes([FAILURE])


class PrivateKeys:
    """Signs with keys of files, which are read once and stay in memory.

    ed25519, ECDSA on P-256, P-384 and P-521, and RSA with SHA-2; in OpenSSH's format or PEM, not encrypted.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises SshError for a file that is no such key."""
        self._paths = tuple(paths)
        self._identity_by_blob: dict[bytes, _Identity] = {}
        for path in self._paths:
            identity = _load(path)
            self._identity_by_blob.setdefault(identity.public_blob, identity)

    def __repr__(self) -> str:
        return f"PrivateKeys({list(self._paths)!r})"

    def open(self) -> AgentConnection:
        """A conversation; there is nothing to connect to."""
        return _KeysConnection(self._identity_by_blob)

    def check(self) -> None:
        """Does nothing: the keys were read when this object was made."""


@dataclass(frozen=True)
class _Identity:
    public_blob: bytes
    comment: bytes
    private_key: PrivateKey = field(repr=False)


class _KeysConnection:
    def __init__(self, identity_by_blob: dict[bytes, _Identity]) -> None:
        self._identity_by_blob = identity_by_blob

    def answer(self, request: bytes) -> bytes:
        kind = request[:1]
        if kind == bytes([REQUEST_IDENTITIES]):
            return self._list()
        if kind == bytes([SIGN_REQUEST]):
            return self._sign(request[1:])
        return _REFUSED

    def close(self) -> None:
        pass

    def _list(self) -> bytes:
        answer = bytes([IDENTITIES_ANSWER]) + len(self._identity_by_blob).to_bytes(4, "big")
        for identity in self._identity_by_blob.values():
            answer += _string(identity.public_blob) + _string(identity.comment)
        return answer

    def _sign(self, body: bytes) -> bytes:
        try:
            public_blob, body = _take_string(body)
            data, body = _take_string(body)
        except ValueError:
            return _REFUSED
        flags = int.from_bytes(body, "big")
        identity = self._identity_by_blob.get(public_blob)
        if len(body) != 4 or identity is None or flags & ~(_RSA_SHA2_256 | _RSA_SHA2_512):
            return _REFUSED
        try:
            signature = _signature(identity.private_key, data, flags)
        except ValueError:
            # An RSA key too short for the hash.
            return _REFUSED
        return bytes([SIGN_RESPONSE]) + _string(signature) if signature else _REFUSED


def _load(path: Path) -> _Identity:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
        load_ssh_private_key,
    )

    name = shown(path)
    try:
        data = read_regular_file(path, _MAX_KEY_BYTES)
    except (OSError, ValueError) as error:
        raise SshError(f"the SSH key {name} cannot be read: {reason_of(error)}") from error
    load = load_ssh_private_key if b"BEGIN OPENSSH PRIVATE KEY" in data else load_pem_private_key
    # What the library says is left out of the errors: it speaks of the content.
    try:
        key = load(data, None)
    except TypeError:
        raise SshError(
            f"the SSH key {name} is encrypted; add it to an agent, with: ssh-add {name}, and give the agent instead"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SshError(
            f"{name} is no private key that can be used; it takes ed25519, ECDSA or RSA, in OpenSSH's format or PEM"
        ) from None
    is_known = isinstance(key, Ed25519PrivateKey | RSAPrivateKey) or (
        isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _CURVES
    )
    if not is_known:
        raise SshError(
            f"the SSH key {name} is of a kind that is not supported; use ed25519, ECDSA on P-256, P-384 or P-521, or "
            "RSA"
        )
    assert isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey)
    text = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    comment = path.name.encode("utf-8", "surrogateescape")
    return _Identity(base64.b64decode(text.split()[1]), comment, key)


def _signature(key: PrivateKey, data: bytes, flags: int) -> bytes:
    """In SSH's form; empty when the key must not sign so."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if isinstance(key, RSAPrivateKey):
        if flags & _RSA_SHA2_512:
            return _string(b"rsa-sha2-512") + _string(key.sign(data, PKCS1v15(), hashes.SHA512()))
        if flags & _RSA_SHA2_256:
            return _string(b"rsa-sha2-256") + _string(key.sign(data, PKCS1v15(), hashes.SHA256()))
        # Without a flag it would be SHA-1, whose signatures can be forged.
        return b""
    if isinstance(key, EllipticCurvePrivateKey):
        # RFC 5656, 6.2.1: the hash goes by the size of the curve.
        size = key.key_size
        algorithm = hashes.SHA256() if size == 256 else hashes.SHA384() if size == 384 else hashes.SHA512()
        r, s = decode_dss_signature(key.sign(data, ECDSA(algorithm)))
        return _string(b"ecdsa-sha2-nistp%d" % size) + _string(_mpint(r) + _mpint(s))
    return _string(b"ssh-ed25519") + _string(key.sign(data))


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _mpint(number: int) -> bytes:
    """A positive number; the room of one bit more keeps the sign bit clear."""
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _take_string(body: bytes) -> tuple[bytes, bytes]:
    """The first string and what follows it; raises ValueError."""
    end = 4 + int.from_bytes(body[:4], "big")
    if len(body) < max(end, 4):
        raise ValueError("truncated")
    return body[4:end], body[end:]
