"""The entry point of ``assetstore``: says what is missing if the extra "cli" is.

Rule: imports nothing at the top but the standard library.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; never returns."""
    try:
        from assetstore_cli.program import program
    except ModuleNotFoundError as exc:
        # Any other missing module is a fault of ours, which this must not hide.
        if exc.name != "click":
            raise
        print("missing click: pip install 'assetstore[cli]'", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    program.main()


if __name__ == "__main__":
    main()
