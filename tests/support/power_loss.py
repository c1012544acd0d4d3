"""What a disk may hold after a power cut, worked out from a recording of what was written to it.

Of what was written since the last sync any part may be there: some writes and not others, and of
one write some blocks and not others. What was synced is there. The same goes for names.

Rule: bytes and files only; what they mean is for whoever opens them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

#: Calls to record, of all processes, with -y and -xx: descriptors have their paths beside them, and
#: every string is hexadecimal.
CALLS = "openat,pwrite64,pwritev,writev,lseek,fdatasync,fsync,write,rename"

_LINE = re.compile(r"^(?P<pid>\d+) +(?P<call>.*)$")
_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)", re.DOTALL)
_BEGUN = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(?P<rest>.*)$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"^(?P<fd>\d+)<(?P<path>(?:\\x[0-9a-f]{2})*)>")

#: Of these nothing is needed after a cut.
_LOCKS = ("lock.mdb", "assetstored.lock")


class Made(NamedTuple):
    """There is a file of this name."""

    name: str


class Renamed(NamedTuple):
    """A file has another name, in place of any that had it."""

    old: str
    new: str


class DirectorySynced(NamedTuple):
    """The names are on disk as they are."""


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


class Acknowledged(NamedTuple):
    """What the program said after a batch."""

    text: str


Event: TypeAlias = Made | Renamed | DirectorySynced | Written | Kept | Synced | Acknowledged


def events_in(recording: str, data_dir: Path) -> Iterator[Event]:
    """What the calls in a recording did to the store in data_dir.

    A write may show from its beginning on; what a sync promises holds from its end on.
    """
    recorder = _Recorder(data_dir)
    begun: dict[str, tuple[str, str]] = {}
    for line in recording.splitlines():
        match = _LINE.match(line)
        assert match is not None, line[:100]
        pid, text = match["pid"], match["call"]
        if (beginning := _BEGUN.match(text)) is not None:
            begun[pid] = beginning["name"], beginning["arguments"]
            yield from recorder.begin(pid, *begun[pid])
            continue
        was_begun = False
        if (resumed := _RESUMED.match(text)) is not None:
            name, arguments = begun.pop(pid)
            text, was_begun = f"{name}({arguments}{resumed['rest']}", True
        call = _CALL.match(text)
        if call is None or int(call["result"]) < 0:
            continue
        if not was_begun:
            yield from recorder.begin(pid, call["name"], call["arguments"])
        yield from recorder.end(pid, call["name"], call["arguments"], int(call["result"]))


class _Recorder:
    """Knows what is open, by process and descriptor."""

    def __init__(self, data_dir: Path) -> None:
        self._beginning = f"{data_dir}/"
        self._data_dir = str(data_dir)
        self._made: set[str] = set()
        self._is_durable: dict[tuple[str, str], bool] = {}
        self._position: dict[tuple[str, str], int] = {}
        self._writing: dict[str, Written] = {}

    def begin(self, pid: str, call: str, arguments: str) -> Iterator[Event]:
        strings = [_bytes(each) for each in _STRING.findall(arguments)]
        if call == "rename":
            old, new = (self._name(each.decode()) for each in strings)
            if old and new:
                yield Renamed(old, new)
            return
        fd, name = self._descriptor(arguments)
        if call == "write" and fd == "1":
            yield Acknowledged(strings[0].decode())
        elif name and call in ("pwrite64", "pwritev", "writev", "write"):
            at = (
                int(arguments.rsplit(",", 1)[1])
                if call.startswith("p")
                else self._position[pid, fd]
            )
            self._writing[pid] = Written(name, at, b"".join(strings))
            yield self._writing[pid]

    def end(self, pid: str, call: str, arguments: str, result: int) -> Iterator[Event]:
        if call == "openat":
            name = self._name(_bytes(_STRING.findall(arguments)[0]).decode())
            opened = (pid, str(result))
            self._is_durable[opened] = "O_DSYNC" in arguments
            self._position[opened] = 0
            if name and "O_CREAT" in arguments and name not in self._made:
                self._made.add(name)
                yield Made(name)
            return
        fd, name = self._descriptor(arguments)
        match call:
            case "fsync" if self._path(arguments) == self._data_dir:
                yield DirectorySynced()
            case _ if not name:
                return
            case "fdatasync" | "fsync":
                yield Synced(name)
            case "lseek":
                self._position[pid, fd] = result
            case "pwrite64" | "pwritev" | "writev" | "write":
                written = self._writing.pop(pid)
                assert result == len(written.data), "a short write"
                if not call.startswith("p"):
                    self._position[pid, fd] += result
                if self._is_durable.get((pid, fd)):
                    yield Kept(written)

    def _descriptor(self, arguments: str) -> tuple[str, str]:
        """The descriptor, and its file's name if it is one of the store's."""
        match = _DESCRIPTOR.match(arguments)
        return (match["fd"], self._name(_bytes(match["path"]).decode())) if match else ("", "")

    def _path(self, arguments: str) -> str:
        match = _DESCRIPTOR.match(arguments)
        return _bytes(match["path"]).decode() if match else ""

    def _name(self, path: str) -> str:
        name = path.removeprefix(self._beginning)
        return "" if name == path or name in _LOCKS else name


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Written] = field(default_factory=list)


@dataclass
class Disk:
    """The files of a store: what surely is on disk, and what may be."""

    #: The size of what the disk writes as a whole.
    sector_bytes: int
    #: Files of which it says that they are synced, and they are not: that has to be noticed.
    lies_about: tuple[str, ...] = ()
    _files: dict[str, _File] = field(default_factory=dict)
    #: The same after a cut, as far as it is known.
    _kept: dict[str, _File] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """The event happens."""
        match event:
            case Made():
                self._files[event.name] = _File()
            case Renamed():
                self._files[event.new] = self._files.pop(event.old)
            case DirectorySynced():
                self._kept = dict(self._files)
            case Written():
                self._files[event.name].pending.append(event)
            case Kept() if event.written.name not in self.lies_about:
                file = self._files[event.written.name]
                file.pending.remove(event.written)
                _put(file.durable, event.written.offset, event.written.data)
            case Synced() if event.name not in self.lies_about:
                file = self._files[event.name]
                for written in file.pending:
                    _put(file.durable, written.offset, written.data)
                file.pending.clear()

    def cut(self, rng: random.Random, data_dir: Path) -> None:
        """Leave in data_dir what may be found if power is lost now."""
        data_dir.mkdir()
        for name in sorted(self._files.keys() | self._kept.keys()):
            file = rng.choice([self._files.get(name), self._kept.get(name)])
            if file is not None:
                (data_dir / name).write_bytes(self._image(file, rng))

    def _image(self, file: _File, rng: random.Random) -> bytearray:
        image = bytearray(file.durable)
        share = rng.choice([0.0, rng.random(), 1.0])
        for written in file.pending:
            for start in range(0, len(written.data), self.sector_bytes):
                if rng.random() < share:
                    part = written.data[start : start + self.sector_bytes]
                    _put(image, written.offset + start, part)
        return image


def _put(image: bytearray, offset: int, data: bytes) -> None:
    if len(image) < offset + len(data):
        image.extend(bytes(offset + len(data) - len(image)))
    image[offset : offset + len(data)] = data
