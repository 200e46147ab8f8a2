"""Which steps get the engine's socket, and where it is."""

from __future__ import annotations

import pytest

from tasks_engine.backends.docker.endpoint import Endpoint
from tasks_engine.backends.docker.engine_socket import SocketMissed, gets_socket, socket_hint, socket_path
from tasks_engine.policy import DockerSocket, Policy


@pytest.mark.parametrize("image", ["docker", "docker:27-cli", "example.com/team/docker@sha256:" + 64 * "0"])
def test_an_image_called_docker_gets_the_socket_by_itself(image: str) -> None:
    assert gets_socket(image, Policy())
    assert not gets_socket(image, Policy(docker_socket=DockerSocket.NEVER))


@pytest.mark.parametrize("image", ["busybox", "docker/compose", "mydocker", "docker.io/library/busybox"])
def test_other_images_do_not(image: str) -> None:
    assert not gets_socket(image, Policy())
    assert gets_socket(image, Policy(docker_socket=DockerSocket.ALWAYS))


def test_images_of_the_settings_do_in_every_spelling() -> None:
    policy = Policy(docker_clients=("tools", "example.com/team/ci"))
    assert gets_socket("docker.io/library/tools:1", policy)
    assert gets_socket("example.com/team/ci:2", policy)
    assert not gets_socket("example.com/tools", policy)


def test_the_socket_is_where_the_engine_sees_it() -> None:
    unix = Endpoint("unix:///run/other.sock", "a test")
    assert socket_path(unix, is_on_this_machine=True) == "/run/other.sock"
    assert socket_path(unix, is_on_this_machine=False) == "/var/run/docker.sock"
    tcp = Endpoint("tcp://engine.example.com:2376", "a test")
    assert socket_path(tcp, is_on_this_machine=True) == "/var/run/docker.sock"


def test_the_complaint_of_a_client_is_seen_wherever_it_is_cut() -> None:
    missed = SocketMissed()
    missed.see("stderr", b"x" * 100_000)
    assert not missed
    missed.see("stderr", b"ERROR: Cannot connect to the Docker daemon at unix:///var/run")
    missed.see("stdout", b"in between")
    missed.see("stderr", b"/docker.sock. Is the docker daemon running?\n")
    assert missed


def test_the_engines_own_words_are_no_complaint() -> None:
    missed = SocketMissed()
    missed.see("engine", b"Cannot connect to the Docker daemon at unix:///var/run/docker.sock")
    assert not missed


def test_the_hint_names_the_setting() -> None:
    assert "policy.docker_clients" in socket_hint(Policy())
    assert "never" in socket_hint(Policy(docker_socket=DockerSocket.NEVER))
