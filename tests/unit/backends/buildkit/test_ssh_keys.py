from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tasks_engine.backends.buildkit.errors import SshError
from tasks_engine.backends.buildkit.ssh_agent import Agent, parse_ssh, serve
from tasks_engine.backends.buildkit.ssh_keys import PrivateKeys

DATA = b"what is signed"
FAILURE = b"\x05"
SHA256_FLAG, SHA512_FLAG = 2, 4
CURVES = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}
RSA_KEY = rsa.generate_private_key(65537, 2048)


def generate(kind: str):
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return RSA_KEY if kind == "rsa" else ec.generate_private_key(CURVES[kind])


def write(path: Path, key, form: PrivateFormat = PrivateFormat.OpenSSH, password: bytes = b"") -> Path:
    protection = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, form, protection))
    path.chmod(0o600)
    return path


def blob_of(key) -> bytes:
    text = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(text.split()[1])


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def strings(data: bytes) -> list[bytes]:
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        found.append(data[4:end])
        data = data[end:]
    return found


def ask(agent: Agent, request: bytes) -> bytes:
    connection = agent.open()
    try:
        return connection.answer(request)
    finally:
        connection.close()


def sign(agent: Agent, key, flags: int = 0, data: bytes = DATA) -> bytes:
    return ask(agent, b"\x0d" + string(blob_of(key)) + string(data) + flags.to_bytes(4, "big"))


def signature_in(answer: bytes) -> list[bytes]:
    """Algorithm and signature."""
    assert answer[0] == 14
    (signature,) = strings(answer[1:])
    return strings(signature)


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        *((kind, PrivateFormat.OpenSSH) for kind in ("ed25519", "256", "384", "521", "rsa")),
        *((kind, PrivateFormat.PKCS8) for kind in ("ed25519", "256", "384", "521", "rsa")),
        *((kind, PrivateFormat.TraditionalOpenSSL) for kind in ("256", "384", "521", "rsa")),
    ],
)
def test_keys_are_listed_with_blob_and_file_name(tmp_path: Path, kind: str, form: PrivateFormat) -> None:
    key = generate(kind)
    answer = ask(PrivateKeys([write(tmp_path / "id_test", key, form)]), b"\x0b")
    assert answer[:5] == b"\x0c\x00\x00\x00\x01"
    assert strings(answer[5:]) == [blob_of(key), b"id_test"]


def test_several_keys_are_listed_in_order_and_each_once(tmp_path: Path) -> None:
    first, second = generate("ed25519"), generate("256")
    paths = [
        write(tmp_path / "a", first),
        write(tmp_path / "b", second),
        write(tmp_path / "c", first, PrivateFormat.PKCS8),
    ]
    answer = ask(PrivateKeys(paths), b"\x0b")
    assert strings(answer[5:]) == [blob_of(first), b"a", blob_of(second), b"b"]


def test_ed25519_signature_is_valid(tmp_path: Path) -> None:
    key = generate("ed25519")
    name, signature = signature_in(sign(PrivateKeys([write(tmp_path / "k", key)]), key))
    assert name == b"ssh-ed25519"
    key.public_key().verify(signature, DATA)
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, DATA + b"!")


@pytest.mark.parametrize(
    ("size", "algorithm"), [("256", hashes.SHA256()), ("384", hashes.SHA384()), ("521", hashes.SHA512())]
)
def test_ecdsa_signatures_are_valid(tmp_path: Path, size: str, algorithm: hashes.HashAlgorithm) -> None:
    key = generate(size)
    agent = PrivateKeys([write(tmp_path / "k", key)])
    # Several, as numbers with their highest bit set want one byte more.
    for _ in range(16):
        name, signature = signature_in(sign(agent, key))
        assert name == f"ecdsa-sha2-nistp{size}".encode()
        numbers = strings(signature)
        assert all(each[0] < 0x80 and (each[0] or each[1] >= 0x80) for each in numbers)
        r, s = (int.from_bytes(each, "big") for each in numbers)
        key.public_key().verify(encode_dss_signature(r, s), DATA, ec.ECDSA(algorithm))


@pytest.mark.parametrize(
    ("flags", "name", "algorithm"),
    [
        (SHA256_FLAG, b"rsa-sha2-256", hashes.SHA256()),
        (SHA512_FLAG, b"rsa-sha2-512", hashes.SHA512()),
        (SHA256_FLAG | SHA512_FLAG, b"rsa-sha2-512", hashes.SHA512()),
    ],
)
def test_rsa_signatures_go_by_the_flags(
    tmp_path: Path, flags: int, name: bytes, algorithm: hashes.HashAlgorithm
) -> None:
    found, signature = signature_in(sign(PrivateKeys([write(tmp_path / "k", RSA_KEY)]), RSA_KEY, flags))
    assert found == name
    RSA_KEY.public_key().verify(signature, DATA, padding.PKCS1v15(), algorithm)


def test_rsa_signature_with_sha1_is_refused(tmp_path: Path) -> None:
    assert sign(PrivateKeys([write(tmp_path / "k", RSA_KEY)]), RSA_KEY, 0) == FAILURE


def test_unknown_flags_are_refused(tmp_path: Path) -> None:
    key = generate("ed25519")
    agent = PrivateKeys([write(tmp_path / "k", key)])
    assert [sign(agent, key, flags) for flags in (1, 8, 1 << 31)] == [FAILURE] * 3


def test_foreign_key_is_refused(tmp_path: Path) -> None:
    assert sign(PrivateKeys([write(tmp_path / "k", generate("ed25519"))]), generate("ed25519")) == FAILURE


def test_damaged_and_other_requests_are_refused(tmp_path: Path) -> None:
    key = generate("ed25519")
    agent = PrivateKeys([write(tmp_path / "k", key)])
    whole = b"\x0d" + string(blob_of(key)) + string(DATA) + bytes(4)
    requests = [whole[:cut] for cut in range(1, len(whole))]
    requests += [whole + b"\0", b"\x0d\xff\xff\xff\xff", b"", b"\x11", b"\x13", b"\x1b"]
    assert {ask(agent, request) for request in requests} == {FAILURE}
    assert ask(agent, whole) != FAILURE


def test_threads_may_sign_at_the_same_time(tmp_path: Path) -> None:
    key = generate("ed25519")
    agent = PrivateKeys([write(tmp_path / "k", key)])
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: sign(agent, key, data=b"%d" % number), range(40)))
    for number, answer in enumerate(answers):
        key.public_key().verify(signature_in(answer)[1], b"%d" % number)


def test_keys_stay_usable_when_the_files_are_gone(tmp_path: Path) -> None:
    key = generate("ed25519")
    path = write(tmp_path / "k", key)
    agent = PrivateKeys([path])
    path.unlink()
    agent.check()
    key.public_key().verify(signature_in(sign(agent, key))[1], DATA)


def test_encrypted_pem_key_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path / "locked", generate("ed25519"), PrivateFormat.PKCS8, b"hunter2")
    with pytest.raises(SshError, match=rf"{path} is encrypted; add it to an agent, with: ssh-add"):
        PrivateKeys([path])


def test_encrypted_openssh_key_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """By hand, as writing a real one needs bcrypt. Source: OpenSSH's PROTOCOL.key."""
    kdf_options = string(bytes(16)) + (16).to_bytes(4, "big")
    content = b"openssh-key-v1\0" + string(b"aes256-ctr") + string(b"bcrypt") + string(kdf_options)
    content += (1).to_bytes(4, "big") + string(blob_of(generate("ed25519"))) + string(bytes(144))
    path = tmp_path / "locked"
    path.write_bytes(
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
        + base64.encodebytes(content)
        + b"-----END OPENSSH PRIVATE KEY-----\n"
    )
    with pytest.raises(SshError, match=rf"{path} is encrypted; add it to an agent, with: ssh-add"):
        PrivateKeys([path])


def test_key_that_openssh_encrypted_is_refused(tmp_path: Path) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed")
    path = tmp_path / "locked"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", "hunter2", "-f", str(path)],
        check=True,
        timeout=20,
    )
    with pytest.raises(SshError, match="is encrypted"):
        PrivateKeys([path])


@pytest.mark.parametrize("content", [b"", b"hunter2", b"ssh-ed25519 AAAA hunter2", b"\0" * 100_000])
def test_other_file_is_refused_without_its_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "no_key"
    path.write_bytes(content)
    with pytest.raises(SshError, match=rf"{path} is no private key") as caught:
        PrivateKeys([path])
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8])
def test_damaged_key_is_refused(tmp_path: Path, form: PrivateFormat) -> None:
    path = write(tmp_path / "k", generate("ed25519"), form)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:20] + b"\n", lines[-1]]))
    with pytest.raises(SshError, match="is no private key that can be used"):
        PrivateKeys([path])


def test_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "k", ec.generate_private_key(ec.SECP256K1()), PrivateFormat.PKCS8)
    with pytest.raises(SshError, match=r"is of a kind that is not supported; use ed25519"):
        PrivateKeys([path])


def test_missing_key_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(SshError, match=rf"{tmp_path}/gone cannot be read: No such file"):
        PrivateKeys([tmp_path / "gone"])


def test_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SshError, match="not a regular file"):
        PrivateKeys([tmp_path / "pipe"])


def test_repr_shows_paths_and_no_key(tmp_path: Path) -> None:
    path = write(tmp_path / "k", generate("ed25519"))
    assert repr(PrivateKeys([path])) == f"PrivateKeys([{path!r}])"


def test_key_files_stand_behind_an_id(tmp_path: Path) -> None:
    first, second = generate("ed25519"), generate("256")
    paths = [write(tmp_path / "a", first), write(tmp_path / "b", second)]
    agent_id, agent = parse_ssh(f"mine={paths[0]},{paths[1]}")
    assert agent_id == "mine"
    assert strings(ask(agent, b"\x0b")[5:]) == [blob_of(first), b"a", blob_of(second), b"b"]


class Served:
    """An agent behind a unix socket, the way a build sees it."""

    def __init__(self, agent: Agent, path: Path) -> None:
        self.path = path
        self._agent = agent
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            with caller:
                for answer in serve(self._agent, iter(lambda: caller.recv(4096), b"")):  # noqa: B023
                    caller.sendall(answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a path short enough for sockets."""
    path = tempfile.mkdtemp(dir="/tmp")
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture
def openssh(folder: Path) -> Iterator[object]:
    """Runs a program of OpenSSH against an agent made of key files."""
    served: list[Served] = []

    def run(agent: Agent, *command: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        if not shutil.which(command[0]):
            pytest.skip(f"{command[0]} is not installed")
        if not served:
            served.append(Served(agent, folder / "agent"))
        environ = {"SSH_AUTH_SOCK": str(served[0].path), "PATH": os.environ["PATH"], "HOME": str(folder)}
        return subprocess.run(
            command, env=environ, capture_output=True, timeout=20, check=False, cwd=folder, **options
        )

    yield run
    for each in served:
        each.close()


@pytest.mark.parametrize("kind", ["ed25519", "256", "384", "521", "rsa"])
def test_openssh_lists_the_key(openssh, folder: Path, kind: str) -> None:
    key = generate(kind)
    agent = PrivateKeys([write(folder / "id_test", key)])
    expected = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" id_test"
    assert openssh(agent, "ssh-add", "-L").stdout.strip() == expected
    assert b"id_test" in openssh(agent, "ssh-add", "-l").stdout


@pytest.mark.parametrize("kind", ["ed25519", "256", "384", "521", "rsa"])
def test_openssh_accepts_what_was_signed_through_the_agent(openssh, folder: Path, kind: str) -> None:
    key = generate(kind)
    agent = PrivateKeys([write(folder / "hidden", key)])
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    (folder / "key.pub").write_bytes(public + b"\n")
    (folder / "signers").write_bytes(b"me " + public + b"\n")
    (folder / "text").write_bytes(DATA)
    signed = openssh(agent, "ssh-keygen", "-Y", "sign", "-n", "test", "-f", "key.pub", "text")
    assert signed.returncode == 0, signed.stderr
    verify = ("ssh-keygen", "-Y", "verify", "-n", "test", "-f", "signers", "-I", "me", "-s", "text.sig")
    assert openssh(agent, *verify, input=DATA).returncode == 0
    assert openssh(agent, *verify, input=DATA + b"!").returncode != 0


def test_openssh_cannot_add_or_remove_keys(openssh, folder: Path) -> None:
    agent = PrivateKeys([write(folder / "first", generate("ed25519"))])
    write(folder / "second", generate("ed25519"))
    before = openssh(agent, "ssh-add", "-L").stdout
    assert openssh(agent, "ssh-add", "second").returncode != 0
    assert openssh(agent, "ssh-add", "-D").returncode != 0
    assert openssh(agent, "ssh-add", "-L").stdout == before != b""


def test_openssh_agent_is_forwarded_and_stays_as_it_is(folder: Path) -> None:
    """A real agent behind `serve`: lists and signs, takes no key."""
    for program in ("ssh-agent", "ssh-add"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    key = generate("ed25519")
    write(folder / "k", key)
    write(folder / "other", generate("ed25519"))
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(folder / "real")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout
        # It says where it listens once it does.
        assert b"SSH_AUTH_SOCK" in process.stdout.readline()
        environ = {"SSH_AUTH_SOCK": str(folder / "real"), "PATH": os.environ["PATH"], "HOME": str(folder)}
        subprocess.run(["ssh-add", "-q", str(folder / "k")], env=environ, check=True, timeout=20)
        _, agent = parse_ssh(f"default={folder}/real")
        agent.check()
        key.public_key().verify(signature_in(sign(agent, key))[1], DATA)
        served = Served(agent, folder / "served")
        try:
            environ["SSH_AUTH_SOCK"] = str(served.path)
            added = subprocess.run(
                ["ssh-add", str(folder / "other")], env=environ, capture_output=True, timeout=20, check=False
            )
            assert added.returncode != 0
        finally:
            served.close()
        assert ask(agent, b"\x0b")[:5] == b"\x0c\x00\x00\x00\x01"
    finally:
        process.terminate()
        process.communicate(timeout=20)
