"""Ctrl-C and SIGTERM: a KeyboardInterrupt, but never while a process is being started or ended.

One that came just then would leave behind a process of which nobody knows.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Interrupts:
    holders = 0
    is_pending = False


def install() -> None:
    """From here on both signals raise KeyboardInterrupt in the main thread, or wait in ``held``."""
    for number in _SIGNALS:
        signal.signal(number, _handle)


@contextmanager
def held() -> Iterator[None]:
    """Within, both signals wait; the KeyboardInterrupt comes at the end."""
    _Interrupts.holders += 1
    try:
        yield
    finally:
        _Interrupts.holders -= 1
    if _Interrupts.is_pending and not _Interrupts.holders:
        _Interrupts.is_pending = False
        raise KeyboardInterrupt


def leave_to_parent() -> None:
    """For a forked process: Ctrl-C reaches it too, but it is its parent's to end it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _handle(number: int, frame: FrameType | None) -> None:
    if not _Interrupts.holders:
        raise KeyboardInterrupt
    _Interrupts.is_pending = True
