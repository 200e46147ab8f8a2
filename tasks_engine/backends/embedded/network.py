"""The embedded engine's own bridge and the addresses it may use.

Uses the kernel's interfaces directly: `ip` need not be installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from tasks_engine.errors import EngineError

#: blocks seldom used by companies, clouds and other engines; Docker itself starts at 172.17 and goes up
CANDIDATE_BLOCKS = tuple(
    IPv4Network(block)
    for block in (
        *(f"172.{second}.0.0/16" for second in (30, 29, 28, 27, 26, 25, 24)),
        *(f"10.{second}.0.0/16" for second in (213, 214, 215, 186, 187, 99)),
    )
)

# linux/sockios.h
_SIOCGIFADDR = 0x8915
_SIOCSIFADDR = 0x8916
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCGIFNETMASK = 0x891B
_SIOCSIFNETMASK = 0x891C
_SIOCBRADDBR = 0x89A0
_SIOCBRDELBR = 0x89A1
_IFF_UP = 1


def choose_block(
    taken: Iterable[IPv4Network], preferred: str = "", candidates: Sequence[IPv4Network] = CANDIDATE_BLOCKS
) -> IPv4Network:
    """The first block that is free, `preferred` before all. Errors: EngineError where none is."""
    taken = list(taken)
    ordered = [*([IPv4Network(preferred)] if preferred else []), *candidates]
    for block in ordered:
        if not any(block.overlaps(other) for other in taken):
            return block
    raise EngineError(
        "no address range is free for the embedded engine's networks: tried "
        + ", ".join(str(block) for block in ordered),
        hint="remove a network or route that is not needed (`ip route`), or use an engine of your own "
        "with DOCKER_HOST",
    )


def bridge_address(block: IPv4Network) -> IPv4Interface:
    """Address of the bridge: the first /20 of the block is the default network's."""
    return IPv4Interface(f"{block.network_address + 1}/20")


def user_network_pool(block: IPv4Network) -> IPv4Network:
    """Where user networks get their addresses: the upper half of the block."""
    return list(block.subnets(prefixlen_diff=1))[1]


def taken_networks() -> list[IPv4Network]:
    """Every IPv4 network this machine has a route or an address in, and the name servers it asks."""
    taken = parse_fib_trie(Path("/proc/net/fib_trie").read_text(encoding="ascii"))
    # an interface that is down has no route yet
    for _, name in socket.if_nameindex():
        network = _interface_network(name)
        if network is not None:
            taken.append(network)
    with contextlib.suppress(OSError):
        resolver = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace")
        for server in re.findall(r"^nameserver\s+(\d+\.\d+\.\d+\.\d+)", resolver, re.MULTILINE):
            with contextlib.suppress(ValueError):
                taken.append(IPv4Network(server))
    return taken


def parse_fib_trie(text: str) -> list[IPv4Network]:
    """Networks of all routing tables from /proc/net/fib_trie, without the default route and loopback."""
    networks = []
    leaf = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            leaf = words[1]
        elif leaf and words and re.fullmatch(r"/\d+", words[0]):
            network = IPv4Network(leaf + words[0], strict=False)
            if network.prefixlen > 0 and not network.is_loopback:
                networks.append(network)
    return networks


def ensure_bridge(name: str, address: IPv4Interface) -> None:
    """Make the bridge, give it its address and switch it on; a bridge that is there already is adjusted."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            if name not in _interface_names():
                fcntl.ioctl(control, _SIOCBRADDBR, name.encode() + b"\0")
            fcntl.ioctl(control, _SIOCSIFADDR, _ifreq_address(name, address.ip.packed))
            fcntl.ioctl(control, _SIOCSIFNETMASK, _ifreq_address(name, address.netmask.packed))
            fcntl.ioctl(control, _SIOCSIFFLAGS, _ifreq_flags(name, _flags(control, name) | _IFF_UP))
        except OSError as error:
            raise EngineError(
                f"the network bridge {name} cannot be made: {error.strerror}",
                hint="the embedded engine needs the kernel's bridge support and the right to administer the "
                "network; inside a container, run that container privileged or set DOCKER_HOST",
            ) from error


def remove_bridges(name: str, network_database: Path) -> None:
    """Remove the engine's bridge and the bridges of its user networks, with their firewall rules.

    dockerd leaves all of them when it stops and makes them again when it starts.
    network_database: dockerd's own list of its networks; need not exist.
    """
    try:
        database = network_database.read_bytes()
    except FileNotFoundError:
        database = b""
    ours = owned_bridges(_interface_names(), name, database)
    networks = [network for network in map(_interface_network, ours) if network is not None]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for interface in ours:
            with contextlib.suppress(OSError):  # gone meanwhile
                flags = _flags(control, interface)
                fcntl.ioctl(control, _SIOCSIFFLAGS, _ifreq_flags(interface, flags & ~_IFF_UP))
                fcntl.ioctl(control, _SIOCBRDELBR, interface.encode() + b"\0")
    _remove_firewall_rules([name, *ours], networks)


def owned_bridges(interfaces: Iterable[str], name: str, database: bytes) -> list[str]:
    """Those interfaces that are the engine's bridge or belong to a network in its database.

    dockerd names a network's bridge after the first 12 digits of its id. The addresses would not do: another
    engine may have taken them while this one was stopped.
    """
    owned = []
    for interface in interfaces:
        match = re.fullmatch(r"br-([0-9a-f]{12})", interface)
        if interface == name or (match is not None and match[1].encode() in database):
            owned.append(interface)
    return owned


def rules_to_delete(
    rules: str, interfaces: Iterable[str], networks: Sequence[IPv4Network]
) -> list[list[str]]:
    """Arguments of `iptables` that delete those rules (of `iptables -S`) that name us or our addresses."""
    names = set(interfaces)
    deletions = []
    for line in rules.splitlines():
        words = line.split()
        if words[:1] != ["-A"]:
            continue
        if names.intersection(words) or any(
            _is_within(word, network) for word in words for network in networks
        ):
            deletions.append(["-D", *words[1:]])
    return deletions


def _remove_firewall_rules(interfaces: Sequence[str], networks: Sequence[IPv4Network]) -> None:
    if shutil.which("iptables") is None:
        return
    for table in ("filter", "nat", "raw"):
        command = ["iptables", "--wait", "5", "-t", table]
        listing = subprocess.run([*command, "-S"], capture_output=True, text=True, check=False)
        for deletion in rules_to_delete(listing.stdout, interfaces, networks):
            # another engine may change the same chains at this moment; a rule that is gone is fine
            subprocess.run([*command, *deletion], capture_output=True, check=False)


def _is_within(word: str, block: IPv4Network) -> bool:
    try:
        return ipaddress.IPv4Network(word, strict=False).subnet_of(block)
    except ValueError:
        return False


def _interface_names() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _interface_network(name: str) -> IPv4Network | None:
    """The network of the interface's first address; None where it has none or does not exist."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            request = _ifreq_address(name, b"\0\0\0\0")
            address = fcntl.ioctl(control, _SIOCGIFADDR, request)[20:24]
            netmask = fcntl.ioctl(control, _SIOCGIFNETMASK, request)[20:24]
        except OSError:
            return None
    return IPv4Network(f"{socket.inet_ntoa(address)}/{socket.inet_ntoa(netmask)}", strict=False)


def _flags(control: socket.socket, name: str) -> int:
    answer = fcntl.ioctl(control, _SIOCGIFFLAGS, _ifreq_flags(name, 0))
    return int(struct.unpack_from("h", answer, 16)[0])


def _ifreq_address(name: str, address: bytes) -> bytes:
    """struct ifreq with a sockaddr_in (netdevice(7))."""
    return struct.pack("16sHH4s16x", name.encode(), socket.AF_INET, 0, address)


def _ifreq_flags(name: str, flags: int) -> bytes:
    return struct.pack("16sh22x", name.encode(), flags)
