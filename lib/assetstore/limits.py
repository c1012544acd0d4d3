"""What a name, uri, key and value may be, and the checks that say no.

Rule: decisions only; nothing here talks to a socket or a store. Client and daemon
call the same functions, so a limit is the same for every writer.
"""

from __future__ import annotations

from assetstore.errors import InvalidRequest

#: Airflow's columns for asset names and uris are this wide.
MAX_NAME_CHARS = 1_500

#: Wide enough for "prefix/part/part" keys, small enough that a page of keys stays small.
MAX_KEY_CHARS = 512

#: A watermark or a piece of configuration; larger things belong into files.
DEFAULT_MAX_VALUE_BYTES = 1024 * 1024

#: JSON nesting. Far beyond any configuration, and safely below the recursion
#: limits of every JSON reader that may ever look at an exported value.
MAX_VALUE_DEPTH = 255

#: What a frame may need beside the value: names, key, writer, and msgpack's own bytes
#: (two names of 1,500 characters and a key of 512, at 4 bytes a character, are 14 KiB).
FRAME_OVERHEAD_BYTES = 64 * 1024

#: The first frame of a connection is a hello, and no hello is longer. The server holds
#: a connection to it until the hello has arrived, so that strangers cost little memory.
MAX_HELLO_BYTES = 64 * 1024

#: The most keys or entries one page may carry.
MAX_PAGE_ITEMS = 1_000

#: The most references one resolve may carry: each costs a few look-ups.
MAX_RESOLVE_REFS = 100

#: The most operations one change may hold: a transaction of a few milliseconds.
MAX_OPERATIONS = 1_000

#: What the daemon computes with, for advance, increment and merge: the value that is sent and the
#: one that stands, each in bytes of JSON. All writers wait while it does. ``update`` has no limit.
MAX_COMPUTED_BYTES = 64 * 1024

#: The most stores that one operation drops.
MAX_PURGE = 200

#: The most keys that one rewind changes, and bytes of values that it reads and writes.
MAX_REWIND_KEYS = 10_000
MAX_REWIND_BYTES = 8 << 20

#: The most entries that one import writes, and how long they may be together, as msgpack.
MAX_IMPORT_KEYS = 10_000
MAX_IMPORT_BYTES = 8 << 20

#: The end of the year 9999 in microseconds since 1970: what a datetime can say.
MAX_TIME_US = 253_402_300_799_999_999

#: The longest that a request for events waits for one.
MAX_WAIT_MS = 60_000

#: Where a page of entries ends early, so that an answer is never much longer than
#: this plus one value, and a listing never holds up other requests.
PAGE_BYTES = 256 * 1024


def check_name(name: object, what: str = "asset name") -> str:
    """Return name, or raise: TypeError for no string, InvalidRequest beyond a limit."""
    return _check_text(name, what, MAX_NAME_CHARS)


def check_uri(uri: object) -> str:
    """Return uri, or raise: TypeError for no string, InvalidRequest beyond a limit."""
    return _check_text(uri, "asset uri", MAX_NAME_CHARS)


def check_key(key: object) -> str:
    """Return key, or raise: TypeError for no string, InvalidRequest beyond a limit."""
    # The common case first: this is on the path of every get and set.
    if type(key) is str and key.isascii() and 0 < len(key) <= MAX_KEY_CHARS:
        return key
    return _check_text(key, "key", MAX_KEY_CHARS)


def check_prefix(prefix: object, what: str = "prefix") -> str:
    """Return prefix, which unlike a key may be empty, or raise as check_key does."""
    return (
        "" if prefix == "" and isinstance(prefix, str) else _check_text(prefix, what, MAX_KEY_CHARS)
    )


def check_value_size(size_bytes: int, max_value_bytes: int) -> None:
    """Raise InvalidRequest if a value's JSON text of size_bytes is beyond the limit."""
    if size_bytes > max_value_bytes:
        raise InvalidRequest(
            f"value is {size_bytes:,} bytes of JSON; the limit is {max_value_bytes:,} "
            "(max_value_bytes in the daemon's configuration)"
        )


def check_computed_size(size_bytes: int, what: str, operation: str) -> None:
    """Raise InvalidRequest if advance, increment or merge cannot take a value of this size."""
    if size_bytes > MAX_COMPUTED_BYTES:
        raise InvalidRequest(
            f"{what} is {size_bytes:,} bytes of JSON; {operation} takes up to "
            f"{MAX_COMPUTED_BYTES:,}. Use update, or set with if_revision"
        )


def _check_text(text: object, what: str, max_chars: int) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if not text:
        raise InvalidRequest(f"{what} is empty; it needs 1 to {max_chars:,} characters")
    if len(text) > max_chars:
        raise InvalidRequest(
            f"{what} is {len(text):,} characters long; the limit is {max_chars:,}: {text[:40]!r}..."
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise InvalidRequest(
                f"{what} holds a lone surrogate at position {exc.start}, "
                f"which is no character: {text[:40]!r}"
            ) from None
    # A str subclass could carry behaviour of its own; what is stored and compared is text.
    return text if type(text) is str else str.__str__(text)
