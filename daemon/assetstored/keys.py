"""How the keys of callers become the keys of LMDB, which are at most 511 bytes long.

A key of up to 511 bytes of UTF-8 is stored as it is. A longer one is stored as

    its first 478 bytes, 0xFF, a digest of 32 bytes of the whole key

and the whole key stands in the record. 0xFF never occurs in UTF-8, so no short key can be
mistaken for a digest. Stored keys longer than 478 bytes that share their first 478 bytes form
a *cluster*: the digest says nothing of their order, so a listing sorts a cluster by whole keys.
Everything else is in the byte order of the whole keys already.

Rule: bytes only; no transaction here.
"""

from __future__ import annotations

from hashlib import blake2b

from assetstored.engine import MAX_KEY_BYTES

_DIGEST_BYTES = 32
HEAD_BYTES = MAX_KEY_BYTES - 1 - _DIGEST_BYTES


def stored_key(key: str) -> bytes:
    """The key of LMDB for a caller's key."""
    raw = key.encode()
    if len(raw) <= MAX_KEY_BYTES:
        return raw
    return raw[:HEAD_BYTES] + b"\xff" + blake2b(raw, digest_size=_DIGEST_BYTES).digest()


def is_digest(stored: bytes) -> bool:
    """Whether the whole key has to be looked up in the record."""
    return len(stored) == MAX_KEY_BYTES and stored[HEAD_BYTES] == 0xFF


def in_cluster(stored: bytes) -> bool:
    """Whether its place among its neighbours is not settled by the stored bytes."""
    return len(stored) > HEAD_BYTES
