from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tasks_engine.backends.buildkit.errors import BuildKitError
from tasks_engine.backends.buildkit.solve import (
    BuildOptions,
    Cache,
    build_result,
    folders,
    inline_cache,
    registry_cache,
    shared_key,
    solve_request,
)


def options(**changes: object) -> BuildOptions:
    return BuildOptions(**{"context": Path("/c"), "dockerfile": Path("/d/Dockerfile.web"), **changes})  # type: ignore[arg-type]


def attrs_of(**changes: object) -> dict[str, str]:
    """Attributes of the frontend, but for those that say where the Dockerfile is."""
    attrs = dict(solve_request(options(**changes), ref="r").frontend_attrs)
    del attrs["filename"]
    attrs.pop("dockerfilekey", None)
    return attrs


def test_plain_build_says_only_its_dockerfile() -> None:
    request = solve_request(options(), ref="r")
    assert (request.ref, request.frontend) == ("r", "dockerfile.v0")
    name = next(name for name in folders(options()) if name.startswith("dockerfile-"))
    assert dict(request.frontend_attrs) == {"filename": "Dockerfile.web", "dockerfilekey": name}
    assert not request.exporters
    assert not request.exporter_deprecated
    assert not request.entitlements


@pytest.mark.parametrize(
    ("changes", "attrs"),
    [
        ({"build_args": {"A": "1"}}, {"build-arg:A": "1"}),
        ({"labels": {"l": "2"}}, {"label:l": "2"}),
        ({"target": "web"}, {"target": "web"}),
        ({"platforms": ["linux/amd64", "linux/arm64"]}, {"platform": "linux/amd64,linux/arm64"}),
        ({"no_cache": True}, {"no-cache": ""}),
        ({"no_cache": ["a", "b"]}, {"no-cache": "a,b"}),
        ({"no_cache": []}, {}),
        ({"pull": True}, {"image-resolve-mode": "pull"}),
        ({"prefer_local": True}, {"image-resolve-mode": "local"}),
        ({"pull": True, "prefer_local": True}, {"image-resolve-mode": "pull"}),
        ({"network": "host"}, {"force-network-mode": "host"}),
        ({"add_hosts": [("a", "1.2.3.4"), ("b", "[::1]")]}, {"add-hosts": "a=1.2.3.4,b=::1"}),
        ({"shm_size_bytes": 64}, {"shm-size": "64"}),
        ({"ulimits": {"nofile": (1, 2), "core": (0, -1)}}, {"ulimit": "nofile=1:2,core=0:-1"}),
        ({"cgroup_parent": "/x"}, {"cgroup-parent": "/x"}),
        ({"hostname": "h"}, {"hostname": "h"}),
        ({"provenance": "max"}, {"attest:provenance": "mode=max"}),
        ({"sbom_generator": "r.io/scan:1"}, {"attest:sbom": "generator=r.io/scan:1"}),
        ({"source_date_epoch": 0}, {"build-arg:SOURCE_DATE_EPOCH": "0"}),
        ({"contexts": {"base": "docker-image://r.io/a:1"}}, {"context:base": "docker-image://r.io/a:1"}),
        ({"context_folder": "sub"}, {"contextsubdir": "sub"}),
    ],
)
def test_every_option_has_its_attribute(changes: dict[str, object], attrs: dict[str, str]) -> None:
    assert attrs_of(**changes) == attrs


def test_values_with_commas_are_quoted() -> None:
    value = attrs_of(sbom_generator="a,b")["attest:sbom"]
    assert next(csv.reader([value])) == ["generator=a,b"]


def test_host_network_implies_its_entitlement() -> None:
    request = solve_request(options(network="host", entitlements=["security.insecure"]), ref="r")
    assert list(request.entitlements) == ["security.insecure", "network.host"]


def test_named_folder_is_shared_under_the_name_that_is_asked_for() -> None:
    built = options(contexts={"lib": Path("/lib")})
    name = attrs_of(contexts={"lib": Path("/lib")})["context:lib"].removeprefix("local:")
    assert folders(built)[name] == Path("/lib")
    assert folders(built)["context"] == Path("/c")


def test_remote_context_is_fetched_by_the_daemon() -> None:
    url = "https://host/repo.git#main:sub"
    remote = options(context=url, dockerfile="build/Dockerfile")
    attrs = solve_request(remote, ref="r").frontend_attrs
    assert dict(attrs) == {"context": url, "filename": "build/Dockerfile"}
    assert folders(remote) == {}


def test_remote_context_may_have_a_dockerfile_from_here() -> None:
    remote = options(context="https://host/x.tgz")
    attrs = solve_request(remote, ref="r").frontend_attrs
    assert folders(remote) == {attrs["dockerfilekey"]: Path("/d")}


def test_dockerfile_by_name_is_in_the_context() -> None:
    assert options(dockerfile="deep/D").local_dockerfile == Path("/c/deep/D")
    assert BuildOptions(Path("/c")).local_dockerfile == Path("/c/Dockerfile")


def test_cache_is_said_to_the_daemon_and_to_the_frontend() -> None:
    request = solve_request(
        options(
            cache_from=[registry_cache("r.io/c:1", insecure=True)],
            cache_to=[registry_cache("r.io/c:1", mode="max"), inline_cache(), Cache("local", {"dest": "/x"})],
        ),
        ref="r",
    )
    imported = {"ref": "r.io/c:1", "registry.insecure": "true"}
    assert [(each.type, dict(each.attrs)) for each in request.cache.imports] == [("registry", imported)]
    assert json.loads(request.frontend_attrs["cache-imports"]) == [{"Type": "registry", "Attrs": imported}]
    assert [(each.type, dict(each.attrs)) for each in request.cache.exports] == [
        ("registry", {"ref": "r.io/c:1", "mode": "max"}),
        ("inline", {}),
        ("local", {"dest": "/x"}),
    ]


def test_daemon_keeps_a_tree_for_each_context(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    key = shared_key(options(context=tmp_path))
    assert key == shared_key(options(context=tmp_path / "link", dockerfile="other", target="x"))
    assert key != shared_key(options(context=tmp_path / "other"))
    assert key != shared_key(options(context=tmp_path, shared_key="mine"))
    assert shared_key(options(shared_key="mine")) == shared_key(options(context=tmp_path, shared_key="mine"))


def test_result_of_a_graph_driver_is_an_image_id() -> None:
    digest = f"sha256:{'1' * 64}"
    result = build_result("r", {"containerimage.digest": digest})
    assert (result.ref, result.image_digest, result.image_id) == ("r", None, digest)


def test_result_of_the_containerd_store_has_both() -> None:
    response = {
        "containerimage.digest": f"sha256:{'1' * 64}",
        "containerimage.config.digest": f"sha256:{'2' * 64}",
        "containerimage.descriptor": "e30=",
    }
    result = build_result("r", response)
    assert (result.image_digest, result.image_id) == tuple(response.values())[:2]
    assert result.exporter_response == response


def test_result_without_exporter_is_empty() -> None:
    assert build_result("r", {}).image_digest is build_result("r", {}).image_id is None


@pytest.mark.parametrize("name", ["platforms", "no_cache", "entitlements", "add_hosts"])
def test_text_where_a_list_belongs_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}`"):
        options(**{name: "linux/arm64"})


@pytest.mark.parametrize("digest", ["sha256:1", "x", "sha256:" + "g" * 64])
def test_digest_that_is_none_is_told(digest: str) -> None:
    with pytest.raises(BuildKitError, match="no digest"):
        build_result("r", {"containerimage.digest": digest})
