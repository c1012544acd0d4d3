# Made from asynchronous/client.py by scripts/unasync.py: change that one.
"""The client: where everything that talks to the daemon begins.

Rule: turns answers into what a caller sees; how they come about is for calls.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from assetstore.address import check_socket, default_socket
from assetstore.answers import entry_of
from assetstore.assets import reference
from assetstore.calls import Calls
from assetstore.container import AssetStore
from assetstore.entries import Entry, Writer
from assetstore.errors import ProtocolError
from assetstore.events import Event
from assetstore.journal import new_log, new_watch
from assetstore.limits import MAX_PAGE_ITEMS, MAX_PURGE, check_key
from assetstore.link import Link, WaitingLink
from assetstore.listing import AssetInfo, Restored, TrashInfo, check_trash_id
from assetstore.messages import (
    AcceptManifest,
    AssetPage,
    AssetRef,
    Assets,
    Checkpoint,
    Checkpointed,
    ListTrash,
    Metrics,
    MetricsText,
    MoveStore,
    PurgeStores,
    ReloadManifest,
    RestoreStore,
    Status,
    StatusReport,
    Sweep,
    TrashPage,
)
from assetstore.retry import check_timeout
from assetstore.store import Store
from assetstore.transaction import Transaction
from assetstore.watching import Watch


class Client:
    """A client of the daemon on this host.

    To be closed at the end: by ``with Client() as client``, ``with connect() as
    client``, or ``close()``. Neither kind of client starts a thread. The coroutines of an event
    loop may share an asynchronous client and its one connection; cancelling one leaves the others
    alone, and whether its change happened is not known. All threads of a process may share a
    blocking client: it keeps up to eight connections, and a thread beyond that waits for one
    within its timeout; each that waits in a ``watch`` or ``wait_for`` has one besides.

    Socket: the argument, else ``$ASSETSTORE_SOCKET``, else
    ``$XDG_RUNTIME_DIR/assetstore/assetstored.sock`` if it exists, else
    ``/run/assetstore/assetstored.sock``; a path of at most 107 bytes. It connects on first use,
    again when the daemon has restarted, and anew in the child of a fork.

    Every call takes at most ``timeout`` seconds. Within them it tries again, with pauses of 10 to
    250 ms: when there is no socket, nobody listens or welcomes it (the daemon may be restarting),
    when the connection is lost, and what was refused as ``Busy``. Each change carries an id, by
    which the daemon knows a repeat and answers it as it did the first, so it happens once. A host
    without a daemon is reported after the timeout, not at once. Then:

    - ``NotConnected``: it was never sent, nothing happened. ``Forbidden``, at once: this user may
      not connect.
    - ``DeadlineExceeded``: sent, no answer in time; a change may have happened.
    - ``OutcomeUnknown``: the same, before the timeout: the daemon does not remember changes for as
      long as it was away, or the client was closed.
    - a subclass of ``Refused``: the daemon said no, nothing changed.

    ``writer`` says who makes the changes; without it the kind is "worker". It is stored with each
    entry, beside the uid, gid and pid that the kernel vouches for.
    """

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        timeout: float = 5.0,
        writer: Writer | None = None,
    ) -> None:
        writer = Writer() if writer is None else writer
        if not isinstance(writer, Writer):
            raise TypeError(f"writer must be an assetstore.Writer, not {type(writer).__name__}")
        writer.check()
        self._socket = check_socket(default_socket() if socket is None else socket)
        timeout_s = check_timeout(timeout)
        self._link = Link(self._socket, writer)
        self._waiting = WaitingLink(self._socket, writer)
        self._calls = Calls(self._link, self._waiting, self._socket, timeout_s)

    @property
    def socket(self) -> str:
        """The path of the daemon's socket."""
        return self._socket

    def close(self) -> None:
        """Close the connections; calls made afterwards raise NotConnected. May be called twice.

        Of an asynchronous client, changes under way end with OutcomeUnknown, and reads as above;
        of a blocking one, calls in other threads end in their own time, a watch after up to 10 s.
        """
        self._link.close()
        self._waiting.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._socket}>"

    def store(self, asset: Any) -> Store:
        """The store of one asset. Asks nobody: whether the asset is active its calls will tell.

        The asset is an Asset, a reference (``Asset.ref(...)``), a str (its name), or any object
        with a name or a uri, such as Airflow's. TypeError for something that names no asset.
        """
        return Store(self._calls, reference(asset))

    def asset_store(
        self,
        inlets: Iterable[Any] = (),
        outlets: Iterable[Any] = (),
    ) -> AssetStore:
        """The stores of a task's inlets and outlets, as Airflow's ``context["asset_store"]``.

        Aliases among them are passed over. TypeError for something that names no asset.
        """
        return AssetStore(self._calls, inlets, outlets)

    def transaction(self) -> Transaction:
        """A block of changes to any stores, all of which happen or none; see its class."""
        return Transaction(self._calls)

    def get_many(self, keys: Iterable[tuple[Any, str]]) -> list[Entry | None]:
        """The entries of several keys of any assets, in order; None where there is no such key.

        ``keys`` are pairs of an asset and a key. All are of one moment: no transaction is seen in
        part. At most 1,000, and 15 MiB of entries together: InvalidRequest beyond.
        """
        pairs = [(reference(asset), check_key(key)) for asset, key in keys]
        found = self._calls.get_many(pairs)
        return [
            None if stored is None else entry_of(key, stored)
            for (_, key), stored in zip(pairs, found, strict=True)
        ]

    def watch(self, since: int | None = None) -> Watch:
        """What is committed to any store and what happens to assets, as ``watch`` of a store."""
        return new_watch(self._calls, None, "", since).start()

    def log(
        self, *, since: int | datetime | None = None, limit: int | None = None
    ) -> Iterator[Event]:
        """What was committed to any store and what happened to assets, as ``log`` of a store."""
        return new_log(self._calls, None, "", since, limit)

    def assets(self) -> Iterator[AssetInfo]:
        """All assets that the daemon knows, in the order in which they became known."""
        after: int | None = 0
        while after is not None:
            page: AssetPage = self._calls.call(Assets, after, MAX_PAGE_ITEMS)
            for info in page.assets:
                yield AssetInfo.of(info)
            after = page.after

    def resolve(self, assets: Iterable[Any]) -> list[AssetRef | None]:
        """Name and uri of each asset, in order; None where the daemon knows no such asset."""
        return self._calls.resolve([reference(asset) for asset in assets])

    def status(self) -> dict[str, Any]:
        """How the daemon is: what ``assetstore status`` shows; docs/operations.md has more."""
        report: StatusReport = self._calls.call(Status)
        return report.report

    def metrics(self) -> str:
        """The daemon's numbers in the text format of Prometheus; docs/operations.md has them."""
        answer: MetricsText = self._calls.call(Metrics)
        return answer.text

    # --- for operators: the calls of the command line

    def reload_manifest(self) -> dict[str, Any]:
        """Have the manifest file read now; return the status when its verdict is applied."""
        report: StatusReport = self._calls.call(ReloadManifest)
        return report.report

    def accept_manifest(self, digest: str) -> dict[str, Any]:
        """Apply the manifest that is held, if it is still the one with this digest."""
        report: StatusReport = self._calls.call(AcceptManifest, digest)
        return report.report

    def checkpoint(self) -> int:
        """Have the data file brought up to date; return a revision up to which it has it all.

        That is at least the last that was acknowledged before, to whomever.
        """
        answer: Checkpointed = self._calls.call(Checkpoint)
        return answer.revision

    def trash(self) -> Iterator[TrashInfo]:
        """The stores in the trash, in the order in which they came there."""
        after: int | None = 0
        while after is not None:
            page: TrashPage = self._calls.call(ListTrash, after, MAX_PAGE_ITEMS)
            for info in page.stores:
                yield TrashInfo.of(info)
            after = page.after

    def restore(self, trash_id: int) -> Restored:
        """Give a cleared store back to its asset; what the asset holds now goes to the trash."""
        [outcome] = self._calls.change((RestoreStore(check_trash_id(trash_id)),))
        ref = outcome.asset
        if ref is None or ref.name is None or ref.uri is None:
            raise ProtocolError("the outcome of a restore names no asset")
        return Restored(name=ref.name, uri=ref.uri, count=outcome.count)

    def purge(self, trash_ids: Iterable[int]) -> int:
        """Drop these stores for good; return how many of them were in the trash."""
        ids = [check_trash_id(trash_id) for trash_id in trash_ids]
        count = 0
        for start in range(0, len(ids), MAX_PURGE):
            part = PurgeStores(ids[start : start + MAX_PURGE])
            [outcome] = self._calls.change((part,))
            count += outcome.count
        return count

    def sweep(self, dry_run: bool = False) -> list[TrashInfo]:
        """Drop all that is past its grace now, and return it; with dry_run only say what."""
        swept: list[TrashInfo] = []
        after: int | None = 0
        while after is not None:
            answer: TrashPage = self._calls.call(Sweep, after, dry_run)
            swept += map(TrashInfo.of, answer.stores)
            after = answer.after
        return swept

    def move(self, source: Any, target: Any, replace: bool = False) -> int:
        """Make the store of source the store of target, which is active; return its count.

        Refused if target holds entries, unless ``replace``: then they go to the trash.
        """
        operation = MoveStore(reference(source), reference(target), replace)
        [outcome] = self._calls.change((operation,))
        return outcome.count


def connect(
    socket: str | os.PathLike[str] | None = None,
    *,
    timeout: float = 5.0,
    writer: Writer | None = None,
) -> Client:
    """A client of the daemon on this host, for use in a ``with``. Connects on first use.

    Timeout in seconds, for each call. ``Client`` says more of the arguments and errors.
    """
    return Client(socket, timeout=timeout, writer=writer)
