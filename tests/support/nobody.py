"""Code that is run as a user without rights, in a process of its own.

Rule: needs root; a test that is not run by root skips itself, and says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable


def as_nobody(action: Callable[[], object]) -> str:
    """What action raises in a process of a user without rights."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            action()
        except BaseException as exc:
            os.write(writer, f"{type(exc).__name__}: {exc}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text
