"""What a disk may hold after a power cut, worked out from what was written to it.

Of what was written since the last sync any part may be there: some writes and not others, and of
one write some blocks and not others. What was synced is there. The same goes for names.

Rule: bytes and files only; what they mean is for whoever opens them, what was recorded is in
recording.py.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.support.recording import (
    DirectorySynced,
    Event,
    Kept,
    Made,
    ParentSynced,
    Removed,
    Renamed,
    Synced,
    Written,
)

_SPARSE_BYTES = 1 << 16
_ZEROS = bytes(_SPARSE_BYTES)


class Image(NamedTuple):
    """What a directory holds after a cut; None where the directory itself is not there.

    ``key``: equal to that of any other image of the same recording that holds the same.
    """

    files: dict[str, bytearray] | None
    key: Hashable

    def write(self, data_dir: Path) -> None:
        """Make the directory."""
        if self.files is None:
            return
        data_dir.mkdir()
        for name, data in self.files.items():
            with (data_dir / name).open("wb", buffering=0) as file:
                for at in range(0, len(data), _SPARSE_BYTES):
                    part = data[at : at + _SPARSE_BYTES]
                    if part != _ZEROS[: len(part)]:
                        file.seek(at)
                        file.write(part)
                file.truncate(len(data))


@dataclass
class _File:
    number: int
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Written] = field(default_factory=list)
    #: How often what is durable has changed.
    version: int = 0

    def keep(self, written: Written) -> None:
        _put(self.durable, written.offset, written.data)
        self.version += 1


@dataclass
class Disk:
    """The files of a store: what surely is on disk, and what may be."""

    #: Files of which it says that they are synced, and they are not: that has to be noticed.
    lies_about: tuple[str, ...] = ()
    _files: dict[str, _File] = field(default_factory=dict)
    #: The same after a cut, as far as it is known.
    _kept: dict[str, _File] = field(default_factory=dict)
    _made: int = 0
    _is_kept: bool = False

    def take(self, event: Event) -> None:
        """The event happens."""
        match event:
            case Made():
                self._made += 1
                self._files[event.name] = _File(self._made)
            case Renamed():
                self._files[event.new] = self._files.pop(event.old)
            case Removed():
                self._files.pop(event.name)
            case DirectorySynced():
                self._kept = dict(self._files)
            case ParentSynced():
                self._is_kept = True
            case Written():
                self._files[event.name].pending.append(event)
            case Kept() if event.written.name not in self.lies_about:
                file = self._files[event.written.name]
                file.pending.remove(event.written)
                file.keep(event.written)
            case Synced() if event.name not in self.lies_about:
                file = self._files[event.name]
                for written in file.pending:
                    file.keep(written)
                file.pending.clear()

    def cut(self, rng: random.Random, sector_bytes: int) -> Image:
        """What may be found if power is lost now, on a disk that writes sectors as a whole."""
        if not self._is_kept and rng.random() < 0.1:
            return Image(None, None)
        files: dict[str, bytearray] = {}
        key: list[Hashable] = []
        for name in sorted(self._files.keys() | self._kept.keys()):
            file = rng.choice([self._files.get(name), self._kept.get(name)])
            if file is not None:
                files[name], parts = _image(file, rng, sector_bytes)
                key.append((name, file.number, file.version, parts))
        return Image(files, tuple(key))


def _image(file: _File, rng: random.Random, sector_bytes: int) -> tuple[bytearray, Hashable]:
    """The file as it may be, and which parts of what is pending are in it."""
    image = bytearray(file.durable)
    share = rng.choice([0.0, rng.random(), 1.0])
    parts = []
    for written in file.pending:
        for start in range(0, len(written.data), sector_bytes):
            if rng.random() < share:
                part = written.data[start : start + sector_bytes]
                _put(image, written.offset + start, part)
                parts.append((written.offset + start, hash(part)))
    return image, tuple(parts)


def _put(image: bytearray, offset: int, data: bytes) -> None:
    if len(image) < offset + len(data):
        image.extend(bytes(offset + len(data) - len(image)))
    image[offset : offset + len(data)] = data
