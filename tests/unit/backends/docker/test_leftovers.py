"""What of a run is left on an engine, told apart from what others have there."""

from __future__ import annotations

import docker.errors
import pytest

from tasks_engine.backends.docker.leftovers import find_labelled, find_owned, remove_labelled


class Engine:
    """Answers as an engine does that filters by `name=value` of a label."""

    def __init__(self, *labels: dict[str, str]) -> None:
        self._labels = labels
        self.removed: list[str] = []
        self.missing = False

    def containers(self, all, filters):
        assert all
        return self._made("c", filters, Names=["/name"])

    def networks(self, filters):
        return self._made("n", filters, Name="net")

    def volumes(self, filters):
        return {"Volumes": self._made("v", filters) or None}

    def remove_container(self, container, v, force):
        assert v
        assert force
        self._remove(container)

    def remove_network(self, network):
        self._remove(network)

    def remove_volume(self, volume):
        self._remove(volume)

    def _remove(self, name):
        if self.missing:
            raise docker.errors.NotFound("gone")
        self.removed.append(name)

    def _made(self, kind, filters, **more):
        name, _, value = filters["label"].partition("=")
        return [
            {"Id": f"{kind}{number}", "Name": f"{kind}{number}", "Labels": labels, **more}
            for number, labels in enumerate(self._labels)
            if labels.get(name) == value
        ]


MINE = {"tasks.run": "r1", "tasks.owner": "me"}
THEIRS = {"tasks.run": "r1", "tasks.owner": "they"}


def test_everything_of_a_run_is_removed():
    engine = Engine(MINE)
    remove_labelled(engine, "r1", "me")

    assert engine.removed == ["c0", "n0", "v0"]


def test_a_run_of_the_same_id_of_somebody_else_stays():
    engine = Engine(THEIRS, MINE)
    remove_labelled(engine, "r1", "me")

    assert engine.removed == ["c1", "n1", "v1"]
    assert not find_labelled(Engine(THEIRS), "r1", "me")


def test_what_an_older_version_made_without_an_owner_is_found_by_its_run():
    assert find_labelled(Engine({"tasks.run": "r1"}), "r1", "me").names == (
        "container name",
        "network net",
        "volume v0",
    )


def test_all_runs_of_an_owner_are_found():
    engine = Engine(MINE, THEIRS, {"tasks.run": "r2", "tasks.owner": "me"}, {"tasks.run": "r3"})

    assert list(find_owned(engine, "me")) == ["r1", "r2"]


def test_what_is_gone_already_is_fine():
    engine = Engine(MINE)
    engine.missing = True
    remove_labelled(engine, "r1", "me")

    assert engine.removed == []


@pytest.mark.parametrize("labels", [{"tasks.owner": "me"}, {}])
def test_what_names_no_run_is_not_touched(labels):
    assert find_owned(Engine(labels), "me") == {}
