"""The asynchronous client, and the source of the blocking one.

client.py, store.py, container.py and calls.py here are written once; scripts/unasync.py makes the
modules of the same names above from them. How bytes travel (connection.py, link.py) and how a
listing is walked (views.py) differ by nature, and are written for each.

Rule: only this package imports asyncio.
"""
