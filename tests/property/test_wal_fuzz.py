"""The log as a file, against a list: random records, laps, cuts of the power, restarts, and damage.

Rule: no store; what is on disk is an image of bytes, of which any part of the last write is there.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.amount import amount

from assetstored import wal
from assetstored.wal import BLOCK, Record, Wal, WalDamaged

STORE = "0123456789abcdef" * 2

#: A life is some laps of a small log, and ends with a cut.
LIVES = amount(60, whole=1_500)

#: Of one log.
DAMAGES = amount(400, whole=5_000)

HALF_BLOCKS = 6


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "HALF_BYTES", HALF_BLOCKS * BLOCK)
    monkeypatch.setattr(wal, "FILE_BYTES", (1 + 2 * HALF_BLOCKS) * BLOCK)


class Life:
    """A log that is written as the daemon does, and the data file beside it: a revision."""

    def __init__(self, path: Path, rng: random.Random, in_file: int) -> None:
        self.path = path
        self.random = rng
        self.log = Wal(path)
        #: Up to which all is in the data file.
        self.in_file = in_file
        self.revision = in_file
        self.older: list[Record] = []
        self.newer: list[Record] = []

    def step(self) -> None:
        rng = self.random
        if rng.random() < 0.15:
            # The writer has committed what was on its way.
            self.in_file = max([self.in_file, *(record.last for record in self.older)])
            self.older.clear()
        if rng.random() < 0.05 and not (self.older or self.newer):
            # And something else, that is not logged.
            self.revision += rng.randrange(1, 5)
            self.in_file = self.revision
        record = self.next_record()
        if not self.log.has_room(len(record.payload)) or rng.random() < 0.1:
            self.in_file = max([self.in_file, *(record.last for record in self.older)])
            self.older, self.newer = self.newer, []
            self.log.switch()
        self.write(record)

    def next_record(self) -> Record:
        rng = self.random
        size = rng.choice(
            [0, 1, 100, BLOCK - 28, BLOCK - 27, rng.randrange(HALF_BLOCKS * BLOCK - 28)]
        )
        first = self.revision + 1
        return Record(first, first + rng.randrange(0, 5), rng.randbytes(size))

    def write(self, record: Record) -> None:
        self.log.append(record.payload, record.first, record.last)
        self.newer.append(record)
        self.revision = record.last

    def there(self) -> list[Record]:
        return self.older + self.newer

    def cut(self) -> list[list[Record]]:
        """The power is cut within the write of a record; returns what may be there."""
        rng = self.random
        record = self.next_record()
        if not self.log.has_room(len(record.payload)):
            return [self.there()]
        there, before = self.there(), self.path.read_bytes()
        self.write(record)
        after = self.path.read_bytes()
        image = bytearray(before)
        unit = rng.choice([512, BLOCK])
        changed = [
            at for at in range(0, len(after), unit) if before[at:][:unit] != after[at:][:unit]
        ]
        share = rng.random()
        kept = [at for at in changed if rng.random() < share]
        for at in kept:
            image[at : at + unit] = after[at : at + unit]
        self.path.write_bytes(image)
        # Whole it may also be if only zeros behind it are missing.
        return [self.there()] if kept == changed else [there, self.there()]


def test_after_any_cut_all_records_that_were_synced_are_there_and_no_other(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    path = tmp_path / "data.wal"
    wal.create(path, STORE)
    in_file = count = 0
    for _ in range(LIVES):
        life = Life(path, rng, in_file)
        for _ in range(rng.randrange(30)):
            life.step()
            assert wal.recover(path, STORE, life.in_file) == life.there()
        allowed = life.cut()
        life.log.close()

        found = wal.recover(path, STORE, life.in_file)
        assert found in allowed
        count += len(found)
        # The next daemon brings them into the data file.
        in_file = max([life.in_file, *(record.last for record in found)])
        assert wal.recover(path, STORE, in_file) == []
    print(f"{count} records recovered after {LIVES} cuts")


def test_whatever_is_damaged_no_record_is_changed_and_none_is_skipped(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    path = tmp_path / "data.wal"
    wal.create(path, STORE)
    life = Life(path, rng, 0)
    while not (life.older and len(life.newer) > 2):
        life.step()
    life.log.close()
    sound, there = path.read_bytes(), life.there()
    told = shortened = 0
    for _ in range(DAMAGES):
        image = bytearray(sound)
        for _ in range(rng.choice([1, 1, 3])):
            harm(image, rng)
        path.write_bytes(image)
        try:
            found = wal.recover(path, STORE, life.in_file)
        except WalDamaged:
            told += 1
            continue
        assert found == there[: len(found)]
        shortened += len(found) < len(there)
    assert told > DAMAGES / 20
    print(f"of {DAMAGES} damages {told} were told, and {shortened} ended the records")


def harm(image: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(image))
    block = at // BLOCK * BLOCK
    match rng.randrange(5):
        case 0:
            image[at] ^= 1 << rng.randrange(8)
        case 1:
            image[at : at + 8] = rng.randbytes(8)[: len(image) - at]
        case 2:
            image[block : block + BLOCK] = bytes(BLOCK)
        case 3:
            other = rng.randrange(1 + 2 * HALF_BLOCKS) * BLOCK
            image[block : block + BLOCK] = image[other : other + BLOCK]
        case 4:
            # The numbers of a record.
            image[block + rng.randrange(28)] ^= 1 << rng.randrange(8)
