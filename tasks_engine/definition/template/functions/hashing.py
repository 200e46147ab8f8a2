"""Sprig's checksums, and passwords derived from a master password."""

from __future__ import annotations

from tasks_engine.definition.template.functions.octets import to_bytes
from tasks_engine.definition.template.functions.signatures import COUNTER, TEXT, Takes, callables
from tasks_engine.definition.template.values import Function, FunctionError

#: deriving takes a fifth of a second and 32 MiB, on purpose
_MOST_DERIVED = 20
_SCRYPT_MEMORY = 64 * 1024 * 1024
_SCOPE = b"com.lyndir.masterpassword"

#: which class of characters stands at each place; the key chooses one of the patterns
_PATTERNS = {
    "maximum": "anoxxxxxxxxxxxxxxxxx axxxxxxxxxxxxxxxxxno",
    "long": (
        "CvcvnoCvcvCvcv CvcvCvcvnoCvcv CvcvCvcvCvcvno CvccnoCvcvCvcv CvccCvcvnoCvcv CvccCvcvCvcvno CvcvnoCvccCvcv "
        "CvcvCvccnoCvcv CvcvCvccCvcvno CvcvnoCvcvCvcc CvcvCvcvnoCvcc CvcvCvcvCvccno CvccnoCvccCvcv CvccCvccnoCvcv "
        "CvccCvccCvcvno CvcvnoCvccCvcc CvcvCvccnoCvcc CvcvCvccCvccno CvccnoCvcvCvcc CvccCvcvnoCvcc CvccCvcvCvccno"
    ),
    "medium": "CvcnoCvc CvcCvcno",
    "short": "Cvcn",
    "basic": "aaanaaan aannaaan aaannaaa",
    "pin": "nnnn",
}
_VOWELS, _CONSONANTS, _DIGITS = "aeiou", "bcdfghjklmnpqrstvwxyz", "0123456789"
_LETTERS = _VOWELS.upper() + _VOWELS + _CONSONANTS.upper() + _CONSONANTS
_CHARACTERS = {
    "V": _VOWELS.upper(),
    "C": _CONSONANTS.upper(),
    "v": _VOWELS,
    "c": _CONSONANTS,
    "a": _LETTERS,
    "n": _DIGITS,
    "o": "@&%?,=[]_:-+*$#!'^~;()/.",
    "x": f"{_LETTERS}{_DIGITS}!@#$%^&*()",
}


def sha1(text: str) -> str:
    import hashlib

    return hashlib.sha1(to_bytes(text), usedforsecurity=False).hexdigest()


def sha256(text: str) -> str:
    import hashlib

    return hashlib.sha256(to_bytes(text)).hexdigest()


def adler32(text: str) -> str:
    import zlib

    return str(zlib.adler32(to_bytes(text)))


def derive_password(counter: int, kind: str, password: str, user: str, site: str) -> str:
    """A password that follows from a master password by the Master Password algorithm."""
    import hashlib
    import hmac

    if kind not in _PATTERNS:
        return f"cannot find password template {kind}"
    key = hashlib.scrypt(
        to_bytes(password), salt=_SCOPE + _sized(user), n=32768, r=8, p=2, dklen=64, maxmem=_SCRYPT_MEMORY
    )
    seed = hmac.digest(key, _SCOPE + _sized(site) + counter.to_bytes(4, "big"), "sha256")
    patterns = _PATTERNS[kind].split()
    pattern = patterns[seed[0] % len(patterns)]
    classes = [_CHARACTERS[each] for each in pattern]
    return "".join(each[octet % len(each)] for each, octet in zip(classes, seed[1:], strict=False))


def costly_functions() -> dict[str, Function]:
    """The functions that may only be called a few times, which are counted from here."""
    called = 0

    def derive(counter: int, kind: str, password: str, user: str, site: str) -> str:
        nonlocal called
        called += 1
        if called > _MOST_DERIVED:
            raise FunctionError(f"it takes long, so a file may use it {_MOST_DERIVED} times")
        return derive_password(counter, kind, password, user, site)

    return callables({"derivePassword": Takes(derive, COUNTER, TEXT, TEXT, TEXT, TEXT)})


def _sized(text: str) -> bytes:
    octets = to_bytes(text)
    return len(octets).to_bytes(4, "big") + octets


SIGNATURES = {
    "sha1sum": Takes(sha1, TEXT),
    "sha256sum": Takes(sha256, TEXT),
    "adler32sum": Takes(adler32, TEXT),
}
