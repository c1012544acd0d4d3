"""The blocking client is what scripts/unasync.py makes of the asynchronous one."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest
from tests.support.checkout import ROOT

from assetstore.asynchronous.client import AsyncClient
from assetstore.asynchronous.container import AsyncAssetStore
from assetstore.asynchronous.journal import StoreJournal as AsyncStoreJournal
from assetstore.asynchronous.store import AsyncStore
from assetstore.asynchronous.transaction import AsyncTransaction
from assetstore.asynchronous.watching import AsyncWatch
from assetstore.client import Client
from assetstore.container import AssetStore
from assetstore.journal import StoreJournal
from assetstore.store import Store
from assetstore.transaction import Transaction
from assetstore.watching import Watch

TWINS = [
    (AsyncClient, Client),
    (AsyncAssetStore, AssetStore),
    (AsyncStore, Store),
    (AsyncStoreJournal, StoreJournal),
    (AsyncTransaction, Transaction),
    (AsyncWatch, Watch),
]

#: The blocking store takes what a dict takes, besides: its mapping side has this call.
OF_A_MAPPING = (AsyncStore, "update")


def calls_of(cls: type) -> set[str]:
    return {
        name
        for name, each in vars(cls).items()
        if callable(each) and name[0] != "_" and (cls, name) != OF_A_MAPPING
    }


def test_the_blocking_modules_are_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "unasync.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert checked.returncode == 0, f"{checked.stdout}run: python scripts/unasync.py"


@pytest.mark.parametrize(("asynchronous", "blocking"), TWINS)
def test_both_clients_have_the_same_calls(asynchronous: type, blocking: type) -> None:
    assert calls_of(asynchronous) == calls_of(blocking)


@pytest.mark.parametrize(("asynchronous", "blocking"), TWINS)
def test_the_calls_take_the_same_arguments(asynchronous: Any, blocking: Any) -> None:
    for name in calls_of(blocking):
        ours = inspect.signature(getattr(blocking, name)).parameters
        theirs = inspect.signature(getattr(asynchronous, name)).parameters
        assert [str(each) for each in ours.values()] == [str(each) for each in theirs.values()]


@pytest.mark.parametrize(("asynchronous", "blocking"), TWINS)
def test_every_call_of_both_promises_something(asynchronous: type, blocking: type) -> None:
    for cls in (asynchronous, blocking):
        assert [name for name in calls_of(cls) if not getattr(cls, name).__doc__] == []


def test_nothing_of_the_blocking_client_has_to_be_awaited() -> None:
    for _, cls in TWINS:
        for name in calls_of(cls):
            call = getattr(cls, name)
            assert not inspect.iscoroutinefunction(call)
            assert not inspect.isasyncgenfunction(call)
