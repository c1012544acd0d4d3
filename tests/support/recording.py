"""What a daemon's processes did to the disk and said to clients, read from strace's recording.

Rule: system calls become events here; what a disk makes of them is in power_loss.py, what was said
in told.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

#: Calls to record, of all processes, with -y and -xx: descriptors have their paths beside them, and
#: every string is hexadecimal.
CALLS = (
    "openat,pwrite64,pwritev,writev,lseek,fdatasync,fsync,write,rename,unlink,ftruncate,"
    "accept4,sendto,recvfrom"
)

_LINE = re.compile(r"^(?P<pid>\d+) +(?P<call>.*)$")
_CALL = re.compile(
    r"^(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)(?:<(?P<what>[^>]*)>)?", re.DOTALL
)
_BEGUN = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(?P<rest>.*)$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"^(?P<fd>\d+)<(?P<path>(?:\\x[0-9a-f]{2})*)>")

_WRITES = ("pwrite64", "pwritev", "writev", "write")

#: Of these nothing is needed after a cut.
_LOCKS = ("lock.mdb", "assetstored.lock")


class Made(NamedTuple):
    """There is a file of this name."""

    name: str


class Renamed(NamedTuple):
    """A file has another name, in place of any that had it."""

    old: str
    new: str


class Removed(NamedTuple):
    """There is no file of this name any more."""

    name: str


class DirectorySynced(NamedTuple):
    """The names are on disk as they are."""


class ParentSynced(NamedTuple):
    """The name of the directory itself is."""


class Written(NamedTuple):
    """Bytes were handed to the disk."""

    name: str
    offset: int
    data: bytes


class Kept(NamedTuple):
    """A write has returned that was to be durable on return."""

    written: Written


class Synced(NamedTuple):
    """All that was written to the file before is on disk."""

    name: str


class Received(NamedTuple):
    """A client's bytes were read."""

    connection: str
    data: bytes


class Sent(NamedTuple):
    """A client may have these bytes."""

    connection: str
    data: bytes


Event: TypeAlias = (
    Made
    | Renamed
    | Removed
    | DirectorySynced
    | ParentSynced
    | Written
    | Kept
    | Synced
    | Received
    | Sent
)


@dataclass
class _Call:
    pid: str
    name: str
    arguments: str
    #: None if the process ended first.
    result: int | None = None
    #: What the descriptor is that it has returned.
    what: str = ""

    @property
    def strings(self) -> list[bytes]:
        return [_bytes(each) for each in _STRING.findall(self.arguments)]

    @property
    def descriptor(self) -> tuple[str, str]:
        """The descriptor that it is about, and its path."""
        match = _DESCRIPTOR.match(self.arguments)
        return (match["fd"], _bytes(match["path"]).decode()) if match else ("", "")


def events_in(recording: Path, data_dir: Path) -> list[Event]:
    """What the calls in a recording did to the store in data_dir, and what clients were told.

    A write may show, and an answer be read, from its beginning on; what a sync promises holds from
    its end on.
    """
    with recording.open() as lines:
        return list(_Recorder(data_dir).events(_calls(lines)))


def _calls(lines: Iterable[str]) -> list[tuple[bool, _Call]]:
    """Beginnings (True) and ends of calls, in their order."""
    found: list[tuple[bool, _Call]] = []
    begun: dict[str, _Call] = {}
    for line in lines:
        match = _LINE.match(line.rstrip("\n"))
        assert match is not None, line[:100]
        pid, text = match["pid"], match["call"]
        if (beginning := _BEGUN.match(text)) is not None:
            begun[pid] = _Call(pid, beginning["name"], beginning["arguments"])
            found.append((True, begun[pid]))
            continue
        if (resumed := _RESUMED.match(text)) is not None:
            call = begun.pop(pid)
            text = f"{call.name}({call.arguments}{resumed['rest']}"
        else:
            call = _Call(pid, "", "")
        ended = _CALL.match(text)
        if ended is None:
            continue  # a signal, or the end of a process
        call.arguments, call.result = ended["arguments"], int(ended["result"])
        call.what = _bytes(ended["what"] or "").decode()
        if not call.name:
            call.name = ended["name"]
            found.append((True, call))
        found.append((False, call))
    return found


class _Recorder:
    """Knows what is open, by process and descriptor."""

    def __init__(self, data_dir: Path) -> None:
        self._beginning = f"{data_dir}/"
        self._data_dir = data_dir
        self._made: set[str] = set()
        self._is_durable: dict[tuple[str, str], bool] = {}
        self._position: dict[tuple[str, str], int] = {}
        self._writing: dict[str, Written] = {}
        self._connections: set[str] = set()

    def events(self, calls: list[tuple[bool, _Call]]) -> Iterator[Event]:
        for begins, call in calls:
            if call.result is not None and call.result < 0:
                continue
            if begins:
                yield from self._begin(call)
            elif call.result is not None:
                yield from self._end(call, call.result)

    def _begin(self, call: _Call) -> Iterator[Event]:
        if call.name == "rename":
            old, new = (self._name(each.decode()) for each in call.strings)
            if old and new:
                self._made = self._made - {old} | {new}
                yield Renamed(old, new)
            return
        if call.name == "unlink":
            name = self._name(call.strings[0].decode())
            if name in self._made:
                self._made.remove(name)
                yield Removed(name)
            return
        fd, path = call.descriptor
        if call.name == "sendto":
            if path in self._connections:
                yield Sent(path, call.strings[0][: call.result])
        elif call.name in _WRITES and (name := self._name(path)):
            at = (
                int(call.arguments.rsplit(",", 1)[1])
                if call.name.startswith("p")
                else self._position[call.pid, fd]
            )
            self._writing[call.pid] = Written(name, at, b"".join(call.strings))
            yield self._writing[call.pid]

    def _end(self, call: _Call, result: int) -> Iterator[Event]:
        match call.name:
            case "openat":
                name = self._name(call.strings[0].decode())
                opened = (call.pid, str(result))
                self._is_durable[opened] = "O_DSYNC" in call.arguments
                self._position[opened] = 0
                if name and "O_CREAT" in call.arguments and name not in self._made:
                    self._made.add(name)
                    yield Made(name)
                return
            case "accept4":
                self._connections.add(call.what)
                return
        fd, path = call.descriptor
        name = self._name(path)
        match call.name:
            case "recvfrom" if path in self._connections:
                if result:
                    yield Received(path, call.strings[0])
            case "fsync" if path == str(self._data_dir):
                yield DirectorySynced()
            case "fsync" if path == str(self._data_dir.parent):
                yield ParentSynced()
            case _ if not name:
                return
            case "fdatasync" | "fsync":
                yield Synced(name)
            case "lseek":
                self._position[call.pid, fd] = result
            case "ftruncate":
                raise AssertionError(f"{name} is truncated, which the replay knows nothing of")
            case name_ if name_ in _WRITES:
                written = self._writing.pop(call.pid)
                assert result == len(written.data), "a short write"
                if not call.name.startswith("p"):
                    self._position[call.pid, fd] += result
                if self._is_durable.get((call.pid, fd)):
                    yield Kept(written)

    def _name(self, path: str) -> str:
        """The name of a file of the store, or nothing."""
        name = path.removeprefix(self._beginning)
        return "" if name == path or name in _LOCKS else name


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
