"""The composition root: flags, parts, processes, signals, and the order in which all of it starts
and stops.

    main: flags -> configuration -> lock of the data directory -> listening socket
          -> fork of the writer and of the syncer -> serving loop
    stop: no new connections -> what is in hand is done and answered -> the data file has it all
          -> writer and syncer end -> exit

Rule: no part knows another through here; what a part needs is given to it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from assetstore.messages import Change
from assetstore.version import VERSION
from assetstored import config as configuration
from assetstored import datadir, files_in_use, jobs, log, resources
from assetstored.border import Border
from assetstored.change_log import ChangeLog
from assetstored.changing import Changer
from assetstored.children import Children
from assetstored.commits import CommitQueue
from assetstored.config import Config, ConfigInvalid
from assetstored.feed import Feed
from assetstored.key_ages import KeyAges
from assetstored.listener import Listeners, ListenRefused, SocketGone
from assetstored.loop import Loop
from assetstored.manifest_keeper import ManifestKeeper
from assetstored.meters import Meters
from assetstored.metrics import Metrics
from assetstored.metrics_file import MetricsFile
from assetstored.reader import Reader
from assetstored.sdnotify import Notifier
from assetstored.server import Server, ServerLimits
from assetstored.service import Service
from assetstored.status import StatusReporter
from assetstored.sweeper import Sweeper
from assetstored.syncer import Syncer
from assetstored.trimmer import Trimmer
from assetstored.wal import Wal, WalDamaged
from assetstored.watcher import Watcher
from assetstored.writer_link import WriterLost

_log = logging.getLogger("assetstored")

#: How long a stop may take: a commit on a slow disk, and clients that fetch their answers.
_STOP_S = 4.0

#: How often systemd hears that the store is still being opened.
_OPENING_S = 10.0

#: When a manifest is tried again that could not be read, or that the store had no room for.
_RETRY_S = 10.0


def main(argv: list[str] | None = None) -> int:
    """Run the daemon until it is told to stop; returns the exit status."""
    flags = _parser().parse_args(argv)
    given = {
        key: value and os.path.abspath(value)
        for key in ("data_dir", "socket", "manifest")
        if (value := getattr(flags, key)) is not None
    }
    try:
        config = configuration.load(flags.config, given)
    except ConfigInvalid as exc:
        # The level is configured too; where that is wrong, errors show at every level.
        log.start("error")
        _log.critical("%s", exc)
        return os.EX_CONFIG
    if flags.check:
        print("\n".join(configuration.in_words(config)))
        return os.EX_OK
    log.start(config.log_level)
    faulthandler.enable()
    resources.return_memory()
    # Until there is a loop to take it, a request to read the manifest again is no reason to die;
    # the manifest is read at the start anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    data_dir = Path(config.data_dir)
    listeners = None
    try:
        lock_fd = datadir.prepare(data_dir)
        listeners = Listeners(config)
        status = _start(config, data_dir, listeners)
    except (datadir.StartRefused, ListenRefused, WriterLost) as exc:
        _log.critical("%s", exc)
        return os.EX_UNAVAILABLE
    finally:
        if listeners is not None:
            listeners.close()
    os.close(lock_fd)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="assetstored",
        description="The asset store's daemon. Runs in the foreground and logs to standard error.",
        epilog="SIGHUP reads the manifest again; SIGTERM and SIGINT stop. "
        "Exit status 78: bad configuration.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration in TOML")
    parser.add_argument("--data-dir", metavar="DIR", help="where the store is")
    parser.add_argument("--socket", metavar="PATH", help="where clients connect")
    parser.add_argument("--manifest", metavar="FILE", help="the list of active assets")
    parser.add_argument("--check", action="store_true", help="check the configuration and exit")
    parser.add_argument("--version", action="version", version=f"assetstored {VERSION}")
    return parser


def _start(config: Config, data_dir: Path, listeners: Listeners) -> int:
    children = Children(
        data_dir, max_value_bytes=config.max_value_bytes, listening=listeners.sockets
    )
    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            return runner.run(Daemon(config, data_dir, listeners, children).run())
    finally:
        children.end()


class Daemon:
    """The serving process: its parts, while they run."""

    def __init__(
        self, config: Config, data_dir: Path, listeners: Listeners, children: Children
    ) -> None:
        self._config = config
        self._data_dir = data_dir
        self._listeners = listeners
        self._children = children
        self._notifier = Notifier()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: str | None = None

    async def run(self) -> int:
        """Start, serve, and stop when told to. Raises WriterLost if the store is not opened."""
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._reader: Reader | None = None
        self._server: Server | None = None
        self._feed: Feed | None = None
        self._meters = Meters()
        self._queue = CommitQueue(
            max_bytes=self._config.max_inflight_bytes,
            on_commit=self._committed,
            on_logged=self._logged,
            on_lost=self._fail,
            meters=self._meters,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopping.set)
        store_id = await self._open_store()
        self._reader = Reader(str(self._data_dir))
        self._queue.log_changes(self._open_log(self._reader))
        self._files = files_in_use.FilesInUse(self._data_dir)
        try:
            return await self._serve(self._reader, store_id)
        finally:
            self._reader.close()

    async def _open_store(self) -> str:
        """Wait for the writer, however long it verifies; systemd is told that it goes on."""
        opening = asyncio.ensure_future(self._queue.start(self._children.writer_link))
        while not (await asyncio.wait({opening}, timeout=_OPENING_S))[0]:
            self._notifier.extend_timeout(3 * _OPENING_S)
        return await opening

    def _open_log(self, reader: Reader) -> ChangeLog:
        try:
            wal = Wal(self._data_dir / datadir.WAL_FILE)
        except (OSError, WalDamaged) as exc:
            raise datadir.refused_log(self._data_dir, exc) from exc
        return ChangeLog(
            reader,
            wal,
            Syncer(self._children.syncer_link, wal.fd, self._fail),
            data_dir=self._data_dir,
            max_value_bytes=self._config.max_value_bytes,
        )

    async def _serve(self, reader: Reader, store_id: str) -> int:
        config, queue, meters = self._config, self._queue, self._meters
        keeper = ManifestKeeper(
            reader,
            queue,
            data_dir=str(self._data_dir),
            path=config.manifest,
            max_deactivate_fraction=config.max_deactivate_fraction,
        )
        sweeper = Sweeper(
            reader,
            queue,
            grace_us=int(config.grace_s * 1_000_000),
            interval_s=config.sweep_interval_s,
        )
        reporter = StatusReporter(
            config,
            listeners=self._listeners,
            store_id=store_id,
            writer_pid=self._children.writer_pid,
            syncer_pid=self._children.syncer_pid,
            reader=reader,
            queue=queue,
            keeper=keeper,
            sweeper=sweeper,
        )
        self._feed = reporter.feed = Feed(reader)
        trimmer = Trimmer(
            reader,
            queue,
            max_age_us=int(config.journal_max_age_s * 1_000_000),
            max_bytes=config.journal_max_bytes,
        )
        metrics = Metrics(
            report=reporter.report,
            meters=meters,
            reader=reader,
            sweeper=sweeper,
            ages=KeyAges(reader, config.key_globs),
        )
        service = Service(
            Border(reader, config.access),
            reader,
            Changer(reader, queue, sweeper, max_value_bytes=config.max_value_bytes),
            self._feed,
            keeper,
            sweeper,
            report=reporter.report,
            bring_in=queue.checkpoint,
            metrics=metrics.text,
            grace_us=int(config.grace_s * 1_000_000),
            spawn=self._spawn,
            meters=meters,
        )
        limits = ServerLimits(
            config.max_value_bytes,
            resources.connection_limit(config.max_connections),
            config.max_inflight_bytes,
        )
        server = Server(service, limits, store_id)
        self._server = reporter.server = server
        queue.sync_choice.watch_others(
            lambda: server.crowd, lambda: meters.requests - meters.by_kind[Change]
        )
        reporter.service = service

        changed = asyncio.Event()
        watcher = Watcher(config.manifest, partial(self._loop.call_soon_threadsafe, changed.set))
        watcher.start()
        try:
            # Before the first client is answered: what left while nobody watched is closed.
            if not await self._unless_stopping(keeper.check()):
                return await self._stop(server)
            self._loop.add_signal_handler(
                signal.SIGHUP, lambda: self._spawn(self._reload(keeper, changed))
            )
            accepting = self._listeners.accept(server.connect, server.connect_for_reading)
            self._spawn(self._follow(keeper, changed))
            self._spawn(sweeper.run())
            self._spawn(trimmer.run())
            self._spawn(self._look_after())
            if config.metrics_file:
                reporter.metrics_file = MetricsFile(
                    config.metrics_file,
                    interval_s=config.metrics_interval_s,
                    metrics=metrics.text,
                )
                self._spawn(reporter.metrics_file.run())
            if self._notifier.watchdog_s:
                self._spawn(self._feed_watchdog(self._notifier.watchdog_s))
            gc.freeze()
            at = " and ".join(self._listeners.in_words())
            _log.info("serving store %s in %s at %s", store_id, self._data_dir, at)
            self._notifier.ready(f"serving {reader.counters().active} assets")
            await self._stopping.wait()
            self._notifier.stopping()
            for acceptor in accepting:
                acceptor.close()
            return await self._stop(server)
        finally:
            watcher.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _unless_stopping(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do the work; False if it was given up, as the daemon is to stop or its writer is lost."""
        doing = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        done = doing.done()
        for task in (doing, stopping):
            task.cancel()
        await asyncio.wait({doing, stopping})
        if done:
            doing.result()
        return done

    async def _stop(self, server: Server) -> int:
        if self._failure is not None:
            server.abort()
            self._queue.close()
            return os.EX_IOERR
        _log.info("stopping: %d requests in hand", self._queue.queued)
        server.stop()
        try:
            async with asyncio.timeout(_STOP_S):
                await self._queue.drain()
                await server.all_gone.wait()
                # What was looked for or checked meanwhile has come to the queue since.
                await self._queue.drain()
        except TimeoutError:
            _log.warning("stopped with %d requests unanswered", self._queue.queued)
            server.abort()
        self._queue.close()
        _log.info("stopped")
        return os.EX_OK

    def _committed(self, report: jobs.Committed) -> None:
        if self._reader is not None:
            self._reader.refresh(catalog_changed=report.catalog_changed)
        if self._feed is not None:
            self._feed.committed(report.first, report.touched)

    def _logged(self, first: int, touched: set[int]) -> None:
        if self._feed is not None:
            self._feed.committed(first, touched)

    def _fail(self, reason: str) -> None:
        """Nothing may be acknowledged any more; a restart finds out what is on disk."""
        if self._failure is None and not self._stopping.is_set():
            self._failure = reason
            _log.critical("giving up: %s", reason)
            if self._server is not None:
                self._server.abort()
            self._stopping.set()

    async def _reload(self, keeper: ManifestKeeper, changed: asyncio.Event) -> None:
        self._notifier.reloading()
        changed.clear()
        await keeper.check()
        self._notifier.ready(f"manifest {keeper.state}")

    async def _follow(self, keeper: ManifestKeeper, changed: asyncio.Event) -> None:
        """Check the manifest whenever it may have changed; many changes are one check."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S if keeper.may_mend_itself else None):
                    await changed.wait()
            changed.clear()
            await keeper.check()

    async def _look_after(self) -> None:
        """Once a second: slow peers, and whether files and socket are still where they were."""
        while True:
            await asyncio.sleep(1.0)
            if self._server is not None:
                self._server.check_deadlines()
            try:
                self._files.check()
                self._listeners.check()
            except (files_in_use.FilesChanged, SocketGone) as exc:
                return self._fail(str(exc))

    async def _feed_watchdog(self, interval_s: float) -> None:
        """Tell systemd that all is well, each time the loop and then the writer have shown it."""
        while True:
            await self._queue.ping()
            self._notifier.watchdog()
            await asyncio.sleep(interval_s / 3)

    def _spawn(self, work: Awaitable[None]) -> None:
        """Run work beside everything else; its failure is logged, and is nobody else's."""

        async def run() -> None:
            try:
                await work
            except Exception:
                _log.exception("background work failed")

        coroutine: Coroutine[Any, Any, None] = run()
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
