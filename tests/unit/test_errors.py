"""The errors: one tree, one table of codes, and what Python code may catch them as."""

from __future__ import annotations

import pickle

import pytest

from assetstore import errors
from assetstore.errors import (
    REFUSALS,
    AssetStoreError,
    Busy,
    Compacted,
    Conflict,
    Damaged,
    DeadlineExceeded,
    Forbidden,
    InactiveAsset,
    InvalidRequest,
    NotConnected,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    ServerFault,
    StoreFull,
    UnknownAsset,
    WaitTimeout,
    refusal,
)

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("error", ALL)
def test_everything_the_library_raises_on_purpose_has_one_base(error: type[Exception]) -> None:
    assert issubclass(error, AssetStoreError)
    assert error.__doc__


@pytest.mark.parametrize(
    ("error", "also"),
    [
        (UnknownAsset, LookupError),
        (InactiveAsset, UnknownAsset),
        (InvalidRequest, ValueError),
        (Forbidden, PermissionError),
        (NotConnected, ConnectionError),
        (DeadlineExceeded, TimeoutError),
        (DeadlineExceeded, OutcomeUnknown),
        (WaitTimeout, TimeoutError),
    ],
)
def test_errors_are_also_what_python_calls_them(
    error: type[Exception], also: type[Exception]
) -> None:
    assert issubclass(error, also)


@pytest.mark.parametrize(
    "error", [NotConnected, OutcomeUnknown, DeadlineExceeded, WaitTimeout, ProtocolError]
)
def test_what_the_daemon_did_not_say_is_no_refusal(error: type[Exception]) -> None:
    assert not issubclass(error, Refused)


def test_an_unknown_asset_is_no_key_error() -> None:
    # ``except KeyError`` around store[key] must not take a closed store for an absent key.
    assert not issubclass(UnknownAsset, KeyError)


def test_every_refusal_has_a_code_of_its_own() -> None:
    refusals = [error for error in ALL if issubclass(error, Refused)]

    assert len(REFUSALS) == len(refusals)
    assert set(REFUSALS.values()) == set(refusals)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("unknown_asset", UnknownAsset),
        ("inactive_asset", InactiveAsset),
        ("invalid_request", InvalidRequest),
        ("conflict", Conflict),
        ("compacted", Compacted),
        ("forbidden", Forbidden),
        ("store_full", StoreFull),
        ("damaged", Damaged),
        ("busy", Busy),
        ("server_fault", ServerFault),
    ],
)
def test_a_code_from_the_wire_becomes_its_class(code: str, error: type[Refused]) -> None:
    raised = refusal(code, "because", {"more": 1})

    assert type(raised) is error
    assert raised.code == code
    assert str(raised) == "because"
    assert raised.detail == {"more": 1}


def test_a_code_of_a_newer_daemon_becomes_a_plain_refusal_that_keeps_it() -> None:
    raised = refusal("quota_exceeded", "no more for you")

    assert type(raised) is Refused
    assert raised.code == "quota_exceeded"


@pytest.mark.parametrize("error", ALL)
def test_an_error_survives_a_process_pool(error: type[Exception]) -> None:
    there = pickle.loads(pickle.dumps(error("what happened")))

    assert type(there) is error
    assert str(there) == "what happened"
