"""Which addresses the embedded engine takes, and which firewall rules it removes."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from tasks_engine.backends.embedded.network import (
    CANDIDATE_BLOCKS,
    bridge_address,
    choose_block,
    owned_bridges,
    parse_fib_trie,
    rules_to_delete,
    user_network_pool,
)
from tasks_engine.errors import EngineError

USER_NETWORK = IPv4Network("172.30.128.0/25")


def test_first_candidate_that_overlaps_nothing_is_chosen() -> None:
    taken = [IPv4Network("172.30.5.0/24"), IPv4Network("172.28.0.0/15")]
    assert choose_block(taken) == IPv4Network("172.27.0.0/16")


def test_preferred_block_stays_as_long_as_it_is_free() -> None:
    assert str(choose_block([], preferred="10.99.0.0/16")) == "10.99.0.0/16"
    assert choose_block([IPv4Network("10.0.0.0/8")], preferred="10.99.0.0/16") == CANDIDATE_BLOCKS[0]


def test_no_free_block_is_an_error_that_lists_what_was_tried() -> None:
    with pytest.raises(EngineError, match=r"172\.30\.0\.0/16"):
        choose_block([IPv4Network("172.16.0.0/12"), IPv4Network("10.0.0.0/8")])


@pytest.mark.parametrize("block", CANDIDATE_BLOCKS)
def test_bridge_and_user_networks_do_not_overlap(block: IPv4Network) -> None:
    bridge = bridge_address(block)
    assert bridge.network.subnet_of(block)
    assert user_network_pool(block).subnet_of(block)
    assert not bridge.network.overlaps(user_network_pool(block))


def test_routes_of_all_tables_are_read_without_default_and_loopback() -> None:
    text = """\
Id 200:
  |-- 10.8.0.0
     /16 universe UNICAST
Main:
  +-- 0.0.0.0/0 3 0 4
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
     +-- 172.17.0.0/16 2 0 2
        |-- 172.17.0.0
           /16 link UNICAST
           /32 link BROADCAST
"""
    assert [str(network) for network in parse_fib_trie(text)] == [
        "10.8.0.0/16",
        "172.17.0.0/16",
        "172.17.0.0/32",
    ]


def test_only_rules_of_our_bridges_and_addresses_are_deleted() -> None:
    rules = """\
-P FORWARD DROP
-N DOCKER
-A FORWARD -o tasks-12345678 -j DOCKER
-A FORWARD -o docker0 -j DOCKER
-A POSTROUTING -s 172.30.128.0/25 ! -o br-0123456789ab -j MASQUERADE
-A POSTROUTING -s 172.30.0.0/16 ! -o br-bbbbbbbbbbbb -j MASQUERADE
-A POSTROUTING -s 0.0.0.0/0 -j ACCEPT
"""
    assert rules_to_delete(rules, ["tasks-12345678"], [USER_NETWORK]) == [
        ["-D", "FORWARD", "-o", "tasks-12345678", "-j", "DOCKER"],
        ["-D", "POSTROUTING", "-s", "172.30.128.0/25", "!", "-o", "br-0123456789ab", "-j", "MASQUERADE"],
    ]


def test_bridges_of_other_engines_are_not_ours_whatever_their_addresses() -> None:
    database = b"docker/network/v1.0/bridge/0123456789ab" + b"c" * 52
    interfaces = ["eth0", "docker0", "tasks-12345678", "tasks-87654321", "br-0123456789ab", "br-bbbbbbbbbbbb"]
    assert owned_bridges(interfaces, "tasks-12345678", database) == ["tasks-12345678", "br-0123456789ab"]
    assert owned_bridges(interfaces, "tasks-12345678", b"") == ["tasks-12345678"]
