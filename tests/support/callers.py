"""Callers with a uid and groups, as if the kernel had said so.

Rule: what they may do is decided by the daemon's own code.
"""

from __future__ import annotations

import os

from tests.support.store import WRITER

from assetstored.access import Identity, Rules, grants_of
from assetstored.border import Caller, Permit
from assetstored.peers import Peer


def caller(uid: int, *gids: int, rules: Rules | None = None, reads_only: bool = False) -> Caller:
    """Who may do what the rules say; root and the user of these tests may do everything."""
    peer = Peer(uid, gids[0] if gids else uid, 1, gids)
    identity = Identity(peer.uid, peer.gids)
    grants = grants_of(rules, identity, frozenset((0, os.geteuid())))
    return Caller(peer, WRITER, Permit(identity, grants, reads_only=reads_only))
