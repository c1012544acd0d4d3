"""The border: every request is judged here, and each operation of a change, before it is served.

What a reference names may be another asset after the next manifest, so a request that had to wait
is judged again when its turn comes. The right to an asset itself never changes while the daemon
runs: an id has one name and one uri for ever, and rules are read at the start only. So it is kept
by id, for all connections of the same user and groups, and nothing has to be thrown away.

Who may not read an asset hears the same whether there is such an asset or not.

Rule: access.py says what is needed and what is given; only this file raises Forbidden for it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from assetstore import messages as m
from assetstore.errors import Forbidden, InvalidRequest, UnknownAsset
from assetstore.limits import MAX_PAGE_ITEMS
from assetstored.access import (
    Grants,
    Identity,
    Need,
    Reach,
    Right,
    Rules,
    allowed,
    grants_of,
    need_of_operation,
    need_of_request,
    refusal,
    right_on,
)
from assetstored.catalog import checked, describe
from assetstored.peers import Peer
from assetstored.reader import Reader
from assetstored.tables import TRASH, TrashRow, id_key, read_row

#: What a page is made of that is of one asset each.
Info = TypeVar("Info", m.AssetInfo, m.TrashInfo)

#: Rights that are kept of one user, some 100 bytes each.
_KNOWN = 16_384


class Permit:
    """What somebody may do, and what of it was looked up already."""

    __slots__ = ("__weakref__", "administers", "grants", "identity", "known", "reads_only")

    def __init__(self, identity: Identity, grants: Grants, *, reads_only: bool) -> None:
        self.identity = identity
        self.grants = grants
        #: It came by the socket that is for reading.
        self.reads_only = reads_only
        self.known: dict[int, Right] = {}
        #: Some asset at least, and may: so it may send what is imported, which can be large.
        self.administers = grants.somewhere >= Right.ADMIN and not reads_only


class Caller(NamedTuple):
    """Who asks: by the kernel's word, as stored with what they write, and what they may do."""

    peer: Peer
    writer: msgspec.Raw
    permit: Permit


class Border:
    """Judges what callers ask for."""

    def __init__(self, reader: Reader, rules: Rules | None) -> None:
        self._reader = reader
        self._rules = rules
        self._own_uid = os.geteuid()
        self._operators = frozenset((0, self._own_uid))
        self._permits: weakref.WeakValueDictionary[tuple[Identity, bool], Permit] = (
            weakref.WeakValueDictionary()
        )

    def permit(self, peer: Peer, *, reads_only: bool = False) -> Permit:
        """What a peer may do: the same object for all of the same user and groups."""
        identity = Identity(peer.uid, peer.gids)
        permit = self._permits.get((identity, reads_only))
        if permit is None:
            grants = grants_of(self._rules, identity, self._operators)
            permit = Permit(identity, grants, reads_only=reads_only)
            self._permits[identity, reads_only] = permit
        return permit

    def check(self, request: m.AnyRequest, permit: Permit) -> None:
        """Raise Forbidden unless all of the request is allowed."""
        self._check(need_of_request(request), request, permit)
        if type(request) is m.Change:
            for operation in request.operations:
                self._check(need_of_operation(operation), operation, permit)

    def sight(self, permit: Permit) -> Callable[[int], bool] | None:
        """Whether an asset, by its id, may be read; None where all may be."""
        if permit.grants.everywhere >= Right.READ:
            return None
        # What is done to none of them, as a manifest, is for all to know.
        return lambda asset_id: not asset_id or self._right_of(asset_id, permit) >= Right.READ

    def seen(
        self, page: tuple[list[Info], int | None], permit: Permit
    ) -> tuple[list[Info], int | None]:
        """A page without what may not be read; where the next one begins stays as it was."""
        infos, after = page
        grants = permit.grants
        if grants.everywhere >= Right.READ:
            return page
        return [each for each in infos if allowed(grants, Right.READ, each.name, each.uri)], after

    def _check(self, need: Need | None, message: object, permit: Permit) -> None:
        if need is None:
            raise Forbidden(f"nobody may ask for {type(message).__name__}: it has no rule")
        if need.changes and permit.reads_only:
            raise Forbidden(
                f"this socket is for reading (readonly_socket in the daemon's configuration), so "
                f"nobody may {need.what.format('an asset')} through it; use the other one"
            )
        if self._rules is None and need.unruled is not None:
            need = need._replace(right=need.unruled)
        if permit.grants.everywhere >= need.right:
            return
        if need.reach is Reach.THOSE:
            self._check_those(need, need.assets(message), need.trash(message), permit)
            return
        given = permit.grants.somewhere if need.reach is Reach.ANY else permit.grants.everywhere
        if given < need.right:
            self._refuse(need, permit, "", given)

    def _check_those(
        self, need: Need, refs: Sequence[m.AssetRef], trash: Sequence[int], permit: Permit
    ) -> None:
        if len(refs) > MAX_PAGE_ITEMS:
            raise InvalidRequest(f"{len(refs):,} assets; one request takes {MAX_PAGE_ITEMS:,}")
        for ref in refs:
            given = self._right_on(ref, permit)
            if given < need.right:
                self._refuse(need, permit, f"asset {describe(ref)}", given)
        # Who names one a thousand times does not have it looked up a thousand times.
        for trash_id in dict.fromkeys(trash):
            row = read_row(self._reader.snapshot(), TRASH, id_key(trash_id), TrashRow)
            given = Right.NONE if row is None else self._right_of(row.asset_id, permit)
            if given < need.right:
                self._refuse(need, permit, f"store {trash_id}", given)

    def _right_on(self, ref: m.AssetRef, permit: Permit) -> Right:
        try:
            asset_id = self._reader.resolve(ref).asset_id
        except UnknownAsset:
            found = self._reader.find(checked(ref))
            if found is None:
                # The least that each part says: or else one that may be read would be a key to
                # whether the other one exists.
                parts = [part for part in (ref.name, ref.uri) if part is not None]
                return min(right_on(permit.grants, part) for part in parts)
            asset_id = found[0]
        return self._right_of(asset_id, permit)

    def _right_of(self, asset_id: int, permit: Permit) -> Right:
        right = permit.known.get(asset_id)
        if right is None:
            row = self._reader.row_of(asset_id)
            right = right_on(permit.grants, row.name, row.uri)
            if len(permit.known) >= _KNOWN:
                permit.known.clear()
            permit.known[asset_id] = right
        return right

    def _refuse(self, need: Need, permit: Permit, target: str, given: Right) -> None:
        raise Forbidden(refusal(self._rules, permit.identity, need, target, given, self._own_uid))
