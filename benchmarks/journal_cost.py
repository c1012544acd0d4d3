"""What the journal costs a durable set: the daemon as it is, and one that writes no journal.

    python -m benchmarks.journal_cost [--rounds 5] [--seconds 2]

Both run side by side on the same disk and take turns, with 1 and with 16 client processes; the
figures are medians over the rounds, with the lowest and the highest. The daemon without a journal
exists only here: it forgets what it did, and would answer a repeat with a second change.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from assetstore import Client

_ASSETS = [f"asset-{number}" for number in range(16)]

#: Ran in place of assetstored: the same, but rows of the journal are not written.
_WITHOUT = """
import sys
from assetstored import journal
from assetstored.app import main
def finish(self, request=None):
    self.touched.update(row.asset_id for _, row in self._rows)
journal.JournalWriter.finish = finish
sys.exit(main())
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(
        prefix="assetstore-bench-", dir=os.environ.get("TMPDIR")
    ) as top:
        systems = {
            "with journal": _start(Path(top) / "a", ["-m", "assetstored"]),
            "without": _start(Path(top) / "b", ["-c", _WITHOUT]),
        }
        try:
            for clients in (1, 16):
                _compare(systems, clients, arguments.rounds, arguments.seconds)
        finally:
            for process, _ in systems.values():
                process.send_signal(signal.SIGTERM)
                process.wait()


def _start(where: Path, program: list[str]) -> tuple[subprocess.Popen[bytes], str]:
    where.mkdir()
    manifest, socket = where / "manifest.json", str(where / "s")
    manifest.write_text(json.dumps({"version": 1, "assets": _ASSETS}))
    flags = ["--data-dir", str(where / "data"), "--socket", socket, "--manifest", str(manifest)]
    process = subprocess.Popen([sys.executable, *program, *flags], stderr=subprocess.DEVNULL)
    with Client(socket, timeout=30) as client:
        client.status()
    return process, socket


def _compare(
    systems: dict[str, tuple[subprocess.Popen[bytes], str]],
    clients: int,
    rounds: int,
    seconds: float,
) -> None:
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(rounds):
        # Who comes first alternates, so that a drift of the machine is nobody's advantage.
        for name in sorted(systems, reverse=bool(number % 2)):
            rates[name].append(_sets_per_second(systems[name][1], clients, seconds))
    print(f"durable set, {clients} client process(es), sets a second:")
    for name, found in rates.items():
        low, middle, high = min(found), statistics.median(found), max(found)
        print(f"  {name:14}{middle:10,.0f}   ({low:,.0f} to {high:,.0f})")
    ratio = statistics.median(rates["without"]) / statistics.median(rates["with journal"])
    print(f"  time with the journal / without: {ratio:.2f}")


def _sets_per_second(socket: str, clients: int, seconds: float) -> float:
    ends = time.monotonic() + 0.5 + seconds
    with multiprocessing.Pool(clients) as pool:
        counts = pool.starmap(
            _work,
            [(socket, _ASSETS[number % 16], ends - seconds, ends) for number in range(clients)],
        )
    return sum(counts) / seconds


def _work(socket: str, asset: str, begins: float, ends: float) -> int:
    count = 0
    with Client(socket, timeout=30) as client:
        store = client.store(asset)
        store.set("watermark", "2026-01-01T00:00:00Z")
        while time.monotonic() < begins:
            store.set("watermark", "2026-01-01T00:00:00Z")
        while time.monotonic() < ends:
            store.set("watermark", f"2026-01-01T00:00:{count % 60:02}Z")
            count += 1
    return count


if __name__ == "__main__":
    main()
