"""The memory of changes: a repeat is answered as the first time, and carried out once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.store import change

from assetstored import engine, jobs, memory
from assetstored.changes import Slice
from assetstored.memory import REMEMBERED_S, RequestMemory
from assetstored.tables import (
    JOURNAL,
    META,
    Counters,
    JournalRow,
    Snapshot,
    Tables,
    id_key,
    read_row,
    write_row,
)
from assetstored.writer import StoreOfWriter

A, B = 1, 2

_numbers = itertools.count(1)


class Clients:
    """Changes that are asked for, of a writer in this process."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.writer = StoreOfWriter(data_dir)

    def reopen(self) -> None:
        """As after the end of a daemon: only the disk remembers."""
        self.writer.close()
        self.writer = StoreOfWriter(self.data_dir)

    def run(self, *batch: jobs.AnyJob) -> list[jobs.Result]:
        return self.writer.run(list(batch)).results

    def ask(self, job: jobs.AnyJob) -> Any:
        """The outcomes of a change, or the code of its refusal."""
        (result,) = self.run(job)
        return result.decoded() if result.code is None else result.code

    @property
    def revision(self) -> int:
        return self.writer._counters.revision


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Clients]:
    """The assets a and b have the ids 1 and 2, and a holds k, n, o and some in the trash."""
    clients = Clients(tmp_path)
    clients.run(jobs.ApplySlice(Slice([], [(name, name, None) for name in "ab"], [])))
    clients.ask(change(jobs.SetKey(A, "cleared", b"1", None), jobs.ClearStore(A)))
    clients.ask(
        change(
            jobs.SetKey(A, "k", b'"text"', None),
            jobs.SetKey(A, "n", b"5", None),
            jobs.SetKey(A, "o", b'{"a":1}', None),
        )
    )
    yield clients
    clients.writer.close()


def first(*operations: jobs.AnyOperation) -> jobs.Change:
    """A change with an id of its own."""
    return change(*operations, request=b"%016d" % next(_numbers))


def repeat(job: jobs.Change, *, age_s: float = 0.01) -> jobs.Change:
    """The same once more, as of a client that got no answer."""
    return msgspec.structs.replace(job, sent_at=time.monotonic() - age_s)


EVERY_OPERATION: dict[str, list[jobs.AnyOperation]] = {
    "set": [jobs.SetKey(A, "k", b"1", None)],
    "conditional set": [jobs.SetKey(A, "new", b"1", 0)],
    "delete": [jobs.DeleteKey(A, "k", None)],
    "delete of nothing and a set": [
        jobs.DeleteKey(A, "never", None),
        jobs.SetKey(A, "k", b"1", None),
    ],
    "clear": [jobs.ClearStore(A)],
    "advance": [jobs.AdvanceKey(A, "n", b"6", "value")],
    "advance that is not applied": [
        jobs.AdvanceKey(A, "n", b"4", "value"),
        jobs.SetKey(A, "l", b"1", None),
    ],
    "increment": [jobs.IncrementKey(A, "n", b"1", b"0")],
    "increment under a long key": [jobs.IncrementKey(A, "n" * 512, b"1", b"0")],
    "merge": [jobs.MergeKey(A, "o", b'{"b":2}', [], "replace", "value")],
    "merge that changes nothing": [
        jobs.MergeKey(A, "o", b'{"a":1}', [], "replace", "value"),
        jobs.IncrementKey(A, "n", b"1", b"0"),
    ],
    "check": [jobs.CheckKey(A, "new", 0), jobs.SetKey(A, "new", b"1", None)],
    "restore": [jobs.RestoreStore(1)],
    "move": [jobs.MoveStore(A, B, False)],
    "purge": [jobs.PurgeStores([1, 99])],
    "one key several times": [
        jobs.IncrementKey(A, "n", b"1", b"0"),
        jobs.IncrementKey(A, "n", b"1", b"0"),
        jobs.DeleteKey(A, "n", None),
        jobs.IncrementKey(A, "n", b"1", b"0"),
    ],
}


@pytest.mark.parametrize("kind", EVERY_OPERATION)
def test_a_repeat_is_answered_as_the_first_time_whatever_was_changed_since(
    clients: Clients, kind: str
) -> None:
    job = first(*EVERY_OPERATION[kind])
    answer = clients.ask(job)
    assert isinstance(answer, list)
    after = clients.revision

    assert clients.ask(repeat(job)) == answer
    assert clients.revision == after
    for key in ("k", "n", "o"):
        clients.ask(first(jobs.SetKey(A, key, b'"later"', None)))
        clients.ask(first(jobs.DeleteKey(A, key, None)))
    after = clients.revision
    assert clients.ask(repeat(job)) == answer
    clients.reopen()
    assert clients.ask(repeat(job)) == answer
    assert clients.ask(repeat(job)) == answer
    assert clients.revision == after


def test_a_repeat_that_was_not_carried_out_the_first_time_is_carried_out(
    clients: Clients,
) -> None:
    job = first(jobs.IncrementKey(A, "n", b"1", b"0"))

    ((revision, count, *_),) = clients.ask(repeat(job))

    assert (revision, count) == (clients.revision, 1)
    clients.reopen()
    other = first(jobs.IncrementKey(A, "n", b"1", b"0"))
    ((revision, *_),) = clients.ask(repeat(other))
    assert revision == clients.revision


def test_a_repeat_may_overtake_the_first_and_share_its_commit(clients: Clients) -> None:
    job = first(jobs.IncrementKey(A, "n", b"1", b"0"))

    results = clients.run(repeat(job), job, repeat(job))
    clients.run(job)

    assert results[0].decoded() == results[1].decoded() == results[2].decoded()
    assert results[0].decoded()[0][2][3] == b"6"
    ((_, _, entry, _),) = clients.ask(first(jobs.AdvanceKey(A, "n", b"0", "value")))
    assert entry[3] == b"6"


def test_what_changed_nothing_is_not_remembered_and_has_one_effect_at_most(
    clients: Clients,
) -> None:
    job = first(jobs.DeleteKey(A, "later", None))
    assert clients.ask(job) == [[None, 0, None, None]]
    clients.ask(first(jobs.SetKey(A, "later", b"1", None)))

    ((revision, count, *_),) = clients.ask(repeat(job))
    assert (revision, count) == (clients.revision, 1)
    clients.ask(first(jobs.SetKey(A, "later", b"1", None)))
    assert clients.ask(repeat(job)) == [[revision, 1, None, None]]


def test_what_was_refused_is_not_remembered(clients: Clients) -> None:
    job = first(jobs.SetKey(A, "l", b"1", None), jobs.CheckKey(A, "later", 0))
    clients.ask(first(jobs.SetKey(A, "later", b"1", None)))
    assert clients.ask(job) == "conflict"
    clients.ask(first(jobs.DeleteKey(A, "later", None)))

    assert clients.ask(repeat(job)) == [
        [clients.revision, 1, None, None],
        [None, 0, None, None],
    ]


def test_what_was_carried_out_is_remembered_although_it_would_be_refused_now(
    clients: Clients,
) -> None:
    job = first(jobs.SetKey(A, "l", b"1", 0))
    answer = clients.ask(job)

    assert clients.ask(first(jobs.SetKey(A, "l", b"1", 0))) == "conflict"
    assert clients.ask(repeat(job)) == answer


def test_what_a_failed_transaction_did_is_not_remembered(clients: Clients) -> None:
    job = first(jobs.IncrementKey(A, "n", b"1", b"0"))
    bug = change(jobs.SetKey(-1, "k", b"1", None))

    # The first try fails with the bug; in the second the change is still to be carried out.
    done, failed = clients.run(job, bug)

    assert failed.code == "server_fault"
    assert done.decoded()[0][2][3] == b"6"
    assert clients.ask(repeat(job)) == done.decoded()


def test_a_question_after_a_change_is_answered_with_its_outcomes_or_with_none(
    clients: Clients,
) -> None:
    job = first(jobs.SetKey(A, "l", b"1", None))
    question = repeat(msgspec.structs.replace(job, operations=[]))

    assert clients.ask(question) == []
    answer = clients.ask(job)
    assert clients.ask(question) == answer


# --- what is forgotten


def test_with_more_changes_than_are_remembered_the_oldest_are_forgotten(
    clients: Clients,
) -> None:
    clients.writer._memory = RequestMemory(limit=10)
    asked = [first(jobs.IncrementKey(A, "n", b"1", b"0")) for _ in range(15)]
    answers = [clients.ask(job) for job in asked]
    before = clients.revision

    again = [clients.ask(repeat(job, age_s=10.0)) for job in asked]

    assert again == ["forgotten"] * 5 + answers[5:]
    assert clients.revision == before


def test_what_was_sent_after_all_that_is_forgotten_is_carried_out(clients: Clients) -> None:
    clients.writer._memory = RequestMemory(limit=2)
    for _ in range(10):
        clients.ask(first(jobs.IncrementKey(A, "n", b"1", b"0")))

    # What is sent later than the slack between two clocks cannot have been forgotten.
    lately = first(jobs.IncrementKey(A, "n", b"1", b"0"))
    assert isinstance(clients.ask(repeat(lately, age_s=-1.1)), list)
    assert clients.ask(repeat(first(), age_s=0.01)) == "forgotten"


def test_what_is_done_after_a_restart_pushes_out_nothing_that_was_asked_for_before(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a journal that is longer than what is remembered of it.
    limit = 20
    monkeypatch.setattr(memory, "_SLACK_S", 0.0)
    monkeypatch.setattr(memory, "_CLOCK_SLACK_US", 0)
    for _ in range(limit):
        clients.ask(first(jobs.IncrementKey(A, "n", b"1", b"0")))
    asked = [first(jobs.IncrementKey(A, "n", b"1", b"0")) for _ in range(limit // 2)]
    answers = [clients.ask(job) for job in asked]
    sent_at = time.monotonic()
    cut_off = [first(jobs.IncrementKey(A, "n", b"1", b"0")) for _ in range(2)]
    clients.reopen()
    clients.writer._memory = RequestMemory(limit)

    for job in cut_off:
        again = msgspec.structs.replace(job, sent_at=sent_at)
        answer = clients.ask(again)
        assert isinstance(answer, list)
        assert clients.ask(again) == answer
        for _ in range(limit // 2 - 1):
            clients.ask(first(jobs.IncrementKey(A, "n", b"1", b"0")))
        assert [clients.ask(repeat(job, age_s=10.0)) for job in asked] == answers


def test_all_changes_of_a_commit_are_forgotten_alike(clients: Clients) -> None:
    clients.writer._memory = RequestMemory(limit=10)
    together = [first(jobs.IncrementKey(A, "n", b"1", b"0")) for _ in range(8)]
    clients.run(*together)
    for _ in range(5):
        clients.ask(first(jobs.IncrementKey(A, "n", b"1", b"0")))

    again = [clients.ask(repeat(job, age_s=10.0)) for job in together]

    assert again[:3] == ["forgotten"] * 3
    assert all(isinstance(answer, list) for answer in again[3:])


def test_what_was_sent_too_long_ago_is_not_carried_out(clients: Clients) -> None:
    before = clients.revision
    job = first(jobs.IncrementKey(A, "n", b"1", b"0"))

    assert clients.ask(repeat(job, age_s=REMEMBERED_S + 1)) == "forgotten"
    assert clients.revision == before
    assert isinstance(clients.ask(repeat(job, age_s=REMEMBERED_S - 60)), list)


def test_a_repeat_whose_rows_were_trimmed_is_forgotten(clients: Clients) -> None:
    job = first(jobs.SetKey(A, "gone", b"1", None))
    clients.ask(job)
    clients.ask(first(jobs.DeleteKey(A, "gone", None)))
    clients.run(jobs.TrimSlice(0, 2**62, 0))
    before = clients.revision

    assert clients.ask(repeat(job)) == "forgotten"
    clients.reopen()
    assert clients.ask(repeat(job)) == "forgotten"
    assert clients.revision == before


def test_a_repeat_whose_outcome_is_damaged_is_not_told_that_nothing_was_changed(
    clients: Clients,
) -> None:
    job = first(jobs.IncrementKey(A, "n", b"1", b"0"))
    ((revision, *_),) = clients.ask(job)
    with clients.writer._env.begin(write=True) as txn:
        txn.put(id_key(revision), b"damaged", db=clients.writer._tables[JOURNAL])

    assert clients.ask(repeat(job)) == "forgotten"
    assert clients.revision == revision


# --- what another process has carried out


def test_what_was_learned_is_known_as_what_was_carried_out_here(clients: Clients) -> None:
    job = first(jobs.IncrementKey(A, "n", b"1", b"0"))
    other = RequestMemory()
    answer = clients.ask(job)
    ((revision, *_),) = answer
    other.learn([(job.request, revision)], revision)
    clients.writer._memory = other

    assert clients.ask(repeat(job)) == answer
    assert clients.ask(job) == answer


def test_to_learn_nothing_changes_nothing(clients: Clients) -> None:
    memory = RequestMemory()
    memory.learn([], 7)

    assert memory.pending() == []
    clients.writer._memory = memory
    assert isinstance(clients.ask(first(jobs.SetKey(A, "k", b"1", None))), list)


def test_what_is_pending_is_told_until_it_is_committed_or_not(clients: Clients) -> None:
    memory = RequestMemory()
    memory.remember(b"one", 1)
    memory.remember(b"two", 2)
    assert memory.pending() == [(b"one", 1), (b"two", 2)]
    memory.aborted()
    assert memory.pending() == []
    memory.remember(b"one", 1)
    memory.committed(1)
    assert memory.pending() == []


def test_what_was_learned_is_forgotten_as_what_was_carried_out_here(clients: Clients) -> None:
    job = first(jobs.IncrementKey(A, "n", b"1", b"0"))
    ((revision, *_),) = clients.ask(job)
    memory = RequestMemory(limit=3)
    memory.learn([(job.request, revision)], revision)
    for number in range(3):
        memory.learn([(b"%016d" % number, revision + 1 + number)], revision + 1 + number)
    clients.writer._memory = memory

    assert clients.ask(repeat(job, age_s=5.0)) == "forgotten"


def edit(clients: Clients, work: Callable[[engine.Transaction, Tables], None]) -> None:
    """Change what is on disk while nobody has it open."""
    clients.writer.close()
    env = engine.open_for_writing(str(clients.data_dir))
    with env.begin(write=True) as txn:
        work(txn, Tables(env, txn, create=False))
    env.close()
    clients.writer = StoreOfWriter(clients.data_dir)


def test_a_row_that_was_kept_from_before_what_was_trimmed_shows_nothing_of_that(
    clients: Clients,
) -> None:
    job = first(jobs.SetKey(A, "gone", b"1", None))
    ((trimmed, *_),) = clients.ask(job)

    def trim(txn: engine.Transaction, tables: Tables) -> None:
        """As it looks where an old change of a quiet key was kept, and a later one was not."""
        snapshot = Snapshot(txn, tables)
        old = read_row(snapshot, JOURNAL, id_key(trimmed - 1), JournalRow)
        counters = read_row(snapshot, META, b"counters", Counters)
        assert old is not None
        assert counters is not None
        old.updated_at -= 7_200 * 1_000_000
        write_row(txn, tables, JOURNAL, id_key(trimmed - 1), old)
        txn.delete(id_key(trimmed), db=tables[JOURNAL])
        counters.compacted = trimmed
        write_row(txn, tables, META, b"counters", counters)

    edit(clients, trim)

    assert clients.ask(repeat(job)) == "forgotten"


def test_what_may_stand_in_a_damaged_row_is_not_known(clients: Clients) -> None:
    job = first(jobs.SetKey(A, "damaged", b"1", None))
    ((damaged, *_),) = clients.ask(job)
    later = first(jobs.SetKey(A, "later", b"1", None))
    answer = clients.ask(later)

    def damage(txn: engine.Transaction, tables: Tables) -> None:
        stored = txn.get(id_key(damaged), db=tables[JOURNAL])
        assert stored is not None
        txn.put(id_key(damaged), stored[:-1] + b"?", db=tables[JOURNAL])

    edit(clients, damage)

    assert clients.ask(repeat(later)) == answer
    assert clients.ask(repeat(job)) == "forgotten"


def test_after_a_start_as_many_changes_are_remembered_as_before(clients: Clients) -> None:
    asked = [first(jobs.IncrementKey(A, "n", b"1", b"0")) for _ in range(15)]
    answers = [clients.ask(job) for job in asked]
    clients.reopen()
    clients.writer._memory = RequestMemory(limit=10)

    assert [clients.ask(repeat(job)) for job in asked[5:]] == answers[5:]
    assert clients.ask(repeat(asked[0])) == "forgotten"


def test_a_refusal_says_why_it_is_not_known(clients: Clients) -> None:
    (result,) = clients.run(repeat(first(jobs.ClearStore(A)), age_s=2 * REMEMBERED_S))

    assert result.code == "forgotten"
    assert "the repeat of a change that was sent too long ago, or too many changes ago" in (
        result.message
    )
