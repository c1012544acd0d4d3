"""The main job on real input: `make demo`.

Four workers load 1,461 days of weather into a warehouse; one of them, and then the daemon, are
killed; the next run goes on where each left off. Then an asset leaves the manifest and returns.
Whatever is claimed on the way is checked; the exit code is 0 only if all of it holds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import FrameType

from examples.board import Board
from examples.fleet import Daemon, DaemonFailed, Fleet
from examples.proof import ProofFailed, check, check_each_day_once
from examples.weather_worker import Step, asset, read_days

import assetstore
from assetstore import AssetStoreError, Client, InactiveAsset

SOURCE = Path(__file__).with_name("seattle-weather.csv")

#: The worker that is killed, and the last day that it has in the warehouse by then.
VICTIM, VICTIM_DAY = 2013, "2013-05-20"

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Demo:
    """One showing: the acts, in their order, each with its checks."""

    def __init__(self, warehouse: Path, daemon: Daemon, board: Board, days: dict[int, int]) -> None:
        self._warehouse = warehouse
        self._daemon = daemon
        self._board = board
        self._days = days
        self._years = list(days)
        self._offered: Counter[int] = Counter()
        self._added: Counter[int] = Counter()
        self._acknowledged = dict.fromkeys(days, "")

    def play(self, client: Client) -> None:
        write_manifest(self._daemon.manifest, self._years)
        pid = self._daemon.start()
        version = client.status()["version"]
        self._board.say(f"assetstored {version} runs as process {pid} on {self._daemon.socket}")

        self._board.act(
            f"1. Four workers load {self._days_in_all:,} days; one is killed, then the daemon"
        )
        with closing(Fleet(SOURCE, self._warehouse, self._years, {VICTIM: VICTIM_DAY})) as fleet:
            self._run_with_kills(fleet, client)
        for year in self._years:
            found = f"{self._added[year]} of {self._days[year]} days of {year}"
            check(
                (self._added[year] == self._days[year]) == (year != VICTIM),
                f"the first run loads all but {VICTIM}; it loaded {found}",
            )

        self._board.act("2. The next run of all four picks up at the watermarks")
        with closing(Fleet(SOURCE, self._warehouse, self._years, {})) as fleet:
            for year, step in fleet.steps():
                self._follow(year, step)
        for year in self._years:
            watermark = client.store(asset(year)).get("watermark")
            check(watermark == f"{year}-12-31", f"the watermark of {year} ended as {watermark}")

        self._board.act("3. The warehouse holds each day once")
        self._prove_each_day_once()
        self._leave_and_return(client)

        self._board.act("6. What an operator sees")
        for command in ("status", "assets", f"ls --long {asset(VICTIM).name}"):
            self._show(*command.split())

    @property
    def _days_in_all(self) -> int:
        return sum(self._days.values())

    def _run_with_kills(self, fleet: Fleet, client: Client) -> None:
        daemon_was_killed = False
        for year, step in fleet.steps():
            self._follow(year, step)
            if isinstance(step, str) or step.what != "committed":
                continue
            if year == VICTIM and step.day >= VICTIM_DAY:
                fleet.kill(VICTIM)
                self._look_at_victim(client, step.day)
            elif not daemon_was_killed and 2 * self._board.loaded >= self._days_in_all:
                self._kill_daemon(client, fleet.at_work)
                daemon_was_killed = True
        check(daemon_was_killed, "the load was over before the daemon could be killed")

    def _look_at_victim(self, client: Client, in_warehouse: str) -> None:
        watermark = client.store(asset(VICTIM)).get("watermark")
        self._board.say(
            f"   kill -9 worker {VICTIM}: the warehouse has it until {in_warehouse}, "
            f"its watermark says {watermark}"
        )
        acknowledged = self._acknowledged[VICTIM]
        check(watermark == acknowledged, f"acknowledged was {acknowledged}, kept {watermark}")

    def _kill_daemon(self, client: Client, workers: int) -> None:
        self._daemon.kill()
        loaded = f"{self._board.loaded} days loaded and {workers} workers at work"
        self._board.say(f"   kill -9 assetstored with {loaded}")
        killed_at = time.monotonic()
        pid = self._daemon.start()
        watermarks = {year: client.store(asset(year)).get("watermark") for year in self._years}
        gone_s = time.monotonic() - killed_at
        for year, acknowledged in self._acknowledged.items():
            # Later is right too: the write that was on its way may have arrived.
            check(
                watermarks[year] >= acknowledged,
                f"acknowledged for {year} was {acknowledged}, kept {watermarks[year]}",
            )
        self._board.say(
            f"   assetstored is back as process {pid} after {gone_s:.1f} s with every watermark "
            "that it acknowledged"
        )

    def _follow(self, year: int, step: Step | str) -> None:
        if isinstance(step, str):
            raise ProofFailed(f"worker {year} was not spared an error: {step}")
        match step.what:
            case "resumed" if step.day:
                self._board.say(f"   {year} resumes after {step.day}")
            case "committed":
                self._offered[year] += step.offered
                self._added[year] += step.added
                self._board.advance(year, step.added, step.day)
            case "marked":
                self._acknowledged[year] = step.day

    def _prove_each_day_once(self) -> None:
        days, checksum = check_each_day_once(SOURCE, self._warehouse)
        offered, added = self._offered.total(), self._added.total()
        check(added == days, f"the workers report {added} new days, the warehouse holds {days}")
        self._board.say(f"   {days:,} days in the source, {days:,} rows, each of another day")
        self._board.say(f"   the same sha256 over all of it on both sides: {checksum[:16]}...")
        self._board.say(
            f"   {offered:,} were offered. The {offered - added} more are the chunk that worker "
            f"{VICTIM} had committed\n   when it was killed, before its watermark: offered again, "
            "taken once"
        )

    def _leave_and_return(self, client: Client) -> None:
        store = client.store(asset(VICTIM))
        before = store.entry("watermark")

        self._board.act(f"4. {asset(VICTIM).name} leaves the manifest: closed at once, and kept")
        write_manifest(self._daemon.manifest, [year for year in self._years if year != VICTIM])
        self._show("manifest", "reload")
        try:
            answer = store.get("watermark", default="")
        except InactiveAsset as exc:
            self._board.say(f"   a worker gets InactiveAsset: {exc}")
        else:
            raise ProofFailed(f"a closed store answered {answer!r}")
        waiting = [trash.name for trash in client.trash()]
        check(waiting == [asset(VICTIM).name], f"the trash holds {waiting}")
        self._show("trash", "list")

        self._board.act("5. It returns within its grace: everything is back")
        write_manifest(self._daemon.manifest, self._years)
        self._show("manifest", "reload")
        after = store.entry("watermark")
        check(before is not None and after == before, f"{before} came back as {after}")
        check(not list(client.trash()), "the trash still holds something")
        if after is not None:
            self._board.say(f"   watermark {after.value} of revision {after.revision}, as before")

    def _show(self, *arguments: str) -> None:
        """Run the command line as an operator would, on the same terminal."""
        self._board.say(f"$ assetstore {' '.join(arguments)}")
        command = [sys.executable, "-m", "assetstore_cli", *arguments]
        code = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
        check(code == 0, f"`assetstore {' '.join(arguments)}` ended with exit code {code}")


def write_manifest(path: Path, years: list[int]) -> None:
    """The manifest lists these years, all at once: it is renamed into place."""
    assets = [
        {"name": asset(year).name, "uri": asset(year).uri, "group": "weather"} for year in years
    ]
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"version": 1, "assets": assets}))
    draft.replace(path)


def main() -> int:
    for stop in _STOPS:
        signal.signal(stop, _interrupt)
    started = time.monotonic()
    days = dict(sorted(Counter(int(day.day[:4]) for day in read_days(SOURCE)).items()))
    board = Board(sys.stdout, days)
    directory = Path(tempfile.mkdtemp(prefix="assetstore-demo-"))
    daemon = Daemon(directory)
    # For this client, the workers and the command line alike.
    os.environ["ASSETSTORE_SOCKET"] = str(daemon.socket)
    try:
        with closing(daemon), assetstore.connect() as client:
            Demo(directory / "warehouse.sqlite", daemon, board, days).play(client)
    except (ProofFailed, DaemonFailed, AssetStoreError) as exc:
        board.act(f"FAILED: {exc}")
        board.say(f"The end of the daemon's log:\n{daemon.last_lines()}")
        return 1
    except KeyboardInterrupt:
        board.act("Interrupted. Whatever was started is stopped.")
        return 130
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    board.act(f"All of it held. {time.monotonic() - started:.1f} s")
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    # Once is enough: a second Ctrl-C must not cut the clearing up short.
    for stop in _STOPS:
        signal.signal(stop, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
