"""Options of `docker run` that stand before the image, read as Docker's own command line does.

One table knows the options of Docker CLI 20.10 to 27 and what they mean for a step. Values are checked only where a
mistake is certain: switches, whole numbers, fixed choices.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tasks_engine.definition.words import Word, WordError, shorten

MAX_OPTIONS = 1000


class Takes(StrEnum):
    NOTHING = "nothing"
    VALUE = "value"
    NUMBER = "number"
    #: a value; given twice, both count
    LIST = "list"


class Meaning(StrEnum):
    #: the container is made with it
    HONOURED = "honoured"
    #: accepted; the container is always removed, and never has a terminal or an input
    NO_EFFECT = "no effect"
    REFUSED = "refused"


@dataclass(frozen=True)
class Flag:
    name: str
    short: str
    takes: Takes
    meaning: Meaning


@dataclass(frozen=True, slots=True)
class RunOption:
    #: the long name without dashes; `network` also for `--net`
    name: str
    #: `true` or `false` for a switch
    value: str
    #: where the option stands in the command line
    offset: int


def _flags(meaning: Meaning, takes: Takes, names: str) -> Iterator[Flag]:
    for each in names.split():
        name, _, short = each.partition("|")
        yield Flag(name, short, takes, meaning)


#: long name -> what is known of it; `name|n` has a short form
FLAGS: Mapping[str, Flag] = {
    flag.name: flag
    for flags in (
        _flags(
            Meaning.HONOURED,
            Takes.NOTHING,
            "detach|d init no-healthcheck oom-kill-disable privileged publish-all|P read-only",
        ),
        _flags(
            Meaning.HONOURED,
            Takes.VALUE,
            """cgroup-parent cgroupns cpus cpuset-cpus cpuset-mems domainname entrypoint health-cmd health-interval
            health-start-interval health-start-period health-timeout hostname|h ip ip6 ipc isolation log-driver
            mac-address memory|m memory-reservation memory-swap name pid platform pull restart runtime
            shm-size stop-signal user|u userns uts volume-driver workdir|w""",
        ),
        _flags(
            Meaning.HONOURED,
            Takes.NUMBER,
            """blkio-weight cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares|c health-retries
            memory-swappiness oom-score-adj pids-limit stop-timeout""",
        ),
        _flags(
            Meaning.HONOURED,
            Takes.LIST,
            """add-host annotation blkio-weight-device cap-add cap-drop device device-cgroup-rule device-read-bps
            device-read-iops device-write-bps device-write-iops dns dns-option dns-search env|e expose gpus group-add
            label|l link link-local-ip log-opt mount network network-alias publish|p security-opt storage-opt sysctl
            tmpfs ulimit volume|v volumes-from""",
        ),
        _flags(
            Meaning.NO_EFFECT, Takes.NOTHING, "disable-content-trust interactive|i quiet|q rm sig-proxy tty|t"
        ),
        _flags(Meaning.NO_EFFECT, Takes.VALUE, "detach-keys kernel-memory"),
        _flags(Meaning.REFUSED, Takes.NOTHING, "help"),
        _flags(Meaning.REFUSED, Takes.VALUE, "cidfile cpu-count cpu-percent io-maxbandwidth io-maxiops"),
        _flags(Meaning.REFUSED, Takes.LIST, "attach|a env-file label-file"),
    )
    for flag in flags
}
_OTHER_NAMES = {"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option"}
_FLAG_BY_SHORT = {flag.short: flag for flag in FLAGS.values() if flag.short}
_CHOICES = {"pull": ("always", "missing", "never"), "cgroupns": ("host", "private")}
_NEED_A_NAME = ("env", "label")
#: spellings of Go's strconv.ParseBool
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), "true"),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), "false"),
}
#: no leading zero: Docker would read it as octal
_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,18})\Z")
_NO_FILE = "needs a file of the host, which does not exist here"
#: refused flag -> reason and hint
_REFUSALS = {
    "attach": (
        "has no place in a step, whose output is always kept",
        "to drop a stream write > /dev/null or 2> /dev/null behind the command",
    ),
    "cidfile": (_NO_FILE, "other steps reach the container under the id of the step"),
    "env-file": (_NO_FILE, "write the variables as -e NAME=VALUE, or in the step's env"),
    "help": ("starts no container", ""),
    "label-file": (_NO_FILE, "write the labels as -l NAME=VALUE"),
}
_WINDOWS_ONLY = ("is for Windows containers only", "")


def read_run_options(words: Sequence[str], places: Sequence[Word]) -> tuple[tuple[RunOption, ...], int]:
    """The options at the start of `words`, and the index of the word behind them.

    `places` has, for each of them, the word of the command line that it comes from. Raises WordError.
    """
    options: list[RunOption] = []
    at = 0
    while at < len(words) and len(words[at]) > 1 and words[at][0] == "-":
        if words[at] == "--":
            return tuple(options), at + 1
        read = _read_long if words[at].startswith("--") else _read_shorts
        at += read(words, places, at, options)
    return tuple(options), at


def _read_long(words: Sequence[str], places: Sequence[Word], at: int, options: list[RunOption]) -> int:
    """Reads `--name`, `--name=value` or `--name value`; gives the number of words."""
    written, equals, value = words[at].partition("=")
    place = places[at]
    flag = FLAGS.get(_OTHER_NAMES.get(written[2:], written[2:]))
    if flag is None:
        raise _unknown(written, place)
    following = words[at + 1 : at + 2]
    if equals:
        _add(options, flag, written, value, place)
    elif flag.takes is Takes.NOTHING:
        _add(options, flag, written, "true", place)
    elif following:
        _add(options, flag, written, following[0], place)
        return 2
    else:
        raise _without_value(flag, written, place)
    return 1


def _read_shorts(words: Sequence[str], places: Sequence[Word], at: int, options: list[RunOption]) -> int:
    """Reads `-x`, `-xy`, `-xvalue`, `-x=value` or `-x value`; gives the number of words."""
    letters, place = words[at], places[at]
    for index in range(1, len(letters)):
        written = f"-{letters[index]}"
        flag = _FLAG_BY_SHORT.get(letters[index])
        if flag is None:
            raise _unknown(written, place, letters)
        if letters.startswith("=", index + 1) and index + 2 < len(letters):
            _add(options, flag, written, letters[index + 2 :], place)
            return 1
        if flag.takes is Takes.NOTHING:
            _add(options, flag, written, "true", place)
        elif index + 1 < len(letters):
            _add(options, flag, written, letters[index + 1 :], place)
            return 1
        elif at + 1 < len(words):
            _add(options, flag, written, words[at + 1], place)
            return 2
        else:
            raise _without_value(flag, written, place)
    return 1


def _add(options: list[RunOption], flag: Flag, written: str, value: str, place: Word) -> None:
    if flag.meaning is Meaning.REFUSED:
        reason, hint = _REFUSALS.get(flag.name, _WINDOWS_ONLY)
        raise _refused(f"docker run option '{written}' {reason}", written, place, hint)
    if flag.takes is Takes.NOTHING:
        if value not in _BOOLEANS:
            raise _refused(_wrong(written, "true or false", value), written, place)
        value = _BOOLEANS[value]
    elif flag.takes is Takes.NUMBER and not _NUMBER.match(value):
        raise _refused(_wrong(written, "a whole number", value), written, place)
    elif flag.name in _CHOICES and value and value not in _CHOICES[flag.name]:
        raise _refused(_wrong(written, " or ".join(_CHOICES[flag.name]), value), written, place)
    elif flag.name in _NEED_A_NAME and value[:1] in ("", "="):
        raise _refused(_wrong(written, "name=value", value), written, place)
    if len(options) == MAX_OPTIONS:
        raise _refused(f"more than {MAX_OPTIONS} docker run options", written, place)
    options.append(RunOption(flag.name, value, place.offset))


def _unknown(written: str, place: Word, letters: str = "") -> WordError:
    inside = f" in '{shorten(letters)}'" if len(letters) > 2 else ""
    if len(written) > 2:
        guess = difflib.get_close_matches(written[2:42], FLAGS, n=1)
        hint = f"did you mean '--{guess[0]}'?" if guess else ""
    else:
        # one dash too few: -privileged, -network=host
        name = letters[1:].partition("=")[0]
        hint = f"did you mean '-{shorten(letters)}'?" if name in FLAGS else ""
    return _refused(
        f"docker run has no option '{shorten(written)}'{inside}",
        letters or written,
        place,
        hint or "options stand before the image, arguments behind it",
    )


def _without_value(flag: Flag, written: str, place: Word) -> WordError:
    what = "a whole number" if flag.takes is Takes.NUMBER else "a value"
    return _refused(f"docker run option '{written}' needs {what}", written, place)


def _wrong(written: str, wanted: str, value: str) -> str:
    return f"docker run option '{written}' takes {wanted}, not '{shorten(value)}'"


def _refused(message: str, written: str, place: Word, hint: str = "") -> WordError:
    length = place.end - place.offset
    return WordError(message, place.offset, hint, min(length, len(written)) if place.bare else length)
