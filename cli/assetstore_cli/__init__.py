"""The ``assetstore`` command, for people and for scripts. docs/cli.md is its manual.

Rule: it knows the store through the client library alone; nothing of the daemon is imported.
"""
