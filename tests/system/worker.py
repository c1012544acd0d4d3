"""A worker as users write them, to be run on the machine while the daemon is ill-treated.

    python3 -c THIS_TEXT ASSET TIMEOUT_S

Writes new keys and reads them back until its standard input ends, says so once it is at work, and
at the end prints what it was promised and what went wrong, as JSON.

Rule: imports nothing of the tests; only the installed package is there.
"""

from __future__ import annotations

import json
import select
import sys
import time

import assetstore


def main(asset: str, timeout_s: float) -> None:
    acknowledged = 0
    wrong: list[str] = []
    longest_wait_s = 0.0
    with assetstore.connect(timeout=timeout_s) as client:
        store = client.store(asset)
        last = False
        while not last:
            # Looked at before the work, so that the last round is whole: after whatever was
            # done to the daemon, this worker has written and read once more.
            last = bool(select.select([sys.stdin], [], [], 0)[0])
            number = acknowledged + 1
            began = time.monotonic()
            try:
                store.set(f"{number:08}", number)
                acknowledged = number
                store.set("watermark", number)
                if (found := store.get("watermark")) != number:
                    wrong.append(f"watermark {number} was acknowledged, and {found!r} was read")
            except Exception as exc:
                wrong.append(f"{type(exc).__name__}: {exc}")
                last = True
            longest_wait_s = max(longest_wait_s, time.monotonic() - began)
            if number == 1:
                print("at work", flush=True)
    report = {"acknowledged": acknowledged, "wrong": wrong, "longest_wait_s": longest_wait_s}
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
