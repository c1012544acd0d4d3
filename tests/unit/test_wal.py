"""The write-ahead log as a file: its bytes, what a power cut may leave of them, and what is damage.

Rule: images are made byte by byte; what a payload means is not known here.
"""

from __future__ import annotations

import itertools
import os
import random
import resource
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from assetstored import wal
from assetstored.wal import BLOCK, Record, Wal, WalDamaged

STORE = "5" * 32
KEY = bytes(range(16))

#: As HALF_BYTES, such that a lap is over soon.
SMALL_HALF = 8 * BLOCK


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs have room for eight blocks in a half."""
    monkeypatch.setattr(wal, "HALF_BYTES", SMALL_HALF)
    monkeypatch.setattr(wal, "FILE_BYTES", BLOCK + 2 * SMALL_HALF)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.wal"


@pytest.fixture
def log(path: Path, small: None) -> Iterator[Wal]:
    """A new log, of a known key."""
    wal.create(path, STORE)
    header = b"aswal\0\0\1" + KEY + STORE.encode()
    write_at(path, 0, header + zlib.crc32(header).to_bytes(4, "big"))
    log = Wal(path)
    yield log
    log.close()


def write_at(path: Path, at: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def recover(path: Path, revision: int = 0) -> list[tuple[int, int]]:
    """First and last revision of the records after this one."""
    return [(record.first, record.last) for record in wal.recover(path, STORE, revision)]


def payload_of(blocks: int, number: int = 0) -> bytes:
    """A payload whose record fills so many blocks, but for a little."""
    return bytes([65 + number % 26]) * (blocks * BLOCK - 100)


# --- bytes


def test_a_new_log_is_of_fixed_size_has_its_blocks_and_holds_nothing(path: Path) -> None:
    wal.create(path, STORE)

    found = path.stat()
    assert found.st_size == 8_392_704 == wal.FILE_BYTES
    assert found.st_blocks * 512 >= wal.FILE_BYTES
    assert found.st_mode & 0o777 == 0o600
    assert recover(path) == []
    assert wal.is_blank(path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_every_log_has_a_key_of_its_own(path: Path) -> None:
    keys = set()
    for _ in range(3):
        wal.create(path, STORE)
        keys.add(path.read_bytes()[8:24])

    assert len(keys) == 3


def test_the_beginning_and_a_record_are_these_bytes(log: Wal, path: Path) -> None:
    log.append(b"what is changed", 258, 259)

    data = path.read_bytes()
    assert data[:60].hex() == (
        "617377616c000001"  # aswal, format 1
        "000102030405060708090a0b0c0d0e0f"  # the key
        + "35" * 32  # the store
        + "c327ddbb"  # checksum of it all
    )
    assert not data[60:BLOCK].strip(b"\0")
    assert data[BLOCK : BLOCK + 43].hex() == (
        "a577616c"  # magic
        "0f97c99a"  # checksum of the key, and of what follows
        "0000000f"  # length
        "0000000000000102"  # first revision
        "0000000000000103" + b"what is changed".hex()  # last revision
    )
    assert not data[BLOCK + 43 :].strip(b"\0")
    assert not wal.is_blank(path)
    assert wal.recover(path, STORE, 257) == [Record(258, 259, b"what is changed")]


def test_the_checksum_begins_with_the_key(log: Wal, path: Path) -> None:
    log.append(b"payload", 1, 2)

    record = path.read_bytes()[BLOCK : BLOCK + 28 + 7]
    (crc,) = struct.unpack_from(">I", record, 4)
    assert crc == zlib.crc32(KEY + record[8:])


# --- one after the other


def test_records_come_back_in_order_each_from_its_own_block(log: Wal, path: Path) -> None:
    for number in range(1, 5):
        log.append(b"%d" % number, number, number)

    assert wal.recover(path, STORE, 0) == [Record(n, n, b"%d" % n) for n in range(1, 5)]
    assert log.used_bytes == 4 * BLOCK
    data = path.read_bytes()
    assert [data[BLOCK * n : BLOCK * n + 4] for n in range(1, 6)] == [b"\xa5wal"] * 4 + [bytes(4)]


def test_a_record_may_be_as_long_as_a_half_and_no_longer(log: Wal, path: Path) -> None:
    largest = SMALL_HALF - 28

    assert log.has_room(largest)
    assert not log.has_room(largest + 1)
    log.append(b"x" * largest, 1, 1)
    assert not log.has_room(0)
    assert log.used_bytes == SMALL_HALF
    log.switch()
    assert log.used_bytes == 0
    log.append(b"y" * largest, 2, 2)

    assert recover(path) == [(1, 1), (2, 2)]
    assert path.stat().st_size == BLOCK + 2 * SMALL_HALF


def test_what_is_in_the_data_file_already_is_left_out(log: Wal, path: Path) -> None:
    for first in (1, 4, 7):
        log.append(b"", first, first + 2)

    assert recover(path, 0) == [(1, 3), (4, 6), (7, 9)]
    assert recover(path, 3) == [(4, 6), (7, 9)]
    assert recover(path, 9) == []
    assert recover(path, 100) == []


def test_many_laps_leave_what_is_not_in_the_data_file_and_nothing_else(
    log: Wal, path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    checkpointed = revision = 0
    logged: list[Record] = []
    for _ in range(40):
        for _ in range(rng.randrange(1, 9)):
            payload = rng.randbytes(rng.choice([0, 10, BLOCK, 2 * BLOCK]))
            if not log.has_room(len(payload)):
                break
            logged.append(Record(revision + 1, revision + rng.randrange(1, 4), payload))
            revision = logged[-1].last
            log.append(payload, logged[-1].first, revision)
            assert wal.recover(path, STORE, checkpointed) == logged
        # Brought into the data file, while the other half is written.
        frozen = len(logged)
        log.switch()
        if log.has_room(10) and rng.random() < 0.5:
            logged.append(Record(revision + 1, revision + 1, b"meanwhile"))
            revision += 1
            log.append(b"meanwhile", revision, revision)
        assert wal.recover(path, STORE, checkpointed) == logged
        checkpointed = logged[frozen - 1].last
        del logged[:frozen]
        assert wal.recover(path, STORE, checkpointed) == logged
        # As after a start, or the next freeze: the half that was just begun goes on.
    assert revision > 80


def test_a_log_that_is_opened_again_is_written_from_its_beginning(log: Wal, path: Path) -> None:
    log.append(payload_of(2), 1, 5)
    log.switch()
    log.append(payload_of(1), 6, 6)

    again = Wal(path)
    again.append(b"new", 7, 7)
    again.close()

    assert recover(path, 6) == [(7, 7)]


# --- what a power cut leaves of the last record


def images_of_cut(
    before: bytes, after: bytes, unit_bytes: int, rng: random.Random
) -> Iterator[bytes]:
    """What may be there of a write, if it was not synced: any of its units."""
    units = [
        at
        for at in range(0, len(after), unit_bytes)
        if before[at : at + unit_bytes] != after[at : at + unit_bytes]
    ]
    some = [[at for at in units if rng.random() < 0.5] for _ in range(200)]
    for chosen in itertools.chain(
        (units[:n] for n in range(len(units))),
        (units[n:] for n in range(1, len(units) + 1)),
        (units[:n] + units[n + 1 :] for n in range(len(units))),
        some,
    ):
        if len(chosen) == len(units):
            continue
        image = bytearray(before)
        for at in chosen:
            image[at : at + unit_bytes] = after[at : at + unit_bytes]
        yield bytes(image)


@pytest.mark.parametrize("unit_bytes", [512, BLOCK])
@pytest.mark.parametrize("blocks", [1, 2, 5])
@pytest.mark.parametrize("beneath", ["nothing", "records of a block each", "a longer record"])
def test_a_record_that_was_cut_is_absent_and_all_before_it_are_there(
    log: Wal, path: Path, seed: int, unit_bytes: int, blocks: int, beneath: str
) -> None:
    revision = 0
    if beneath != "nothing":
        # The former lap, all of which is in the data file.
        sizes = [1] * 8 if beneath == "records of a block each" else [1, 1, 6]
        for _ in range(2):
            for number, size in enumerate(sizes):
                revision += 1
                log.append(payload_of(size, number), revision, revision)
            log.switch()
    log.append(b"one", revision + 1, revision + 1)
    log.append(b"two", revision + 2, revision + 2)
    before = path.read_bytes()
    log.append(payload_of(blocks, 7), revision + 3, revision + 9)
    after = path.read_bytes()
    there = [(revision + 1, revision + 1), (revision + 2, revision + 2)]
    assert recover(path, revision) == [*there, (revision + 3, revision + 9)]

    count = 0
    for image in images_of_cut(before, after, unit_bytes, random.Random(seed)):
        path.write_bytes(image)
        assert recover(path, revision) == there
        count += 1
    assert count >= 2 * blocks


def test_what_is_written_after_a_cut_is_found_whatever_the_cut_has_left(
    log: Wal, path: Path, seed: int
) -> None:
    log.append(b"one", 1, 1)
    before = path.read_bytes()
    log.append(payload_of(3), 2, 4)
    after = path.read_bytes()

    for image in images_of_cut(before, after, BLOCK, random.Random(seed)):
        path.write_bytes(image)
        # The next daemon has brought "one" into the data file, and gives its revisions anew.
        again = Wal(path)
        again.append(b"new", 2, 2)
        again.append(b"newer", 3, 3)
        again.close()

        assert wal.recover(path, STORE, 1) == [Record(2, 2, b"new"), Record(3, 3, b"newer")]


def test_of_a_first_block_without_the_rest_nothing_is_taken_from_a_former_lap(
    log: Wal, path: Path
) -> None:
    """The payload of the former lap goes on exactly as that of the new record does."""
    begin = b"A" * (2 * BLOCK - 28)
    log.append(begin + b"A" * BLOCK, 1, 1)
    log.switch()
    log.switch()
    before = path.read_bytes()
    log.append(begin + b"B" * BLOCK, 2, 2)
    after = path.read_bytes()
    assert before[2 * BLOCK : 3 * BLOCK] == after[2 * BLOCK : 3 * BLOCK]

    path.write_bytes(after[: 2 * BLOCK] + before[2 * BLOCK :])

    assert recover(path, 1) == []


# --- damage


def test_a_flipped_bit_in_a_record_that_others_follow_is_damage(log: Wal, path: Path) -> None:
    log.append(b"one", 1, 1)
    log.append(b"two two two", 2, 3)
    log.append(b"three", 4, 4)
    sound = path.read_bytes()

    for at in range(2 * BLOCK, 2 * BLOCK + 28 + 11):
        for bit in range(8):
            write_at(path, at, bytes([sound[at] ^ 1 << bit]))
            with pytest.raises(WalDamaged, match="revision 2 is missing, and revision 4 is there"):
                recover(path)
        write_at(path, at, sound[at : at + 1])
    assert recover(path) == [(1, 1), (2, 3), (4, 4)]


def test_a_flipped_bit_in_the_half_that_was_written_before_is_damage(log: Wal, path: Path) -> None:
    log.append(b"one", 1, 1)
    log.switch()
    log.append(b"two", 2, 2)
    sound = path.read_bytes()

    write_at(path, BLOCK + 30, bytes([sound[BLOCK + 30] ^ 4]))

    with pytest.raises(WalDamaged, match="revision 1 is missing, and revision 2 is there"):
        recover(path)
    assert recover(path, 1) == [(2, 2)]


@pytest.mark.parametrize("lost_blocks", [1, 2, 3])
def test_lost_blocks_before_others_are_damage(log: Wal, path: Path, lost_blocks: int) -> None:
    for number in range(1, 6):
        log.append(b"", number, number)

    write_at(path, 2 * BLOCK, bytes(lost_blocks * BLOCK))

    with pytest.raises(WalDamaged, match=f"revision 2 is missing, and revision {2 + lost_blocks}"):
        recover(path)


def test_a_data_file_from_before_the_log_begins_is_not_what_it_belongs_to(
    log: Wal, path: Path
) -> None:
    log.append(b"", 10, 12)
    log.append(b"", 13, 13)

    with pytest.raises(WalDamaged, match="revision 9 is missing, and revision 10 is there"):
        recover(path, 8)
    # Nor one that ends within what was written together.
    with pytest.raises(WalDamaged, match="revision 12 is missing, and revision 10 is there"):
        recover(path, 11)
    assert recover(path, 12) == [(13, 13)]


def test_the_log_of_another_store_is_told(log: Wal, path: Path) -> None:
    with pytest.raises(WalDamaged, match=f"it is of store {STORE}"):
        wal.recover(path, "6" * 32, 0)


@pytest.mark.parametrize("size_bytes", [0, 1, 59, 60, BLOCK, 5 * BLOCK, 17 * BLOCK - 1, 18 * BLOCK])
def test_a_log_of_another_size_is_damaged(log: Wal, path: Path, size_bytes: int) -> None:
    log.append(b"", 1, 1)
    os.truncate(path, size_bytes)

    with pytest.raises(WalDamaged, match=r"beginning is missing|bytes in place of 69,632"):
        recover(path)


def test_every_byte_of_the_beginning_is_checked(log: Wal, path: Path) -> None:
    sound = path.read_bytes()
    for at in range(60):
        write_at(path, at, bytes([sound[at] ^ 1]))
        with pytest.raises(WalDamaged, match=r"does not begin as|fails its checksum"):
            recover(path)
        with pytest.raises(WalDamaged, match=r"does not begin as|fails its checksum"):
            Wal(path)
        write_at(path, at, sound[at : at + 1])
    assert recover(path) == []


# --- what clients write


def records_of_another_log(path: Path) -> bytes:
    """Four blocks, each with a whole record, of revisions that may be next; by another key."""
    wal.create(path, STORE)
    other = Wal(path)
    for number in range(4):
        other.append(b"forged", 2 + number, 2 + number)
    other.close()
    return path.read_bytes()[BLOCK : 5 * BLOCK]


def test_a_value_that_holds_records_of_another_log_is_no_record(
    log: Wal, path: Path, tmp_path: Path, seed: int
) -> None:
    forged = records_of_another_log(tmp_path / "other")
    log.append(b"one", 1, 1)
    before = path.read_bytes()
    # Such that each begins with a block.
    log.append(bytes(BLOCK - 28) + forged, 2, 2)
    after = path.read_bytes()
    assert after[3 * BLOCK : 7 * BLOCK] == forged
    assert recover(path, 1) == [(2, 2)]

    for image in images_of_cut(before, after, BLOCK, random.Random(seed)):
        path.write_bytes(image)
        assert recover(path, 1) == []


def test_what_a_value_left_of_a_former_lap_is_no_record(
    log: Wal, path: Path, tmp_path: Path
) -> None:
    log.append(bytes(BLOCK - 28) + records_of_another_log(tmp_path / "other"), 1, 1)
    log.switch()
    log.switch()
    log.append(b"over the first block", 2, 2)

    assert wal.recover(path, STORE, 1) == [Record(2, 2, b"over the first block")]


# --- making one


def test_a_new_log_takes_the_place_of_the_old_one(log: Wal, path: Path) -> None:
    log.append(b"old", 1, 1)

    wal.create(path, STORE)

    assert recover(path) == []
    assert wal.is_blank(path)


def test_a_log_that_cannot_be_made_whole_is_not_made(path: Path) -> None:
    wal.create(path, STORE)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.FILE_BYTES - 1, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            wal.create(path, STORE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_part_of_a_new_log_that_a_power_cut_left_is_in_nobodys_way(path: Path) -> None:
    path.with_name("data.wal.new").write_bytes(b"x" * 20_000_000)

    wal.create(path, STORE)

    assert recover(path) == []
    assert [each.name for each in path.parent.iterdir()] == [path.name]
