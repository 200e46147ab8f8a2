"""What a run leaves on an engine is removed, whoever has joined it since."""

from __future__ import annotations

from uuid import uuid4

import pytest
from docker.api import APIClient

from tasks_engine.backends.docker.client import connect
from tasks_engine.backends.docker.endpoint import Endpoint
from tasks_engine.backends.docker.leftovers import remove_container, remove_labelled
from tests.services import require

pytestmark = pytest.mark.docker


@pytest.fixture(params=["TASKS_TEST_ENGINE", "TASKS_TEST_OLD_ENGINE"])
def api(request: pytest.FixtureRequest) -> APIClient:
    client = connect(Endpoint(require(request.param), "the tests"))
    yield client
    client.close()


def test_a_network_is_removed_although_a_container_of_somebody_else_is_on_it(api: APIClient) -> None:
    run_id = uuid4().hex[:10]
    name = f"tasks-{run_id}"
    api.create_network(name, labels={"tasks.run": run_id})
    stranger = api.create_container(
        "busybox", ["sleep", "100"], host_config=api.create_host_config(network_mode=name)
    )["Id"]
    try:
        api.start(stranger)
        remove_labelled(api, run_id, "us")

        assert api.networks(names=[name]) == []
        assert api.inspect_container(stranger)["State"]["Running"]
    finally:
        remove_container(api, stranger)
        remove_labelled(api, run_id, "us")
