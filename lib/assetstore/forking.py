"""What must happen in the child of a fork.

A child shares its parent's connections: the daemon would see two processes speak on one, under
the parent's credentials, and each would read answers to the other. So the child drops them, by
closing its descriptors and sending nothing, and connects anew when it needs to.

Rule: no knowledge of what is dropped.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Inherits(Protocol):
    """Has something that a child of this process must not use."""

    def forget_inherited(self) -> None:
        """Called in the child, before any other of its code runs, in its only thread."""


_inheriting: weakref.WeakSet[Inherits] = weakref.WeakSet()


def after_fork(owner: Inherits) -> None:
    """See that owner.forget_inherited() is called in every child, as long as owner lives."""
    _inheriting.add(owner)


def _in_child() -> None:
    for owner in list(_inheriting):
        owner.forget_inherited()


os.register_at_fork(after_in_child=_in_child)
