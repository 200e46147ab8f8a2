"""Options of `docker run` that steps have no property for, in the body of the Engine's container call. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tasks_engine.definition.build_values import InvalidValue, read_host, read_size, read_ulimit
from tasks_engine.errors import StepFailed
from tasks_engine.plan.container_values import (
    AskedMount,
    MountKind,
    container_in,
    read_device,
    read_duration,
    read_mount,
    read_volume,
)
from tasks_engine.plan.model import ContainerOption

Body = dict[str, Any]


class Surroundings(Protocol):
    """What stands behind the names in an author's options."""

    def workspace_mount(self, folder: str, *, make: bool = False) -> Body:
        """Type and source of a mount of the workspace, or of a folder of it; `make` it if it is not there.

        Raises StepFailed.
        """

    def volume_name(self, name: str) -> str:
        """The name on the engine of a volume of the task; that of any other as it is."""

    def container_of(self, name: str) -> str:
        """The container of a step; any other name as it is. Raises StepFailed for a step that has none."""

    def socket_path(self) -> str:
        """The engine's socket, on its own machine."""


@dataclass
class Draft:
    """A body that is being put together."""

    body: Body
    around: Surroundings
    #: of the network that the container begins on
    endpoint: Body
    #: the network knows containers by names
    has_names: bool

    @property
    def host(self) -> Body:
        host: Body = self.body["HostConfig"]
        return host


def add_options(draft: Draft, options: Iterable[ContainerOption]) -> None:
    """Raises StepFailed for values that have no meaning."""
    for option in options:
        add = _ADD.get(option.name)
        if add is None:
            continue
        try:
            add(draft, option.value)
        except InvalidValue as error:
            raise StepFailed(
                f"docker run option '--{option.name}' {error.message}", exit_status=125, hint=error.hint
            ) from error


def _host_text(field: str) -> Callable[[Draft, str], None]:
    return lambda draft, value: draft.host.__setitem__(field, value)


def _body_text(field: str) -> Callable[[Draft, str], None]:
    return lambda draft, value: draft.body.__setitem__(field, value)


def _number(field: str) -> Callable[[Draft, str], None]:
    return lambda draft, value: draft.host.__setitem__(field, int(value))


def _size(field: str) -> Callable[[Draft, str], None]:
    return lambda draft, value: draft.host.__setitem__(field, -1 if value == "-1" else read_size(value)[0])


def _switch(field: str) -> Callable[[Draft, str], None]:
    return lambda draft, value: draft.host.__setitem__(field, value == "true")


def _list(field: str) -> Callable[[Draft, str], None]:
    return lambda draft, value: draft.host.setdefault(field, []).append(value)


def _pairs(field: str) -> Callable[[Draft, str], None]:
    def add(draft: Draft, value: str) -> None:
        name, _, text = value.partition("=")
        draft.host.setdefault(field, {})[name] = text

    return add


def _rates(field: str, *, are_sizes: bool) -> Callable[[Draft, str], None]:
    def add(draft: Draft, value: str) -> None:
        path, colon, rate = value.rpartition(":")
        if not colon or not path.startswith("/"):
            raise InvalidValue(f"cannot read '{value}'", "write /dev/x:RATE")
        amount = read_size(rate)[0] if are_sizes else _whole(rate)
        draft.host.setdefault(field, []).append({"Path": path, "Rate": amount})

    return add


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidValue(f"takes a whole number, not '{text}'")
    return int(text)


def _shared_with(field: str) -> Callable[[Draft, str], None]:
    """Of `--pid` and `--ipc`: a container is that of a step."""

    def add(draft: Draft, value: str) -> None:
        other = container_in(value)
        draft.host[field] = f"container:{draft.around.container_of(other)}" if other else value

    return add


def _health(field: str, read: Callable[[str], Any]) -> Callable[[Draft, str], None]:
    return lambda draft, value: draft.body.setdefault("Healthcheck", {}).__setitem__(field, read(value))


def _weight(draft: Draft, value: str) -> None:
    path, colon, weight = value.rpartition(":")
    if not colon or not path.startswith("/"):
        raise InvalidValue(f"cannot read '{value}'", "write /dev/x:WEIGHT")
    draft.host.setdefault("BlkioWeightDevice", []).append({"Path": path, "Weight": _whole(weight)})


def _device(draft: Draft, value: str) -> None:
    if not value.startswith("/") and "=" in value:  # of the Container Device Interface
        draft.host.setdefault("DeviceRequests", []).append({"Driver": "cdi", "DeviceIDs": [value]})
        return
    outside, inside, rights = read_device(value)
    draft.host.setdefault("Devices", []).append(
        {"PathOnHost": outside, "PathInContainer": inside, "CgroupPermissions": rights}
    )


def _gpus(draft: Draft, value: str) -> None:
    request: Body = {"Driver": "", "Capabilities": [["gpu"]]}
    for index, pair in enumerate(value.strip('"').split(",")):
        key, equals, text = pair.partition("=")
        if not equals and not index:
            key, text = "count", key
        match key:
            case "count":
                request["Count"] = -1 if text == "all" else _whole(text)
            case "device":
                request.setdefault("DeviceIDs", []).append(text)
            case "driver":
                request["Driver"] = text
            case "capabilities":
                request["Capabilities"] = [["gpu", text]]
            case _ if not equals and "DeviceIDs" in request:
                request["DeviceIDs"].append(key)  # device=0,1
            case _:
                raise InvalidValue(f"knows no key '{key}'", "write all, a number, or device=0,1")
    draft.host.setdefault("DeviceRequests", []).append(request)


def _add_host(draft: Draft, value: str) -> None:
    draft.host.setdefault("ExtraHosts", []).extend(f"{each.name}:{each.address}" for each in read_host(value))


def _ulimit(draft: Draft, value: str) -> None:
    for limit in read_ulimit(value):
        draft.host.setdefault("Ulimits", []).append(
            {"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard}
        )


def _label(draft: Draft, value: str) -> None:
    name, _, text = value.partition("=")
    draft.body["Labels"].setdefault(name, text)


def _tmpfs(draft: Draft, value: str) -> None:
    path, _, options = value.partition(":")
    _make_room(draft, path)
    draft.host.setdefault("Tmpfs", {})[path] = options


def _security(draft: Draft, value: str) -> None:
    name, equals, text = value.partition("=")
    if name == "seccomp" and equals and text not in ("unconfined", "builtin"):
        try:
            json.loads(text)
        except ValueError:
            raise InvalidValue(
                "needs a file of the host, which does not exist here", "write the profile itself, as JSON"
            ) from None
    if value == "systempaths=unconfined":
        draft.host["MaskedPaths"] = draft.host["ReadonlyPaths"] = []
        return
    draft.host.setdefault("SecurityOpt", []).append(value)


def _restart(draft: Draft, value: str) -> None:
    name, _, count = value.partition(":")
    policy: Body = {"Name": name}
    if count:
        policy["MaximumRetryCount"] = _whole(count)
    draft.host["RestartPolicy"] = policy


def _volumes_from(draft: Draft, value: str) -> None:
    name, colon, mode = value.partition(":")
    draft.host.setdefault("VolumesFrom", []).append(f"{draft.around.container_of(name)}{colon}{mode}")


def _link(draft: Draft, value: str) -> None:
    name, _, alias = value.partition(":")
    link = f"{draft.around.container_of(name)}:{alias or name}"
    (draft.endpoint if draft.has_names else draft.host).setdefault("Links", []).append(link)


def _address(field: str) -> Callable[[Draft, str], None]:
    return lambda draft, value: draft.endpoint.setdefault("IPAMConfig", {}).__setitem__(field, value)


def _link_local(draft: Draft, value: str) -> None:
    draft.endpoint.setdefault("IPAMConfig", {}).setdefault("LinkLocalIPs", []).append(value)


def _alias(draft: Draft, value: str) -> None:
    draft.endpoint.setdefault("Aliases", []).append(value)


def _no_healthcheck(draft: Draft, value: str) -> None:
    if value == "true":
        draft.body["Healthcheck"] = {"Test": ["NONE"]}


def _volume(draft: Draft, value: str) -> None:
    asked = read_volume(value)
    _make_room(draft, asked.target)
    if asked.kind is MountKind.ANONYMOUS:
        draft.body.setdefault("Volumes", {})[asked.target] = {}
        return
    is_of_task = asked.kind is MountKind.VOLUME and draft.around.volume_name(asked.source) != asked.source
    if asked.kind in (MountKind.HOST, MountKind.VOLUME) and not is_of_task:
        modes = [*(["ro"] if asked.read_only else []), *asked.modes]
        bind = ":".join([asked.source, asked.target, *([",".join(modes)] if modes else [])])
        draft.host.setdefault("Binds", []).append(bind)
        return
    # as the engine makes folders of its machine for --volume, and not for --mount
    draft.host["Mounts"].append(_mount_of(draft, asked, make=True))


def _mount(draft: Draft, value: str) -> None:
    asked = read_mount(value)
    _make_room(draft, asked.target)
    draft.host["Mounts"].append(_mount_of(draft, asked))


def _mount_of(draft: Draft, asked: AskedMount, *, make: bool = False) -> Body:
    mount: Body = {"Target": asked.target, "ReadOnly": asked.read_only}
    last = {key: values[-1] for key, values in asked.options.items()}
    match asked.kind:
        case MountKind.WORKSPACE:
            mount |= draft.around.workspace_mount(asked.source, make=make)
        case MountKind.SOCKET:
            mount |= {"Type": "bind", "Source": draft.around.socket_path()}
        case MountKind.HOST:
            mount |= {"Type": "bind", "Source": asked.source}
        case MountKind.TMPFS:
            mount["Type"] = "tmpfs"
            mount["TmpfsOptions"] = _tmpfs_options(last)
        case _:
            mount["Type"] = "volume"
            name = draft.around.volume_name(asked.source)
            if name:
                mount["Source"] = name
            mount["VolumeOptions"] = _volume_options(asked.options, last, is_of_task=name != asked.source)
    if mount["Type"] == "bind":
        bind: Body = {}
        if "bind-propagation" in last:
            bind["Propagation"] = last["bind-propagation"]
        if last.get("bind-nonrecursive") == "true":
            bind["NonRecursive"] = True
        mount["BindOptions"] = bind
    return mount


def _tmpfs_options(last: Mapping[str, str]) -> Body:
    options: Body = {}
    if "tmpfs-size" in last:
        options["SizeBytes"] = read_size(last["tmpfs-size"])[0]
    if "tmpfs-mode" in last:
        try:
            options["Mode"] = int(last["tmpfs-mode"], 8)
        except ValueError:
            raise InvalidValue(f"cannot read tmpfs-mode '{last['tmpfs-mode']}'", "such as 1777") from None
    return options


def _volume_options(
    values: Mapping[str, tuple[str, ...]], last: Mapping[str, str], *, is_of_task: bool
) -> Body:
    # what an image has at that place must not get into a volume of the task
    options: Body = {"NoCopy": is_of_task or last.get("volume-nocopy") == "true"}
    if "volume-label" in values:
        options["Labels"] = dict(_split(each) for each in values["volume-label"])
    if "volume-driver" in last or "volume-opt" in values:
        options["DriverConfig"] = {
            "Name": last.get("volume-driver", ""),
            "Options": dict(_split(each) for each in values.get("volume-opt", ())),
        }
    return options


def _split(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _make_room(draft: Draft, target: str) -> None:
    """What the author mounts at a place takes that of what we would mount there."""
    host = draft.host
    host["Mounts"] = [mount for mount in host["Mounts"] if mount["Target"] != target]


#: option -> what it does to the body
_ADD: Mapping[str, Callable[[Draft, str], None]] = {
    "add-host": _add_host,
    "blkio-weight": _number("BlkioWeight"),
    "blkio-weight-device": _weight,
    "cap-add": _list("CapAdd"),
    "cap-drop": _list("CapDrop"),
    "cgroup-parent": _host_text("CgroupParent"),
    "cgroupns": _host_text("CgroupnsMode"),
    "cpu-period": _number("CpuPeriod"),
    "cpu-quota": _number("CpuQuota"),
    "cpu-rt-period": _number("CpuRealtimePeriod"),
    "cpu-rt-runtime": _number("CpuRealtimeRuntime"),
    "cpu-shares": _number("CpuShares"),
    "cpuset-cpus": _host_text("CpusetCpus"),
    "cpuset-mems": _host_text("CpusetMems"),
    "device": _device,
    "device-cgroup-rule": _list("DeviceCgroupRules"),
    "device-read-bps": _rates("BlkioDeviceReadBps", are_sizes=True),
    "device-read-iops": _rates("BlkioDeviceReadIOps", are_sizes=False),
    "device-write-bps": _rates("BlkioDeviceWriteBps", are_sizes=True),
    "device-write-iops": _rates("BlkioDeviceWriteIOps", are_sizes=False),
    "dns": _list("Dns"),
    "dns-option": _list("DnsOptions"),
    "dns-search": _list("DnsSearch"),
    "domainname": _body_text("Domainname"),
    "gpus": _gpus,
    "group-add": _list("GroupAdd"),
    "health-cmd": _health("Test", lambda command: ["CMD-SHELL", command]),
    "health-interval": _health("Interval", read_duration),
    "health-retries": _health("Retries", int),
    "health-start-period": _health("StartPeriod", read_duration),
    "health-timeout": _health("Timeout", read_duration),
    "hostname": _body_text("Hostname"),
    "init": _switch("Init"),
    "ip": _address("IPv4Address"),
    "ip6": _address("IPv6Address"),
    "ipc": _shared_with("IpcMode"),
    "label": _label,
    "link": _link,
    "link-local-ip": _link_local,
    "mac-address": _body_text("MacAddress"),
    "memory": _size("Memory"),
    "memory-reservation": _size("MemoryReservation"),
    "memory-swap": _size("MemorySwap"),
    "memory-swappiness": _number("MemorySwappiness"),
    "mount": _mount,
    "network-alias": _alias,
    "no-healthcheck": _no_healthcheck,
    "oom-kill-disable": _switch("OomKillDisable"),
    "oom-score-adj": _number("OomScoreAdj"),
    "pid": _shared_with("PidMode"),
    "pids-limit": _number("PidsLimit"),
    "publish-all": _switch("PublishAllPorts"),
    "read-only": _switch("ReadonlyRootfs"),
    "restart": _restart,
    "runtime": _host_text("Runtime"),
    "security-opt": _security,
    "shm-size": _size("ShmSize"),
    "stop-signal": _body_text("StopSignal"),
    "stop-timeout": lambda draft, value: draft.body.__setitem__("StopTimeout", int(value)),
    "storage-opt": _pairs("StorageOpt"),
    "sysctl": _pairs("Sysctls"),
    "tmpfs": _tmpfs,
    "ulimit": _ulimit,
    "userns": _host_text("UsernsMode"),
    "uts": _host_text("UTSMode"),
    "volume": _volume,
    "volume-driver": _host_text("VolumeDriver"),
    "volumes-from": _volumes_from,
}

#: options that are carried out elsewhere: by the call that makes the container
_ELSEWHERE = frozenset(["platform"])
CONTAINER_OPTIONS = frozenset(_ADD) | _ELSEWHERE
#: options that change nothing -> why
IDLE_OPTIONS: Mapping[str, str] = {
    "annotation": "the engine's API that is used does not know it",
    "health-start-interval": "the engine's API that is used does not know it",
    "log-driver": "the output of a step goes into the log of the run",
    "log-opt": "the output of a step goes into the log of the run",
    "name": "other steps reach the container under the id of its step",
}
