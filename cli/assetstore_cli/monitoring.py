"""The verbs for monitoring systems: metrics and check."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import click

from assetstore import InvalidRequest
from assetstore.globs import KeyGlob
from assetstore_cli.failures import FOUND
from assetstore_cli.freshness import Judged, look
from assetstore_cli.options import Verb, Word
from assetstore_cli.render import counted, duration, printable, styled
from assetstore_cli.session import Session, with_session
from assetstore_cli.when import Age

#: What a line of a state begins with; and in which order they come.
_WORDS = {"no match": "NO MATCH", "missing": "MISSING", "damaged": "DAMAGED", "old": "OLD"}


@click.command(cls=Verb)
@with_session
def metrics(session: Session) -> None:
    """Print the daemon's numbers in the text format of Prometheus.

    They are listed in docs/operations.md. The daemon can write them into a file by itself, for the
    textfile collector of the node exporter: metrics_file in its configuration.

    --json: {"text"}.
    """
    with session.client() as client:
        text = client.metrics()
    if session.json:
        session.out.record(text=text)
    else:
        session.out.bare(text.removesuffix("\n"))


@click.command(cls=Verb)
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True, type=Word())
@click.option(
    "--max-age", type=Age(), required=True, metavar="AGE", help="How old a key may be: 2h, 90m, 1d."
)
@click.option("--uri", "by_uri", is_flag=True, help="The patterns for assets are for their uris.")
@with_session
def check(session: Session, patterns: tuple[str, ...], max_age: float, by_uri: bool) -> int:
    """Check that keys were written lately; made for monitoring.

    A PATTERN is ASSET:KEY, both with * (any text, slashes too) and ? (one character) as wildcards:
    it fits names of active assets, or with --uri their uris, and in each of them keys. The last
    colon divides the two; in a key a colon is written '\\:', as is a '*' that is none. Quote it.

    \b
    assetstore check --max-age 2h 'orders/*:watermark'
    assetstore check --max-age 1d --uri 's3://data/*:watermark' '*:state/*'

    The first line sums it up, and there is one more for each key that is older, for each asset that
    has no such key, and for each pattern that no asset fits. The exit code is 0 if there is none of
    these, and 1 if there is; 2 where a pattern is wrong, 4 where the daemon does not answer.

    --json: a line for each key, the fresh ones too, and for whatever is missing: {"pattern",
    "state", "name", "uri", "key", "updated_at", "age_s"}. The state is "fresh", "old", "missing",
    "damaged" or "no match".
    """
    try:
        globs = [KeyGlob.parse(pattern) for pattern in patterns]
    except InvalidRequest as exc:
        raise click.UsageError(f"{exc}.", click.get_current_context()) from None
    with session.client() as client:
        now = datetime.now(UTC)
        judged = list(look(client, globs, by_uri=by_uri, max_age_s=max_age, now=now))
    bad = [each for each in judged if each.state != "fresh"]
    if session.json:
        for each in judged:
            session.out.record(**_record(each))
    else:
        session.out.lines(_page(session, bad, len(judged), max_age))
    return FOUND if bad else 0


def _page(session: Session, bad: list[Judged], total: int, max_age_s: float) -> Iterator[str]:
    screen = session.out.screen
    limit = _exactly(max_age_s)
    if not bad:
        fresh = styled("OK:", "green", screen)
        yield f"{fresh} {counted(total, 'key')} written within {limit}"
        return
    head = styled("STALE:", "red", screen)
    yield f"{head} {len(bad):,} of {total:,} not written within {limit}, or missing"
    for state, word in _WORDS.items():
        for each in bad:
            if each.state == state:
                yield f"{word}  {_line(each, screen.encoding)}"


def _line(judged: Judged, encoding: str) -> str:
    if judged.asset is None:
        return f"{printable(judged.pattern, encoding)}: no active asset fits"
    name, key = printable(judged.asset.name, encoding), judged.key
    if key is None and judged.state == "damaged":
        return f"{name}: its keys cannot be listed"
    if key is None:
        return f"{name}: no key fits {printable(judged.pattern, encoding)}"
    age = "" if judged.age_s is None else f"  {duration(judged.age_s)} old"
    return f"{name}  {printable(key, encoding)}{age}"


def _exactly(seconds: float) -> str:
    """A limit as it counts: 90 minutes are not to read as 2 h."""
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds and seconds % size_s == 0:
            return f"{seconds / size_s:g} {unit}"
    return f"{seconds:g} s"


def _record(judged: Judged) -> dict[str, object]:
    asset = judged.asset
    return {
        "pattern": judged.pattern,
        "state": judged.state,
        "name": asset.name if asset else None,
        "uri": asset.uri if asset else None,
        "key": judged.key,
        "updated_at": judged.updated_at,
        "age_s": judged.age_s,
    }
