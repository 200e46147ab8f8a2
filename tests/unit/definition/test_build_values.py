from __future__ import annotations

import pytest

from tasks_engine.definition.build_attributes import (
    Attestation,
    BuildOutput,
    BuildSecret,
    CacheEntry,
    csv_fields,
    read_attestation,
    read_cache,
    read_output,
    read_provenance,
    read_secret,
)
from tasks_engine.definition.build_values import (
    Annotation,
    HostEntry,
    InvalidValue,
    SshForward,
    Ulimit,
    read_annotation,
    read_entitlement,
    read_host,
    read_named_context,
    read_network,
    read_platforms,
    read_size,
    read_ssh,
    read_ulimit,
)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", []),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("a,,b,", ["a", "", "b", ""]),
        ('"a,b",c', ["a,b", "c"]),
        ('"a""b"', ['a"b']),
        ('"",x', ["", "x"]),
        (" a ,b", [" a ", "b"]),
        ('"a\nb"', ["a\nb"]),
    ],
)
def test_csv(text: str, fields: list[str]) -> None:
    assert csv_fields(text) == fields


@pytest.mark.parametrize("text", ['a"b', '"a', '"a"b', '"a"",b', 'a,"', '"""'])
def test_misplaced_quotes_in_csv_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="misplaced quote"):
        csv_fields(text)


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("id=a", BuildSecret("a")),
        ("id=a,src=f", BuildSecret("a", file="f")),
        ("id=a,source=f,type=file", BuildSecret("a", file="f")),
        ("id=a,env=V", BuildSecret("a", env="V")),
        ("type=env,id=a", BuildSecret("a")),
        ("type=env,id=a,src=V", BuildSecret("a", env="V")),
        ("ID=a,Src=f", BuildSecret("a", file="f")),
        ('id=a,"src=f,g"', BuildSecret("a", file="f,g")),
        ("id=a,src=f=g", BuildSecret("a", file="f=g")),
    ],
)
def test_secrets(value: str, secret: BuildSecret) -> None:
    assert read_secret(value) == (secret,)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a", "takes key=value, not 'a'"),
        ("src=f", "needs an id"),
        ("id=,src=f", "needs an id"),
        ("id=a,file=f", "knows no 'file'"),
        ("id=a,type=disk", "knows no type 'disk'"),
    ],
)
def test_wrong_secrets(value: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        read_secret(value)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        ("", ()),
        ("a/b:c", (CacheEntry("registry", {"ref": "a/b:c"}),)),
        ("a,b", (CacheEntry("registry", {"ref": "a"}), CacheEntry("registry", {"ref": "b"}))),
        ("type=registry,ref=a,mode=max", (CacheEntry("registry", {"ref": "a", "mode": "max"}),)),
        ("TYPE=local,dest=d", (CacheEntry("local", {"dest": "d"}),)),
    ],
)
def test_caches(value: str, entries: tuple[CacheEntry, ...]) -> None:
    assert read_cache(value) == entries


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ref=a", "needs a type"),
        ("type=registry", "needs an image"),
        ("type=registry,a", "takes key=value, not 'a'"),
    ],
)
def test_wrong_caches(value: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        read_cache(value)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("out", BuildOutput("local", "out")),
        ("-", BuildOutput("tar", "-")),
        ("type=local,dest=out", BuildOutput("local", "out")),
        ("type=tar,dest=-", BuildOutput("tar", "-")),
        ("type=image, Name=a,push=true", BuildOutput("image", "", {"name": "a", "push": "true"})),
        ('type=docker,"dest=a,b"', BuildOutput("docker", "a,b")),
    ],
)
def test_outputs(value: str, output: BuildOutput) -> None:
    assert read_output(value) == (output,)


@pytest.mark.parametrize("value", ["dest=out,name=x", "type="])
def test_an_output_needs_a_type(value: str) -> None:
    with pytest.raises(InvalidValue, match="needs a type"):
        read_output(value)


@pytest.mark.parametrize(
    ("output", "pushes"),
    [
        (BuildOutput("registry"), True),
        (BuildOutput("image", "", {"push": "true"}), True),
        (BuildOutput("image", "", {"push": "false"}), False),
        (BuildOutput("local", "x"), False),
    ],
)
def test_outputs_that_push(output: BuildOutput, pushes: bool) -> None:
    assert output.pushes is pushes


def test_attestations() -> None:
    assert read_attestation("type=sbom,disabled=true") == (Attestation("sbom", disabled=True),)
    assert read_attestation("type=provenance,mode=max") == (
        Attestation("provenance", attributes={"mode": "max"}),
    )
    assert read_provenance("mode=min,inline-only=true") == (
        Attestation("provenance", attributes={"mode": "min", "inline-only": "true"}),
    )
    with pytest.raises(InvalidValue, match="needs a type"):
        read_attestation("mode=max")
    with pytest.raises(InvalidValue, match="takes true or false"):
        read_attestation("type=sbom,disabled=x")


@pytest.mark.parametrize(
    "value",
    [
        "linux",
        "arm64",
        "aarch64",
        "Linux/AMD64",
        "linux/arm/v7",
        "local",
        "windows(10.0.17763)/amd64",
        "wasi/wasm",
        "linux/new-one",
    ],
)
def test_platforms(value: str) -> None:
    assert read_platforms(value) == (value,)


@pytest.mark.parametrize(
    "value", ["/amd64", "linux/", "linux//amd64", "lin ux/amd64", "linux/*", "local/amd64", "amd"]
)
def test_wrong_platforms(value: str) -> None:
    with pytest.raises(InvalidValue):
        read_platforms(value)


@pytest.mark.parametrize("value", ["default", "none", "host"])
def test_networks(value: str) -> None:
    assert read_network(value) == (value,)


def test_other_networks_are_refused() -> None:
    with pytest.raises(InvalidValue, match="cannot use network 'backend'"):
        read_network("backend")


@pytest.mark.parametrize(
    ("value", "forward"),
    [
        ("default", SshForward("default")),
        ("default=", SshForward("default")),
        ("key=a,b", SshForward("key", ("a", "b"))),
        ("key=$SSH_AUTH_SOCK", SshForward("key", ("$SSH_AUTH_SOCK",))),
    ],
)
def test_ssh(value: str, forward: SshForward) -> None:
    assert read_ssh(value) == (forward,)


@pytest.mark.parametrize(
    ("value", "name", "source"),
    [
        ("base=dir", "base", "dir"),
        ("docker.io/library/alpine:latest=docker-image://alpine:3", "alpine", "docker-image://alpine:3"),
        ("alpine:3=target:base", "alpine:3", "target:base"),
    ],
)
def test_named_contexts_are_called_what_a_dockerfile_calls_them(value: str, name: str, source: str) -> None:
    assert read_named_context(value) == ((name, source),)


@pytest.mark.parametrize("value", ["dir", "=dir", "BASE=dir"])
def test_wrong_named_contexts(value: str) -> None:
    with pytest.raises(InvalidValue):
        read_named_context(value)


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        ("db:10.0.0.1", (HostEntry("db", "10.0.0.1"),)),
        ("db=::1", (HostEntry("db", "::1"),)),
        ("db:::1", (HostEntry("db", "::1"),)),
        ("db=[::1]", (HostEntry("db", "::1"),)),
        ("h:host-gateway", (HostEntry("h", "host-gateway"),)),
        ("a:1.1.1.1,b:2.2.2.2", (HostEntry("a", "1.1.1.1"), HostEntry("b", "2.2.2.2"))),
    ],
)
def test_hosts(value: str, entries: tuple[HostEntry, ...]) -> None:
    assert read_host(value) == entries


@pytest.mark.parametrize("value", ["db", "db:", ":1.1.1.1", "db:localhost", "db:1.1.1", "a:b=1.1.1.1"])
def test_wrong_hosts(value: str) -> None:
    with pytest.raises(InvalidValue):
        read_host(value)


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        ("nofile=1024", Ulimit("nofile", 1024, 1024)),
        ("nofile=1024:2048", Ulimit("nofile", 1024, 2048)),
        ("core=-1", Ulimit("core", -1, -1)),
        ("core=0:-1", Ulimit("core", 0, -1)),
    ],
)
def test_limits(value: str, limit: Ulimit) -> None:
    assert read_ulimit(value) == (limit,)


@pytest.mark.parametrize(
    "value", ["nofile", "nofile=", "nofile=a", "files=1", "nofile=2:1", "nofile=-1:1", "nofile=1:2:3"]
)
def test_wrong_limits(value: str) -> None:
    with pytest.raises(InvalidValue):
        read_ulimit(value)


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        ("0", 0),
        ("100", 100),
        ("64b", 64),
        ("2k", 2048),
        ("2KB", 2048),
        ("2 KiB", 2048),
        ("128m", 128 << 20),
        ("1.5g", 3 << 29),
        ("1t", 1 << 40),
    ],
)
def test_sizes(value: str, size_bytes: int) -> None:
    assert read_size(value) == (size_bytes,)


@pytest.mark.parametrize("value", ["", "m", "-1", "1x", "1kk", "0x10", "1e3", "9" * 5000, "99999999p", "١"])
def test_wrong_sizes(value: str) -> None:
    with pytest.raises(InvalidValue):
        read_size(value)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ("a=b", Annotation("a", "b")),
        ("a=b:c", Annotation("a", "b:c")),
        ("index:a=", Annotation("a", "", ("index",))),
        ("index,manifest[linux/amd64]:a=b", Annotation("a", "b", ("index", "manifest[linux/amd64]"))),
    ],
)
def test_annotations(value: str, annotation: Annotation) -> None:
    assert read_annotation(value) == (annotation,)


@pytest.mark.parametrize("value", ["a", "=b", "index:=b", "other:a=b", "index[:a=b"])
def test_wrong_annotations(value: str) -> None:
    with pytest.raises(InvalidValue):
        read_annotation(value)


def test_entitlements() -> None:
    assert read_entitlement("network.host") == ("network.host",)
    assert read_entitlement("device=vendor/x") == ("device=vendor/x",)
    with pytest.raises(InvalidValue, match=r"knows no 'network\.hosts'"):
        read_entitlement("network.hosts")
