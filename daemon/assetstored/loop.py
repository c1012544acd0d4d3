"""The event loop: asyncio's, with a selector that hands what clients send to their handler at once.

asyncio calls back through a queue and a transport, which costs more than most requests do. Of the
descriptors registered here by ``attach`` a handler is called while the selector is being asked;
all others are asyncio's as ever. The selector comes back to asyncio when something else is ready,
when a handler has asked for a callback or a timer, and when the next timer is due.

Rule: knows descriptors and handlers, and nothing of what is read from them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import select
import selectors
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, Protocol, TypeAlias, TypeVarTuple

_Ts = TypeVarTuple("_Ts")

#: What is taken from the kernel in one turn; timers and others come between two.
_EVENTS = 256


class HasFileno(Protocol):
    """An object with a descriptor, as selectors take it."""

    def fileno(self) -> int: ...


FileDescriptorLike: TypeAlias = int | HasFileno


class LoopSelector(selectors.BaseSelector):
    """An epoll selector with handlers of its own."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._after_events: list[Callable[[], None]] = []
        #: Set when asyncio has something to do before it asks again.
        self.is_due = False

    # --- what clients are read by

    def attach(self, fd: int, handler: Callable[[int], None]) -> None:
        """Call the handler with the events of epoll whenever fd can be read. It must not raise."""
        self._epoll.register(fd, select.EPOLLIN)
        self._handlers[fd] = handler

    def expect(self, fd: int, events: int) -> None:
        """Wait for these events of an attached fd from now on, and for its end in any case."""
        self._epoll.modify(fd, events)

    def detach(self, fd: int) -> None:
        """Before fd is closed. The handler may be called once more for what is known already."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def call_after_events(self, callback: Callable[[], None]) -> None:
        """Call it once when everything that is ready now has been handed out. It must not raise.

        As asyncio's ``call_soon``, without the way back to asyncio.
        """
        self._after_events.append(callback)

    # --- selectors.BaseSelector, as asyncio uses it

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, fd, events, data)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        self._epoll.register(fd, _to_epoll(events))
        self._keys[fd] = key
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys.pop(fd)
        with contextlib.suppress(OSError):  # closed meanwhile: then it is gone by itself
            self._epoll.unregister(fd)
        return key

    def modify(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys[fd]
        if events != key.events:
            self._epoll.modify(fd, _to_epoll(events))
        key = self._keys[fd] = key._replace(events=events, data=data)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            wait = -1.0
        elif timeout <= 0:
            wait = 0.0
        else:
            # epoll counts in milliseconds; a timer is not to be asked about too early.
            wait = math.ceil(timeout * 1e3) * 1e-3
        deadline = time.monotonic() + wait
        self.is_due = False
        handlers = self._handlers
        ready: list[tuple[selectors.SelectorKey, int]] = []
        while True:
            for fd, events in self._epoll.poll(0.0 if self._after_events else wait, _EVENTS):
                handler = handlers.get(fd)
                if handler is not None:
                    handler(events)
                elif (key := self._keys.get(fd)) is not None:
                    found = 0
                    if events & ~select.EPOLLIN:
                        found |= selectors.EVENT_WRITE
                    if events & ~select.EPOLLOUT:
                        found |= selectors.EVENT_READ
                    ready.append((key, found & key.events))
            if self._after_events:
                callbacks, self._after_events = self._after_events, []
                for callback in callbacks:
                    callback()
            if ready or self.is_due or wait == 0.0:
                return ready
            if wait > 0.0 and (wait := deadline - time.monotonic()) <= 0.0:
                return ready

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return {key.fileobj: key for key in self._keys.values()}

    def get_key(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        return self._keys[fd]

    def close(self) -> None:
        self._epoll.close()
        self._keys.clear()
        self._handlers.clear()


class Loop(asyncio.SelectorEventLoop):
    """asyncio's loop over a LoopSelector."""

    def __init__(self) -> None:
        self.clients = LoopSelector()
        super().__init__(self.clients)

    # What asyncio is asked for while the selector waits must not wait for the next event.

    def call_soon(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        self.clients.is_due = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self.clients.is_due = True
        return super().call_at(when, callback, *args, context=context)


def _to_epoll(events: int) -> int:
    found = 0
    if events & selectors.EVENT_READ:
        found |= select.EPOLLIN
    if events & selectors.EVENT_WRITE:
        found |= select.EPOLLOUT
    return found
