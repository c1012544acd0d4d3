"""A store that was made through a daemon, and what its own reading code says of it, bit by bit.

A look opens the data directory as a daemon does, asks all that clients can ask of it, and compares
each answer with the one that the sound store gave. It is made in a forked child, for LMDB may end
the process that meets a damaged page.

Rule: no expectation here of how often what may happen; the bits are somebody else's choice.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import select
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace
from tests.support.daemon import Daemon

from assetstore.errors import UnknownAsset
from assetstore.messages import AssetInfo, AssetRef
from assetstored import datadir, engine, history, opening
from assetstored.reader import Reader
from assetstored.service import refusal_of

PAGE = 4096

#: The two meta pages; what follows are data pages.
METAS = 2 * PAGE

ASSETS = ("orders", "customers", "documents", "paths", "empty")
LEFT = "left"

#: How long a look may take, on a busy machine: usual are 30 ms.
LONGEST_S = 20

#: 478 bytes that long keys share.
HEAD = "é" * 239

#: Like a key that is there, and never written.
ABSENT = "~absent"


def make_store(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """Fill a running daemon's store with all kinds of pages; returns what its assets hold."""
    held: dict[str, dict[str, Any]] = {asset: {} for asset in ASSETS}
    daemon.activate(*ASSETS, LEFT)
    with daemon.client(timeout=30.0) as client:
        for asset, count, size in (("orders", 400, 30), ("customers", 150, 400)):
            values = {f"key-{n:04}": f"{asset} {n} " + "x" * size for n in range(count)}
            client.store(asset).set_many(values)
            held[asset] |= values
        for number in range(16):
            key, value = f"document-{number}", f"{number}" * (2_000 + 1_500 * number)
            client.store("documents").set(key, value)
            held["documents"][key] = value
        for number in range(40):
            key = (HEAD if number % 2 else "") + f"/{number}/" + "ü" * 260
            held["paths"][key] = number
            held["paths"][f"short-{number}"] = number
        client.store("paths").set_many(held["paths"])
        for turn in range(8):
            changed = {f"key-{n:04}": f"turn {turn} {n}" for n in range(turn, 400, 8)}
            client.store("orders").set_many(changed)
            held["orders"] |= changed
        for number in range(0, 400, 9):
            client.store("orders").delete(f"key-{number:04}")
            del held["orders"][f"key-{number:04}"]
        client.store("empty").set_many({f"key-{n}": n for n in range(200)})
        client.store("empty").clear()
        client.store(LEFT).set_many({f"key-{n}": n for n in range(100)})
        daemon.activate(*ASSETS)
    return held


class Question(NamedTuple):
    """Something that clients ask; ``what`` is the kind, the rest says of what."""

    what: str
    asset: str = ""
    key: str = ""


class Truth:
    """What the sound store answers."""

    def __init__(self, data_dir: Path, held: dict[str, dict[str, Any]]) -> None:
        """Ask the sound store; ``held`` says which keys there are."""
        self.questions = list(_questions(held))
        reader = _open(data_dir)
        try:
            self.answers = [_ask(reader, question) for question in self.questions]
        finally:
            reader.close()


@dataclass
class Look:
    """What came of one look. ``ended`` is a signal's number, or 0."""

    ended: int = 0
    refused: str = ""
    #: Kind of question and verdict -> how often.
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Questions that were answered otherwise than by the sound store, and not as damaged.
    wrong: list[Any] = field(default_factory=list)
    #: Assets and keys that are said to be damaged.
    damaged: list[tuple[str, str]] = field(default_factory=list)
    #: What was said of them, once each.
    messages: list[str] = field(default_factory=list)


def flip(data_dir: Path, bit: int, name: str = datadir.DATA_FILE) -> None:
    """Flip one bit of the file; twice is as never."""
    fd = os.open(data_dir / name, os.O_RDWR)
    try:
        (byte,) = os.pread(fd, 1, bit // 8)
        os.pwrite(fd, bytes([byte ^ (1 << bit % 8)]), bit // 8)
    finally:
        os.close(fd)


def damage_record(data_dir: Path, stored_key: bytes, good: bytes, bad: bytes) -> None:
    """Change bytes of the value in a key's record, and not in the journal, which has it too."""
    data = (data_dir / datadir.DATA_FILE).read_bytes()
    record = re.compile(re.escape(stored_key) + rb"\x96\xce.{1,100}?" + re.escape(good), re.DOTALL)
    found = list(record.finditer(data))
    assert found
    for match in found:
        data = data[: match.end() - len(good)] + bad + data[match.end() :]
    (data_dir / datadir.DATA_FILE).write_bytes(data)


def looks(copies: Sequence[Path], truth: Truth, bits: Sequence[int]) -> Iterator[tuple[int, Look]]:
    """A look with each bit flipped, one at a time; the copies are sound again afterwards.

    For each copy of the store there is a process, and they share the bits.
    """
    shares = [
        _Share(copy, truth, bits[number :: len(copies)]) for number, copy in enumerate(copies)
    ]
    while shares:
        ready, _, _ = select.select([share.fd for share in shares], [], [])
        for share in [share for share in shares if share.fd in ready]:
            yield from share.receive()
            if share.is_done:
                shares.remove(share)


class _Share:
    """A process that looks, and the bits that it has yet to flip."""

    def __init__(self, data_dir: Path, truth: Truth, bits: Sequence[int]) -> None:
        self.data_dir = data_dir
        self.is_done = False
        self._truth = truth
        self._waiting = list(bits)
        self._rest = b""
        self.fd = -1
        self._pid = 0
        self._begin()

    def receive(self) -> Iterator[tuple[int, Look]]:
        """What has come; when the process has ended, another one goes on."""
        data = os.read(self.fd, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield self._waiting.pop(0), _decoded(json.loads(line))
        if data:
            return
        os.close(self.fd)
        _, ended = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(ended)
        assert code <= 0, "a process failed; its traceback is above"
        if code:
            # LMDB has ended it, with this bit flipped.
            flip(self.data_dir, self._waiting[0])
            yield self._waiting.pop(0), Look(ended=-code)
        if self._waiting:
            self._begin()
        else:
            self.is_done = True

    def _begin(self) -> None:
        self._rest = b""
        self.fd, sent = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(sent)
            return
        # That LMDB ends this process is one of the answers, and no news for the terminal.
        faulthandler.disable()
        status = 1
        try:
            with open(sent, "w") as out:
                for bit in self._waiting:
                    look = _look_with(self.data_dir, self._truth, bit)
                    out.write(json.dumps(_encoded(look)) + "\n")
                    out.flush()
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)


def _look_with(data_dir: Path, truth: Truth, bit: int) -> Look:
    flip(data_dir, bit)
    # A daemon whose loop hangs is ended by its watchdog.
    signal.alarm(LONGEST_S)
    try:
        return look(data_dir, truth)
    finally:
        signal.alarm(0)
        flip(data_dir, bit)


def look(data_dir: Path, truth: Truth) -> Look:
    """Open the store as a daemon does, and ask it everything."""
    found = Look()
    try:
        reader = _open(data_dir)
    except datadir.StartRefused as exc:
        found.refused = str(exc)
        return found
    try:
        for question, right in zip(truth.questions, truth.answers, strict=True):
            try:
                answer = _ask(reader, question)
            except Exception as exc:
                answer = None
                refusal = refusal_of(reader, exc)
                verdict = "fault" if refusal is None else refusal.code
                if verdict != "damaged":
                    found.wrong.append([verdict, *question, repr(exc)[:200]])
                elif str(refusal) not in found.messages:
                    found.messages.append(str(refusal))
            else:
                verdict = _verdict(answer, right)
                if verdict != "right":
                    found.wrong.append([verdict, *question, repr(answer)[:200]])
            found.verdicts[question.what, verdict] += 1
            if verdict == "damaged" and question.what == "get":
                found.damaged.append((question.asset, question.key))
    finally:
        reader.close()
    return found


def _verdict(answer: Any, right: Any) -> str:
    """How an answer differs: "hidden" says less than is there, and nothing that is not."""
    if answer == right:
        return "right"
    if answer is None or (
        isinstance(answer, list)
        and isinstance(right, list)
        and all(each in right for each in answer)
    ):
        return "hidden"
    return "miscounted" if isinstance(answer, int) else "wrong"


def _open(data_dir: Path) -> Reader:
    """As the writer process and then the serving process do; raises StartRefused."""
    opened, _ = opening.open_checked(data_dir)
    opened.env.close()
    try:
        return Reader(str(data_dir))
    except engine.EngineError as exc:
        raise datadir.StartRefused(str(exc)) from exc


def _questions(held: dict[str, dict[str, Any]]) -> Iterator[Question]:
    yield Question("counters")
    yield Question("catalog")
    yield Question("entries")
    yield Question("trash")
    yield Question("journal")
    yield Question("resolve", LEFT)
    yield Question("resolve", "nobody")
    for asset, values in held.items():
        for n, key in enumerate(sorted(values)):
            yield Question("get", asset, key)
            if n % 16 == 0:
                yield Question("absent", asset, key + ABSENT)
                yield Question("history", asset, key)
        for what in ("keys", "items", "count", "count of a prefix"):
            yield Question(what, asset)
    for number in range(0, 400, 27):
        yield Question("absent", "orders", f"key-{number:04}")


def _ask(reader: Reader, question: Question) -> Any:
    return _ANSWERS[question.what](reader, question)


def _pages(ask: Callable[[Any], tuple[list[Any], bool]]) -> list[Any]:
    found: list[Any] = []
    more, after = True, None
    while more:
        page, more = ask(after)
        found += page
        after = page[-1] if page else None
    return found


def _assets(reader: Reader) -> list[AssetInfo]:
    return reader.assets(0, 1_000)[0]


def _items(reader: Reader, ref: AssetRef) -> list[Any]:
    found: list[Any] = []
    more, after = True, None
    while more:
        page, more = reader.items(ref, "", after, 1_000)
        found += [(key, bytes(entry)) for key, entry in page]
        after = page[-1][0] if page else None
    return found


def _count(reader: Reader, ref: AssetRef, prefix: str) -> int:
    total, after = reader.count(ref, prefix, None)
    while after is not None:
        more, after = reader.count(ref, prefix, after)
        total += more
    return total


def _history(reader: Reader, question: Question) -> list[Any]:
    asset_id = reader.resolve(AssetRef(question.asset)).asset_id
    steps = history.steps(reader, asset_id, question.key)
    return [
        None if step.row is None else history.event(reader, step.revision, step.row)
        for step in steps
    ]


def _resolve(reader: Reader, question: Question) -> Any:
    try:
        found = reader.find(AssetRef(question.asset))
    except UnknownAsset:
        return None
    return None if found is None else repr(found)


def _get(reader: Reader, question: Question) -> bytes | None:
    found = reader.get(AssetRef(question.asset), question.key)
    return None if found is None else bytes(found)


_ANSWERS: dict[str, Callable[[Reader, Question], Any]] = {
    "counters": lambda reader, _: repr(reader.counters()),
    # How many entries an asset has is in no checksum, and is not what the rest of its row is.
    "catalog": lambda reader, _: repr([replace(info, entries=0) for info in _assets(reader)]),
    "entries": lambda reader, _: sum(info.entries for info in _assets(reader)),
    "trash": lambda reader, _: repr(reader.trash(0, 1_000, 0)),
    "journal": lambda reader, _: [history.event(reader, *pair) for pair in reader.journal_rows(1)],
    "resolve": _resolve,
    "get": _get,
    "absent": _get,
    "history": _history,
    "keys": lambda reader, q: _pages(
        lambda after: reader.keys(AssetRef(q.asset), "", after, 1_000)
    ),
    "items": lambda reader, q: _items(reader, AssetRef(q.asset)),
    "count": lambda reader, q: _count(reader, AssetRef(q.asset), ""),
    "count of a prefix": lambda reader, q: _count(reader, AssetRef(q.asset), "key-"),
}


def _encoded(look: Look) -> dict[str, Any]:
    return {**look.__dict__, "verdicts": [[*key, n] for key, n in look.verdicts.items()]}


def _decoded(fields: dict[str, Any]) -> Look:
    fields["verdicts"] = Counter({(what, verdict): n for what, verdict, n in fields["verdicts"]})
    return Look(**fields)
