"""Whatever is typed after ``assetstore``: an answer, or an error in words."""

from __future__ import annotations

import random
from pathlib import Path

from tests.support.command import Cli, shared_daemon

VERBS: list[list[str]] = [
    *([verb] for verb in ("ls", "get", "set", "delete", "clear", "status", "assets", "mv")),
    *(["manifest", verb] for verb in ("check", "diff", "reload", "accept")),
    *(["trash", verb] for verb in ("list", "restore", "purge")),
    *([verb] for verb in ("sweep", "completion", "manifest", "trash")),
    [],
]

WORDS = [
    *("orders", "customers", "s3://data/orders/", "a", "é東", "key with spaces"),
    *("", "-", "--", "-5", "-x", "=", "*", "[", "\\", "\n", "\x1b[31m", "\u202e", "\udcff"),
    *("1", "0", "99999999999999999999", "null", "NaN", "1e400", "{", '"x"', "[1,2]", "nan"),
    *("x" * 600, "y" * 1_600, "/etc/passwd", "/tmp", "/nonexistent", "bash", "list", "check"),
    *("--json", "--debug", "--no-color", "--yes", "-y", "--help", "--version", "-ljson"),
    *("--uri", "--uri=", "--name", "--limit", "--after", "--long", "-l", "--raw", "--entry"),
    *("--default", "--string", "--all", "--inactive", "--dry-run", "--replace", "--yes=1"),
    *("--source-uri", "--target-uri", "--timeout", "--unknown"),
]


def test_whatever_is_typed_there_is_no_traceback_and_nothing_for_the_terminal(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    with shared_daemon(tmp_path / "daemon") as daemon:
        cli = Cli(daemon.socket)
        for _ in range(400):
            words = [rng.choice(WORDS) for _ in range(rng.randrange(5))]
            place = rng.choice((0, 0, 0, 1))
            args = [*words[:place], *rng.choice(VERBS), *words[place:]]

            ran = cli(*args, stdin=rng.choice(("", "y\n", "1", "{")))

            assert ran.code in (0, 1, 2, 3, 4), args
            assert "this is a bug" not in ran.err, args
            assert "Traceback" not in ran.err or "--debug" in args, args
            assert all(line.isprintable() for line in (ran.out + ran.err).splitlines()), args
