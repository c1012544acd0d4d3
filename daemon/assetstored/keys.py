"""How the keys of callers become the keys of LMDB, which are at most 511 bytes long.

A key of up to 511 bytes of UTF-8 is stored as it is. A longer one is stored as

    its first 478 bytes, 0xFF, a digest of 32 bytes of the whole key

and the whole key stands in the record. 0xFF never occurs in UTF-8, so no short key can be
mistaken for a digest. All digests of one head of 478 bytes lie together, after the short keys with
that head, and in an order that says nothing; so a listing sorts them by their whole keys and merges
the two. Everything else is in the byte order of the whole keys already.

Rule: bytes only; no transaction here.
"""

from __future__ import annotations

from hashlib import blake2b

from assetstored.engine import MAX_KEY_BYTES

_DIGEST_BYTES = 32
_MARK = b"\xff"
HEAD_BYTES = MAX_KEY_BYTES - 1 - _DIGEST_BYTES

#: Digests of one head in one store. A listing reads all of them for each of its pages.
MAX_DIGESTS = 1_000


def stored_key(key: str) -> bytes:
    """The key of LMDB for a caller's key."""
    raw = key.encode()
    if len(raw) <= MAX_KEY_BYTES:
        return raw
    return raw[:HEAD_BYTES] + _MARK + blake2b(raw, digest_size=_DIGEST_BYTES).digest()


def is_digest(stored: bytes) -> bool:
    """Whether the whole key has to be looked up in the record."""
    return len(stored) == MAX_KEY_BYTES and stored[HEAD_BYTES] == 0xFF


def is_longer_than_head(stored: bytes) -> bool:
    """Whether digests may have to be merged with it: those of its head."""
    return len(stored) > HEAD_BYTES


def digests_of(stored: bytes) -> bytes:
    """What all digests with the head of a stored key begin with."""
    return stored[:HEAD_BYTES] + _MARK
