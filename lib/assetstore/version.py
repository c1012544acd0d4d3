"""The version of this distribution, as the client tells it to the daemon.

Rule: one constant; a test holds it to the installed metadata, which costs 20 ms to read.
"""

VERSION = "0.1.0"
