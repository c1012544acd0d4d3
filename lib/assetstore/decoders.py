"""Decoders that are made when they are needed first: each takes a moment, and no program needs all.

msgspec (0.22) must not make two at once: while one thread describes a type to itself, another that
comes upon the same type ends the process with a segmentation fault. So they are made one by one.

Rule: which types, the caller says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeAlias

import msgspec

from assetstore.forking import after_fork

Decode: TypeAlias = Callable[[bytes], Any]


class _Making:
    """Held while a decoder is made. Reentrant, as a signal handler may need one, too."""

    def __init__(self) -> None:
        self.forget_inherited()
        after_fork(self)

    def forget_inherited(self) -> None:
        """In the child of a fork nobody else makes one, whoever held it."""
        self.lock = threading.RLock()


_making: Final = _Making()


class Decoders:
    """A decoder of msgpack for each key. Safe to share between threads, and after a fork."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Decode] = {}

    def get(self, key: Hashable, kind: Callable[[], Any]) -> Decode:
        """The decoder under this key; ``kind()`` is the type to decode, if it is to be made."""
        decode = self._made.get(key)
        if decode is None:
            with _making.lock:
                decode = self._made[key] = msgspec.msgpack.Decoder(kind()).decode
        return decode
