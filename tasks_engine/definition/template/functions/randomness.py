"""Random functions that give the same for the same seed: a run must be rendered twice to the same text."""

from __future__ import annotations

from tasks_engine.definition.template.functions.bounds import check_text_length
from tasks_engine.definition.template.functions.ciphers import encrypt_aes
from tasks_engine.definition.template.functions.signatures import TEXT, WHOLE, Takes, callables
from tasks_engine.definition.template.values import Function

_DIGITS = b"0123456789"
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ASCII = bytes(range(32, 127))


class RandomStream:
    """Bytes that follow from a seed: SHA-256 of the seed and a counter, block after block."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._counter = 0
        self._rest = b""

    def take(self, count: int) -> bytes:
        from hashlib import sha256

        blocks = [self._rest]
        length = len(self._rest)
        key = sha256(b"random functions of a template\0" + self._seed.encode("utf-8", "surrogatepass"))
        while length < count:
            block = key.copy()
            block.update(self._counter.to_bytes(8, "big"))
            self._counter += 1
            blocks.append(block.digest())
            length += len(blocks[-1])
        taken = b"".join(blocks)
        self._rest = taken[count:]
        return taken[:count]

    def characters(self, alphabet: bytes, count: int) -> str:
        """So many characters, each as likely as any other; none for a negative count, as in Sprig."""
        check_text_length(count)
        even = 256 - 256 % len(alphabet)
        table = bytes(alphabet[octet % len(alphabet)] for octet in range(256))
        uneven = bytes(range(even, 256))
        drawn = b""
        while len(drawn) < count:
            missing = count - len(drawn)
            drawn += self.take(missing + missing // 2 + 16).translate(table, uneven)
        return drawn[: max(count, 0)].decode()

    def shuffled(self, text: str) -> str:
        """The characters of a text in any order, all orders as likely as 8 bytes for each choice allow."""
        characters = list(text)
        choices = self.take(8 * len(characters))
        for last in range(len(characters) - 1, 0, -1):
            other = int.from_bytes(choices[8 * last : 8 * last + 8], "big") % (last + 1)
            characters[last], characters[other] = characters[other], characters[last]
        return "".join(characters)

    def uuid4(self) -> str:
        octets = bytearray(self.take(16))
        octets[6] = octets[6] & 0x0F | 0x40
        octets[8] = octets[8] & 0x3F | 0x80
        digits = octets.hex()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def random_functions(seed: str) -> dict[str, Function]:
    """The functions that draw from a stream of their own, which begins with each call."""
    stream = RandomStream(seed)

    def characters(alphabet: bytes) -> Takes:
        return Takes(lambda count: stream.characters(alphabet, count), WHOLE)

    return callables(
        {
            "randAlpha": characters(_LETTERS),
            "randAlphaNum": characters(_LETTERS + _DIGITS),
            "randNumeric": characters(_DIGITS),
            "randAscii": characters(_ASCII),
            "shuffle": Takes(stream.shuffled, TEXT),
            "uuidv4": Takes(stream.uuid4),
            "encryptAES": Takes(lambda password, text: encrypt_aes(password, text, stream.take), TEXT, TEXT),
        }
    )
