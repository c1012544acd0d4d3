"""From a manifest file to a verdict and slices: the pure core, the child, and who starts it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.waiting import wait_until

from assetstore.framing import frame
from assetstore.manifest import Manifest, ManifestAsset, ManifestInvalid, parse
from assetstore.messages import AssetRef
from assetstored import engine, proposal, proposer
from assetstored.catalog import CatalogWriter
from assetstored.changes import SLICE_CHANGES, Slice, Verdict
from assetstored.manifest_file import ManifestMissing, ManifestUnreadable
from assetstored.overlay import Overlay
from assetstored.proposal import fingerprint, parse_content, propose, read_content, write
from assetstored.proposer import Proposal, ProposalFailed
from assetstored.stores import StoreHandles
from assetstored.tables import CatalogRow, Tables


def asset(name: str, uri: str | None = None, group: str | None = None) -> ManifestAsset:
    return ManifestAsset(name, uri or name, group)


def manifest(*assets: ManifestAsset) -> Manifest:
    listed = [{"name": a.name, "uri": a.uri, "group": a.group} for a in assets]
    text = json.dumps({"version": 1, "allow_empty": True, "assets": listed})
    return parse(text.encode(), path="m.json")


def many(count: int, prefix: str = "a") -> list[ManifestAsset]:
    return [asset(f"{prefix}{i}") for i in range(count)]


def proposed(
    found: Manifest | ManifestInvalid | ManifestMissing | ManifestUnreadable,
    active: list[ManifestAsset],
    fraction: float = 0.5,
    confirmed: str | None = None,
) -> tuple[Verdict, list[Slice]]:
    outcome, parts = propose(found, iter(active), fraction, confirmed)
    return outcome, list(parts)


# --- the verdict


def test_a_first_manifest_is_accepted_whatever_its_size() -> None:
    outcome, parts = proposed(manifest(*many(1200)), [])

    assert outcome == Verdict(
        "accepted", None, outcome.digest, active=0, proposed=1200, activates=1200
    )
    assert [len(part.activate) for part in parts] == [SLICE_CHANGES] * (1200 // SLICE_CHANGES)


def test_what_is_active_already_is_unchanged() -> None:
    found = manifest(asset("a"), asset("b", "u", "g"))

    outcome, parts = proposed(found, [asset("b", "u", "g"), asset("a")])

    assert outcome == Verdict("unchanged", None, found.digest, active=2, proposed=2)
    assert parts == []


def test_a_manifest_that_deactivates_too_much_is_held_and_nothing_follows() -> None:
    found = manifest(*many(4), asset("new"))

    outcome, parts = proposed(found, many(10))

    assert outcome.state == "held"
    assert outcome.digest == found.digest
    assert (outcome.active, outcome.proposed) == (10, 5)
    assert (outcome.activates, outcome.deactivates, outcome.regroups) == (1, 6, 0)
    assert outcome.reason == (
        "would deactivate 6 of 10 active assets, and max_deactivate_fraction is 0.5. "
        "`assetstore manifest diff` shows them; `assetstore manifest accept` applies it"
    )
    assert parts == []


def test_a_held_manifest_is_accepted_under_its_digest() -> None:
    found = manifest()

    outcome, parts = proposed(found, many(10), confirmed=found.digest)

    assert outcome.state == "accepted"
    assert [len(part.deactivate) for part in parts] == [10]


def test_another_digest_confirms_nothing() -> None:
    found = manifest()

    assert proposed(found, many(10), confirmed="0" * 16)[0].state == "held"


def test_another_digest_does_not_stop_what_needs_no_confirmation() -> None:
    assert proposed(manifest(asset("a")), [], confirmed="0" * 16)[0].state == "accepted"


def test_a_fraction_of_one_holds_nothing() -> None:
    assert proposed(manifest(), many(10), fraction=1.0)[0].state == "accepted"


@pytest.mark.parametrize(
    ("problem", "state"),
    [
        (ManifestInvalid("m.json, line 1: not JSON"), "invalid"),
        (ManifestMissing("m.json: is not there"), "missing"),
        (ManifestUnreadable("m.json: is a directory"), "unreadable"),
    ],
)
def test_a_problem_with_the_file_changes_nothing_and_asks_nobody_what_is_active(
    problem: ManifestInvalid | ManifestMissing | ManifestUnreadable, state: str
) -> None:
    def not_to_be_asked() -> Iterator[ManifestAsset]:
        raise AssertionError
        yield

    outcome, parts = propose(problem, not_to_be_asked(), 0.5, None)

    assert (outcome.state, outcome.reason, outcome.digest) == (state, str(problem), None)
    assert list(parts) == []


def test_a_reason_with_a_path_that_is_no_text_can_be_sent() -> None:
    outcome, _ = proposed(ManifestMissing("/caf\udce9: is not there"), [])

    assert outcome.reason == "/caf?: is not there"
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(outcome), type=Verdict) == outcome


# --- the slices


def test_a_small_change_is_one_slice() -> None:
    _, parts = proposed(
        manifest(asset("a", "new"), asset("b", group="g"), asset("c")),
        [asset("a", "old"), asset("b"), asset("c")],
    )

    assert parts == [Slice([AssetRef("a", "old")], [("a", "new", None)], [("b", "b", "g")])]


@pytest.mark.parametrize(
    "leaving", [0, 1, SLICE_CHANGES - 1, SLICE_CHANGES, SLICE_CHANGES + 1, 1200]
)
@pytest.mark.parametrize("arriving", [0, 1, SLICE_CHANGES, 777])
@pytest.mark.parametrize("staying", [0, 1, 999])
def test_slices_hold_every_change_once_and_what_leaves_comes_first(
    leaving: int, arriving: int, staying: int
) -> None:
    gone, new = many(leaving, "gone"), many(arriving, "new")
    kept = many(staying, "kept")
    labelled = [asset(a.name, a.uri, "g") for a in kept]

    _, parts = proposed(manifest(*new, *labelled), gone + kept, fraction=1.0)

    assert [AssetRef(a.name, a.uri) for a in gone] == [r for p in parts for r in p.deactivate]
    assert sorted((a.name, a.uri, None) for a in new) == [a for p in parts for a in p.activate]
    assert [(a.name, a.uri, "g") for a in kept] == [a for p in parts for a in p.regroup]
    assert all(len(part) == SLICE_CHANGES for part in parts[:-1])
    assert all(0 < len(part) <= SLICE_CHANGES for part in parts)
    starts = [i for i, p in enumerate(parts) if p.activate or p.regroup]
    ends = [i for i, p in enumerate(parts) if p.deactivate]
    assert not starts or not ends or max(ends) <= min(starts)


def test_a_slice_of_the_longest_names_fits_into_a_frame() -> None:
    longest = [
        asset(f"{'😀' * 1496}{i:04}", f"{'😁' * 1496}{i:04}", "😂" * 1500) for i in range(500)
    ]
    _, parts = proposed(manifest(*longest), [])

    assert len(msgspec.msgpack.encode(parts[0])) < proposer.MAX_FRAME_BYTES


# --- what the child leaves, and how it is read


def answer(*payloads: bytes, tail: bytes = b"") -> io.BytesIO:
    return io.BytesIO(b"".join(map(frame, payloads)) + tail)


def test_what_is_written_is_what_is_read() -> None:
    outcome, parts = proposed(manifest(*many(1200)), [])
    out = io.BytesIO()
    write(out, outcome, parts)

    with Proposal(out) as found:
        assert found.verdict == outcome
        assert list(found.slices()) == parts
    assert out.closed


@pytest.mark.parametrize(
    "left",
    [
        answer(),
        answer(tail=b"\x00\x00"),
        answer(tail=b"\xff" * 10),
        answer(tail=b"\x00\x00\x00\x05hell"),
        answer(b"hello"),
        answer(msgspec.msgpack.encode(["accepted"])),
        answer(msgspec.msgpack.encode(["perhaps", None, None, 0, 0, 0, 0, 0])),
        answer(msgspec.msgpack.encode([b"\xff", None, None, 0, 0, 0, 0, 0])),
        answer(b"\x91" * 10_000),
    ],
)
def test_garbage_from_the_child_is_a_failure(left: io.BytesIO) -> None:
    with pytest.raises(ProposalFailed):
        Proposal(left)


def test_garbage_after_the_verdict_is_a_failure_of_the_slices() -> None:
    outcome = msgspec.msgpack.encode(Verdict("accepted", None, "d"))
    with Proposal(answer(outcome, b"garbage")) as found, pytest.raises(ProposalFailed):
        list(found.slices())
    cut = answer(outcome, tail=b"\x00\x00\x00\x09cut")
    with Proposal(cut) as found, pytest.raises(ProposalFailed):
        list(found.slices())


# --- the child itself


@pytest.fixture
def data_dir(tmp_path: Path) -> str:
    """A store with the assets a0 to a9, active, and an inactive one."""
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    env = engine.open_for_writing(str(directory))
    with env.begin(write=True) as txn:
        overlay = Overlay(txn, Tables(env, txn, create=True), StoreHandles(env))
        catalog = CatalogWriter(overlay)
        rows = [CatalogRow(a.name, a.uri, a.group, "active", 0, 0, 0) for a in many(10)]
        rows.append(CatalogRow("gone", "gone", None, "inactive", 0, 0, 0))
        for asset_id, row in enumerate(rows, 1):
            catalog.write(asset_id, row)
            catalog.index(asset_id, row, is_new=True)
        overlay.flush()
    env.close()
    return str(directory)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.json"


def run(
    data_dir: str,
    path: Path,
    *,
    known: bytes = b"",
    confirmed: str | None = None,
    timeout_s: float = 30.0,
) -> tuple[Verdict, list[Slice]]:
    """What the child answers."""

    async def main() -> tuple[Verdict, list[Slice]]:
        with await proposer.propose(
            data_dir,
            str(path),
            max_deactivate_fraction=0.5,
            known=known,
            confirmed=confirmed,
            timeout_s=timeout_s,
        ) as found:
            return found.verdict, list(found.slices())

    return asyncio.run(main())


def children() -> set[int]:
    """The processes that this one has started and not yet reaped."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended just now
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has a shell script run in place of Python, to see what becomes of a child that fails."""

    def replace(script: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return replace


def test_the_child_compares_with_what_is_active_in_the_store(data_dir: str, path: Path) -> None:
    path.write_text(json.dumps({"version": 1, "assets": [*(f"a{i}" for i in range(1, 10)), "b"]}))

    outcome, parts = run(data_dir, path)

    assert outcome.state == "accepted"
    assert parts == [Slice([AssetRef("a0", "a0")], [("b", "b", None)], [])]


def test_the_child_holds_and_takes_the_digest_that_confirms(data_dir: str, path: Path) -> None:
    path.write_text('{"version": 1, "assets": ["gone"]}')

    held, nothing = run(data_dir, path)
    accepted, parts = run(data_dir, path, confirmed=held.digest)

    assert (held.state, held.deactivates, held.active) == ("held", 10, 10)
    assert nothing == []
    assert accepted.state == "accepted"
    assert [len(part) for part in parts] == [11]


def test_the_child_says_what_is_wrong_with_the_file(data_dir: str, path: Path) -> None:
    def state() -> str:
        outcome, parts = run(data_dir, path)
        assert parts == []
        assert outcome.reason is not None
        assert str(path) in outcome.reason
        return outcome.state

    assert state() == "missing"
    path.mkdir()
    assert state() == "unreadable"
    path.rmdir()
    os.mkfifo(path)
    assert state() == "unreadable"
    path.unlink()
    path.write_text('{"version": 1')
    assert state() == "invalid"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    assert state() == "invalid"


def test_a_path_that_is_no_text_reaches_the_child(data_dir: str, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9 .json")
    path.write_text('{"version": 1, "assets": ["a0"], "allow_empty": true}')

    assert run(data_dir, path)[0].state == "held"


def test_many_changes_come_through_the_child(data_dir: str, path: Path) -> None:
    names = [f"new{i}" for i in range(20_000)]
    path.write_text(json.dumps({"version": 1, "assets": [*names, *(f"a{i}" for i in range(10))]}))

    outcome, parts = run(data_dir, path)

    assert outcome.activates == 20_000
    assert [name for part in parts for name, _, _ in part.activate] == sorted(names)


def test_a_store_that_cannot_be_read_is_a_failure_with_its_reason(
    tmp_path: Path, path: Path
) -> None:
    path.write_text('{"version": 1, "assets": ["a"]}')

    with pytest.raises(ProposalFailed, match=r"ended with status 1: .*No such file"):
        run(str(tmp_path / "no store"), path)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("kill -9 $$", "ended by signal 9"),
        ("kill -SEGV $$", "ended by signal 11"),
        ("exit 3", "ended with status 3"),
        ("echo 'first line' >&2; echo 'last line' >&2; exit 3", "with status 3: last line"),
        ("exit 0", "left no answer"),
        ("echo hello", "left garbage"),
        ("head -c 1000000 /dev/zero", "left garbage"),
    ],
)
def test_a_child_that_fails_is_a_failure_and_no_verdict(
    stand_in: Callable[[str], None], path: Path, script: str, says: str
) -> None:
    stand_in(script)

    with pytest.raises(ProposalFailed, match=says):
        run("data", path)


def test_a_child_that_complains_without_end_makes_no_long_reason(
    stand_in: Callable[[str], None], path: Path
) -> None:
    stand_in("head -c 5000000 /dev/zero | tr '\\0' x >&2; exit 1")

    with pytest.raises(ProposalFailed) as caught:
        run("data", path)

    assert len(str(caught.value)) < 2500


def test_a_child_that_cannot_be_started_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    with pytest.raises(ProposalFailed, match="cannot start a process"):
        run("data", path)


def test_a_child_that_takes_too_long_is_given_up_and_reaped(
    stand_in: Callable[[str], None], path: Path
) -> None:
    stand_in("exec sleep 1000")
    before = children()

    with pytest.raises(ProposalFailed, match=r"took more than 0\.2 s and was given up"):
        run("data", path, timeout_s=0.2)

    assert children() == before


def test_a_cancelled_proposal_leaves_no_child(stand_in: Callable[[str], None], path: Path) -> None:
    stand_in("exec sleep 1000")
    before = children()

    async def main() -> None:
        task = asyncio.create_task(proposer.propose("data", str(path), max_deactivate_fraction=0.5))
        await asyncio.to_thread(wait_until, lambda: children() > before, 10, "the child")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children() == before

    asyncio.run(main())


def test_the_child_is_told_nothing_it_does_not_need(
    stand_in: Callable[[str], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC", "ASSETSTORE_SOCKET", "TOKEN"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("PYTHONPATH", "kept")
    stand_in('env > "$5"; ls /proc/self/fd >> "$5"; exit 1')

    with pytest.raises(ProposalFailed):
        run("data", path)

    left = path.read_text()
    assert "secret" not in left
    assert "PYTHONPATH=kept" in left


def test_reading_a_manifest_turns_its_problems_into_values(path: Path) -> None:
    def found() -> Manifest | ManifestInvalid | ManifestMissing | ManifestUnreadable:
        return parse_content(read_content(str(path)), str(path))

    assert isinstance(found(), ManifestMissing)
    path.write_bytes(b"\xff")
    assert isinstance(found(), ManifestInvalid)
    path.write_text('{"version": 1, "assets": ["a"]}')
    assert found() == parse(path.read_bytes(), path=str(path))


# --- a file that is known


def test_every_verdict_on_a_file_has_its_fingerprint(data_dir: str, path: Path) -> None:
    assert run(data_dir, path)[0].fingerprint == b""
    for text in ("broken", '{"version": 1, "assets": ["gone"]}', '{"version": 1, "assets": []}'):
        path.write_text(text)

        assert run(data_dir, path)[0].fingerprint == fingerprint(text.encode(), str(path))


def test_the_child_knows_the_file_that_was_applied_and_asks_nobody_what_is_active(
    tmp_path: Path, path: Path
) -> None:
    path.write_text('{"version": 1, "assets": ["a"]}')
    mark = fingerprint(path.read_bytes(), str(path))

    outcome, parts = run(str(tmp_path / "no store"), path, known=mark)

    assert (outcome, parts) == (Verdict("known", None, None, mark), [])


def test_another_file_and_a_file_that_is_gone_are_not_known(data_dir: str, path: Path) -> None:
    listed = [f"a{i}" for i in range(10)]
    path.write_text(json.dumps({"version": 1, "assets": listed}))
    mark = fingerprint(path.read_bytes(), str(path))

    path.write_text(json.dumps({"version": 1, "assets": listed[1:]}))
    assert run(data_dir, path, known=mark)[0].state == "accepted"
    path.write_text(json.dumps({"version": 1, "assets": listed}, indent=1))
    assert run(data_dir, path, known=mark)[0].state == "unchanged"
    path.write_text("")
    assert run(data_dir, path, known=mark)[0].state == "invalid"
    path.unlink()
    assert run(data_dir, path, known=mark)[0].state == "missing"


def test_the_fingerprint_is_of_bytes_and_path_and_of_the_programs_that_read_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marks = [fingerprint(b"bytes", "m.json"), fingerprint(b"bytes", "m.toml")]
    marks += [fingerprint(b"bytes.", "m.json"), fingerprint(b"nbytes", "m.jso")]
    monkeypatch.setattr(proposal, "VERSION", "another")
    marks.append(fingerprint(b"bytes", "m.json"))

    assert len(set(marks)) == len(marks)
