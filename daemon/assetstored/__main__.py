"""The command ``assetstored``.

Rule: only the guard for a missing extra; the rest is app.py's.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the daemon; without its extra say how to get it."""
    try:
        from assetstored import app
    except ModuleNotFoundError as exc:
        # Any other name is a fault of ours, and must show as such.
        if exc.name not in ("lmdb", "watchfiles"):
            raise
        print(f"assetstored: missing {exc.name}: pip install 'assetstore[daemon]'", file=sys.stderr)
        return os.EX_CONFIG
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
