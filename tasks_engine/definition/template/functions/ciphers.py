"""Sprig's `encryptAES` and `decryptAES`: AES in CBC mode, the key is the password's first 32 bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks_engine.definition.template.functions.encoding import decoded_base64
from tasks_engine.definition.template.functions.octets import from_bytes, to_bytes
from tasks_engine.definition.template.functions.signatures import TEXT, Takes
from tasks_engine.definition.template.values import FunctionError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CBC

_BLOCK = 16
_KEY = 32


def encrypt_aes(password: str, text: str, random_bytes: Callable[[int], bytes]) -> str:
    """The text in secret, as Base64 that begins with a random block; nothing for no text."""
    octets = to_bytes(text)
    if not octets:
        return ""
    padding = _BLOCK - len(octets) % _BLOCK
    start = random_bytes(_BLOCK)
    encryptor = _cipher(password, start).encryptor()
    encrypted = encryptor.update(octets + bytes([padding]) * padding) + encryptor.finalize()
    return base64.b64encode(start + encrypted).decode()


def decrypt_aes(password: str, encrypted: str) -> str:
    if not encrypted:
        return ""
    octets = decoded_base64(encrypted)
    if octets is None:
        raise FunctionError("the text is not Base64")
    if len(octets) < 2 * _BLOCK or len(octets) % _BLOCK:
        raise FunctionError("the text is not what encryptAES makes: its length is wrong")
    decryptor = _cipher(password, octets[:_BLOCK]).decryptor()
    decrypted = decryptor.update(octets[_BLOCK:]) + decryptor.finalize()
    if decrypted[-1] > len(decrypted):
        raise FunctionError("the password is wrong")
    return from_bytes(decrypted[: len(decrypted) - decrypted[-1]])


def _cipher(password: str, start: bytes) -> Cipher[CBC]:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CBC

    return Cipher(AES(to_bytes(password)[:_KEY].ljust(_KEY, b"\0")), CBC(start))


SIGNATURES = {"decryptAES": Takes(decrypt_aes, TEXT, TEXT)}
