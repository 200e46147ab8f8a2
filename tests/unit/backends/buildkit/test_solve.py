from __future__ import annotations

from pathlib import Path

from tasks_engine.backends.buildkit.solve import (
    BuildOptions,
    build_result,
    docker_tar,
    image,
    moby,
    solve_request,
)


def options(**changes: object) -> BuildOptions:
    return BuildOptions(context=Path("/c"), dockerfile=Path("/d/Dockerfile.web"), **changes)  # type: ignore[arg-type]


def test_plain_build_says_only_its_dockerfile() -> None:
    request = solve_request(options(), ref="r", session_id="s")
    assert (request.ref, request.session, request.frontend) == ("r", "s", "dockerfile.v0")
    assert dict(request.frontend_attrs) == {"filename": "Dockerfile.web"}
    assert not request.exporters
    assert not request.exporter_deprecated


def test_every_option_has_its_attribute() -> None:
    request = solve_request(
        options(
            build_args={"A": "1"},
            labels={"l": "2"},
            target="web",
            platforms=["linux/amd64", "linux/arm64"],
            no_cache=True,
            pull=True,
            network="host",
        ),
        ref="r",
        session_id="s",
    )
    assert dict(request.frontend_attrs) == {
        "filename": "Dockerfile.web",
        "build-arg:A": "1",
        "label:l": "2",
        "target": "web",
        "platform": "linux/amd64,linux/arm64",
        "no-cache": "",
        "image-resolve-mode": "pull",
        "force-network-mode": "host",
    }
    assert list(request.entitlements) == ["network.host"]


def test_exporter_is_said_in_the_old_and_the_new_way() -> None:
    request = solve_request(options(exporter=image(["a:1", "b"], push=True)), ref="r", session_id="s")
    attrs = {"name": "a:1,b", "push": "true"}
    assert (request.exporter_deprecated, dict(request.exporter_attrs_deprecated)) == ("image", attrs)
    assert [(each.type, dict(each.attrs)) for each in request.exporters] == [("image", attrs)]


def test_untagged_results_have_no_name() -> None:
    assert moby([]).attrs == {}
    assert docker_tar([]).attrs == {}
    assert (docker_tar(["a"]).type, docker_tar(["a"]).attrs) == ("docker", {"name": "a"})


def test_result_of_a_graph_driver_is_an_image_id() -> None:
    result = build_result({"containerimage.digest": "sha256:1"})
    assert (result.image_digest, result.image_id) == (None, "sha256:1")


def test_result_of_the_containerd_store_has_both() -> None:
    response = {
        "containerimage.digest": "sha256:1",
        "containerimage.config.digest": "sha256:2",
        "containerimage.descriptor": "e30=",
    }
    result = build_result(response)
    assert (result.image_digest, result.image_id) == ("sha256:1", "sha256:2")
    assert result.exporter_response == response


def test_result_without_exporter_is_empty() -> None:
    assert build_result({}).image_digest is build_result({}).image_id is None
