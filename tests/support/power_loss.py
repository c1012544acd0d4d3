"""What a disk may hold after a power cut, worked out from a recording of what was written to it.

Of what was written since the last sync any part may be there: some writes and not others, and of
one write some blocks and not others. What was synced is there.

Rule: bytes and files only; what they mean is for whoever opens them.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

#: Calls to record, with -xx so that every string is hexadecimal.
CALLS = "openat,pwrite64,pwritev,writev,lseek,fdatasync,fsync,write,rename,ftruncate"

_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


class Written(NamedTuple):
    """Bytes that were handed to the disk; ``durable`` says that they were there on return."""

    offset: int
    data: bytes
    durable: bool


class Synced(NamedTuple):
    """All that was written to the data file before is on disk."""


class Renamed(NamedTuple):
    """The marker has got its name; it is the first directory sync after this that keeps it."""

    content: bytes


class DirectorySynced(NamedTuple):
    """Names that were made in the directory before are on disk."""


class Acknowledged(NamedTuple):
    """What the program said after a batch."""

    text: str


Event: TypeAlias = Written | Synced | Renamed | DirectorySynced | Acknowledged


def events_in(recording: str, data_dir: Path) -> Iterator[Event]:
    """What the calls in a recording did to the store in data_dir."""
    open_: dict[int, tuple[str, bool]] = {}
    position: dict[int, int] = {}
    marker = b""
    for line in recording.splitlines():
        call = _CALL.match(line)
        if call is None or int(call["result"]) < 0:
            continue
        name, arguments, result = call["name"], call["arguments"], int(call["result"])
        strings = [_bytes(each) for each in _STRING.findall(arguments)]
        if name == "openat":
            path = strings[0].decode()
            open_[result] = (path, "O_DSYNC" in arguments)
            position[result] = 0
            continue
        if name == "rename":
            if strings[1].decode() == str(data_dir / "store.json"):
                yield Renamed(marker)
            continue
        fd = int(arguments.split(",")[0])
        path, is_durable = open_.get(fd, ("", False))
        if name == "write" and fd == 1:
            yield Acknowledged(strings[0].decode())
        elif name == "write" and path == str(data_dir / "store.json.new"):
            marker = strings[0]
        elif name == "fsync" and path == str(data_dir):
            yield DirectorySynced()
        elif path == str(data_dir / "data.mdb"):
            match name:
                case "lseek":
                    position[fd] = result
                case "pwrite64":
                    yield Written(int(arguments.rsplit(",", 1)[1]), strings[0], is_durable)
                case "pwritev":
                    yield Written(int(arguments.rsplit(",", 1)[1]), b"".join(strings), is_durable)
                case "writev" | "write":
                    yield Written(position[fd], b"".join(strings), is_durable)
                    position[fd] += result
                case "fdatasync" | "fsync":
                    yield Synced()
                case _:
                    raise ValueError(line[:100])


def _bytes(escaped: str) -> bytes:
    found = ast.literal_eval(f'b"{escaped}"')
    assert isinstance(found, bytes)
    return found


@dataclass
class Disk:
    """The data file and the marker: what surely is on disk, and what may be."""

    #: The size of what the disk writes as a whole.
    sector_bytes: int
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Written] = field(default_factory=list)
    marker: bytes = b""
    names_are_durable: bool = False
    marker_is_durable: bool = False
    #: As a disk that says so and does not: to see that it would be noticed.
    sync_is_a_lie: bool = False

    def take(self, event: Event) -> None:
        """The event happens."""
        match event:
            case Written() if event.durable and not self.sync_is_a_lie:
                _put(self.durable, event.offset, event.data)
            case Written():
                self.pending.append(event)
            case Synced() if not self.sync_is_a_lie:
                for written in self.pending:
                    _put(self.durable, written.offset, written.data)
                self.pending.clear()
            case Renamed():
                self.marker = event.content
            case DirectorySynced():
                self.names_are_durable = True
                self.marker_is_durable = bool(self.marker)

    def cut(self, event: Event, rng: random.Random, data_dir: Path) -> None:
        """Leave in data_dir what may be found if power is lost while event is happening."""
        data_dir.mkdir()
        underway = [event] if isinstance(event, Written) else []
        image = bytearray(self.durable)
        share = rng.random()
        for written in [*self.pending, *underway]:
            for start in range(0, len(written.data), self.sector_bytes):
                if rng.random() < share:
                    part = written.data[start : start + self.sector_bytes]
                    _put(image, written.offset + start, part)
        if self.names_are_durable or rng.random() < 0.8:
            (data_dir / "data.mdb").write_bytes(image)
        if self.marker_is_durable or (self.marker and rng.random() < 0.5):
            (data_dir / "store.json").write_bytes(self.marker)


def _put(image: bytearray, offset: int, data: bytes) -> None:
    if len(image) < offset + len(data):
        image.extend(bytes(offset + len(data) - len(image)))
    image[offset : offset + len(data)] = data
