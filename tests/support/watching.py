"""The program of the tests of watchers: each member watches, and notes every event that it gets.

A note is what ``facts`` makes of an event. A member ends with the event of the key END.

Options: "watch", one of WATCHES; "asset" and "prefix" for those that need them; "since".

Rule: notes what it gets, in the order in which it gets it; makes nothing of it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from zlib import crc32

from tests.support.crew_member import Member, run

import assetstore
from assetstore import Event

#: Of one asset, of keys of it, of all; and of all with the asynchronous client.
WATCHES = ("store", "prefix", "all", "all, asynchronous")
END = "end"


def work(member: Member) -> None:
    """Watch to the end."""
    options = member.options
    if options["watch"] == "all, asynchronous":
        asyncio.run(watch_asynchronously(member))
        return
    if options["watch"] == "all":
        watch = member.client.watch(options["since"])
    else:
        prefix = options["prefix"] if options["watch"] == "prefix" else ""
        watch = member.client.store(options["asset"]).watch(prefix, options["since"])
    for event in watch:
        if is_last(member, event):
            return


async def watch_asynchronously(member: Member) -> None:
    """As work, in an event loop."""
    async with assetstore.AsyncClient(member.client.socket, timeout=60.0) as client:
        async for event in client.watch(member.options["since"]):
            if is_last(member, event):
                return


def is_last(member: Member, event: Event) -> bool:
    """Note the event; whether it is the one to end with."""
    member.note(*facts(event))
    member.acknowledged()
    return event.key is not None and event.key.endswith(END)


def facts(event: Event) -> list[Any]:
    """What an event says, as it is noted: revision, kind, name of the asset, key, value, detail.

    Of the value the beginning of its JSON text, and a checksum.
    """
    name = None if event.asset is None else event.asset.name
    text = json.dumps(event.value)
    value = f"{text[:60]} {crc32(text.encode())}"
    return [event.revision, event.kind, name, event.key, value, event.detail]


if __name__ == "__main__":
    run(work, sys.argv[1:])
