"""Single bits of the store's files flipped: what is damaged is said to be, and is never served.

Most of it asks the daemon's own opening and reading code, in a forked child, everything that a
client can ask, once for each bit; a sample is asked by real clients of a real daemon. Each bit is
flipped back, so one copy of the store serves for all.

Rule: a wrong answer is any that the sound store would not give. Refusing to answer is the other one
there is; that something is hidden, which docs/reliability.md does not promise away, is counted.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.amount import amount
from tests.support.bit_rot import METAS, PAGE, Look, Truth, flip, looks, make_store
from tests.support.daemon import Daemon
from tests.support.endings import kill_all, wait_until_deserted

import assetstore
from assetstore import Damaged
from assetstored.wal import BLOCK, HALF_BYTES

#: How many processes look at stores of their own.
SIDE_BY_SIDE = 2


class Sound(NamedTuple):
    """A data directory, and what its assets hold."""

    data_dir: Path
    held: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """A store that was filled through a daemon, and stopped."""
    daemon = Daemon(tmp_path_factory.mktemp("sound"))
    daemon.set_manifest()
    with daemon:
        held = make_store(daemon)
    return Sound(daemon.data_dir, held)


@pytest.fixture
def copies(sound: Sound, tmp_path: Path) -> list[Path]:
    """Copies of it, one for each process that looks."""
    paths = [tmp_path / f"copy-{number}" for number in range(SIDE_BY_SIDE)]
    for path in paths:
        shutil.copytree(sound.data_dir, path)
    return paths


class Sum:
    """What came of all looks."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self.gets_damaged: Counter[int] = Counter()
        self.wrong: list[tuple[int, Any]] = []
        self.unnamed: list[str] = []

    def add(self, bit: int, look: Look) -> None:
        """Take one."""
        self.verdicts.update(look.verdicts)
        self.wrong += [(bit, each) for each in look.wrong]
        self.unnamed += [text for text in (*look.messages, look.refused) if not _is_helpful(text)]
        self.gets_damaged[len(look.damaged)] += 1
        if look.ended:
            self.outcomes[signal.Signals(look.ended).name] += 1
        elif look.refused:
            self.outcomes["start refused"] += 1
        elif any(verdict != "right" for _, verdict in look.verdicts):
            self.outcomes["said to be damaged"] += 1
        else:
            self.outcomes["nothing was asked of it"] += 1

    def check(self) -> set[int]:
        """Fail where anything that is not so was said; returns the bits that hid something."""
        assert [each for each in self.wrong if each[1][0] not in ("hidden", "miscounted")] == []
        assert self.unnamed == []
        # Else nothing would have been asked of it. One in a hundred is usual, and of a few there
        # may be more.
        ended = sum(count for what, count in self.outcomes.items() if what.startswith("SIG"))
        assert ended <= 4 + self.outcomes.total() / 40, self.outcomes
        return {bit for bit, _ in self.wrong}


def _is_helpful(text: str) -> bool:
    return not text or "restore" in text.lower() or "Write it anew" in text


def look_at_all(copies: list[Path], held: dict[str, dict[str, Any]], bits: list[int]) -> Sum:
    """The looks with each of the bits flipped, side by side."""
    truth = Truth(copies[0], held)
    total = Sum()
    for bit, look in looks(copies, truth, bits):
        total.add(bit, look)
    return total


def data_bits(data_dir: Path, count: int, rng: random.Random) -> list[int]:
    """Bits anywhere in the data pages."""
    size = (data_dir / "data.mdb").stat().st_size
    return [rng.randrange(METAS * 8, size * 8) for _ in range(count)]


def test_a_flipped_bit_of_a_data_page_is_reported_and_no_other_answer_is_wrong(
    sound: Sound, copies: list[Path], seed: int, tally: Callable[..., None]
) -> None:
    flips = amount(150, whole=10_000)

    total = look_at_all(copies, sound.held, data_bits(copies[0], flips, random.Random(seed)))

    hid = total.check()
    assert len(hid) <= 1 + flips / 500, total.wrong
    tally(
        "Bit rot",
        flips=flips,
        questions=sum(total.verdicts.values()),
        wrong_values_served=0,
        flips_that_hid_a_key=len(hid),
        **{what.replace(" ", "_"): count for what, count in sorted(total.outcomes.items())},
        only_one_key_damaged=total.gets_damaged[1],
    )


@pytest.mark.parametrize("kind", ["branch", "leaf head"])
def test_flipped_bits_where_pages_lead_to_others_are_reported_too(
    sound: Sound, copies: list[Path], seed: int, tally: Callable[..., None], kind: str
) -> None:
    """Bits that lead LMDB elsewhere: all of branch pages, and what says which records there are."""
    rng = random.Random(seed)
    pages = {"branch": 1, "leaf head": 2}
    numbers = pages_of(copies[0] / "data.mdb", pages[kind])
    # The head of a leaf: what it is, how many records it has, and where the first are.
    bits = 8 * (PAGE if kind == "branch" else 24)
    flips = [
        rng.choice(numbers) * PAGE * 8 + rng.randrange(bits) for _ in range(amount(40, whole=500))
    ]

    total = look_at_all(copies, sound.held, flips)

    hid = total.check()
    assert len(hid) <= 2 + len(flips) / 5, total.wrong
    tally(
        "Bit rot",
        kind=kind,
        flips=len(flips),
        questions=sum(total.verdicts.values()),
        wrong_values_served=0,
        flips_that_hid_a_key=len(hid),
        **{what.replace(" ", "_"): count for what, count in sorted(total.outcomes.items())},
    )


def pages_of(data_file: Path, kind: int) -> list[int]:
    """The numbers of the pages that say of themselves that they are of a kind."""
    data = data_file.read_bytes()
    return [
        at // PAGE
        for at in range(METAS, len(data), PAGE)
        if int.from_bytes(data[at : at + 8], "little") == at // PAGE
        and int.from_bytes(data[at + 10 : at + 12], "little") == kind
    ]


def test_real_clients_of_a_running_daemon_hear_of_each_flipped_bit_or_get_what_was_written(
    sound: Sound, make_daemon: Callable[..., Daemon], seed: int, tally: Callable[..., None]
) -> None:
    flips = amount(12, whole=150)
    rng = random.Random(seed)
    daemon = make_daemon()
    daemon.set_manifest(*sound.held)
    shutil.copytree(sound.data_dir, daemon.data_dir)
    told = crashed = 0
    daemon.start()
    for number, bit in enumerate(data_bits(sound.data_dir, flips, rng)):
        if number % 10 == 9:
            # Status keeps what was damaged; a restart also meets the bit at the start.
            daemon.stop()
            shutil.copy(sound.data_dir / "data.mdb", daemon.data_dir)
            flip(daemon.data_dir, bit)
            daemon.launch()
            if not is_ready(daemon):
                wait_until_deserted(daemon.data_dir)
                assert "restore" in daemon.log_text().splitlines()[-1]
                told += 1
        else:
            flip(daemon.data_dir, bit)
        if daemon.process is not None:
            try:
                told += ask_everything(daemon, sound.held)
            except assetstore.NotConnected:
                assert daemon.wait() < 0
                # It is a process that outlives it that says so.
                wait_until_deserted(daemon.data_dir)
                assert "restore the data directory from a backup" in daemon.log_text()
                crashed += 1
        flip(daemon.data_dir, bit)
        if daemon.process is None:
            daemon.start()
    assert "Traceback" not in daemon.log_text()
    tally("Bit rot", flips=flips, wrong_values_served=0, clients_were_told=told, crashes=crashed)


def is_ready(daemon: Daemon) -> bool:
    try:
        daemon.wait_for("READY=1")
    except AssertionError:
        assert daemon.wait() not in (0, 1)
        return False
    return True


def ask_everything(daemon: Daemon, held: dict[str, dict[str, Any]]) -> bool:
    """Whether a client is told of damage; fails if it is given anything else that is not so."""
    damaged: list[str] = []
    with daemon.client(timeout=5.0) as client:
        for asset, values in held.items():
            store = client.store(asset)
            try:
                assert dict(store.items()) == values
                assert store.count() == len(values)
                continue
            except Damaged as exc:
                damaged.append(str(exc))
            for key, value in values.items():
                try:
                    assert store.get(key, "the default") == value
                except Damaged as exc:
                    damaged.append(str(exc))
        if damaged:
            status = client.status()
            assert status["health"] == "degraded"
            assert damaged[0] in status["problems"]
    return bool(damaged)


def test_a_flipped_bit_in_the_log_of_a_killed_daemon_is_refused_or_was_in_nothing_acknowledged(
    sound: Sound, make_daemon: Callable[..., Daemon], seed: int, tally: Callable[..., None]
) -> None:
    """What the log alone holds: all of it, a refusal, or all but the record that looks cut."""
    rng = random.Random(seed)
    flips = amount(6, whole=60)
    daemon = make_daemon(sweep_interval="1h")
    daemon.set_manifest(*sound.held)
    shutil.copytree(sound.data_dir, daemon.data_dir)
    daemon.start()
    with daemon.client() as client:
        client.checkpoint()  # behind what a start has to do: changes would wait for that
    # While the writer stands still, nothing is brought into the data file.
    os.kill(daemon.status()["writer_pid"], signal.SIGSTOP)
    with daemon.client() as client:
        store = client.store("customers")
        revisions = {store.set(f"logged-{number}", number) for number in range(60)}
    kill_all(daemon, 0)
    killed = daemon.root / "killed"
    daemon.data_dir.rename(killed)
    log = (killed / "data.wal").read_bytes()
    # In both halves, where the writer was asked to take the first; and none of an earlier life.
    records = [
        at
        for at in range(BLOCK, BLOCK + 2 * HALF_BYTES, BLOCK)
        if log[at : at + 4] == b"\xa5wal"
        and int.from_bytes(log[at + 12 : at + 20], "big") in revisions
    ]
    assert len(records) == 60
    refused = cut = unharmed = 0
    for _ in range(flips):
        shutil.copytree(killed, daemon.data_dir)
        at = rng.choice(records)
        length = int.from_bytes(log[at + 8 : at + 12], "big") + 28
        flip(daemon.data_dir, (at + rng.randrange(length)) * 8 + rng.randrange(8), "data.wal")
        daemon.launch()
        if not is_ready(daemon):
            assert "is missing, and revision" in daemon.log_text().splitlines()[-1]
            refused += 1
        else:
            with daemon.client() as client:
                there = dict(client.store("customers").items("logged-"))
            assert there in (
                {f"logged-{number}": number for number in range(60)},
                # The one exception, and it is named in docs/reliability.md.
                {f"logged-{number}": number for number in range(59)},
            )
            cut += len(there) == 59
            unharmed += len(there) == 60
            assert len(there) == 60 or at == records[-1]
            daemon.stop()
        shutil.rmtree(daemon.data_dir)
    tally("Bit rot", flips_in_the_log=flips, refused=refused, last_record_taken_for_cut=cut)
    assert unharmed == 0
