"""One question to the daemon from a client on the machine, as any of its users.

Rule: the answer is what the installed library gave; nothing here knows the protocol.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.system.installation import PYTHON
from tests.system.machine import Machine

# What is asked is an expression over ``client``, and ``assetstore`` itself.
_ASK = """
import json, sys
import assetstore
with assetstore.connect(timeout=float(sys.argv[2])) as client:
    print(json.dumps(eval(sys.argv[1])))
"""


def on_client(
    machine: Machine, question: str, *, user: str | None = None, timeout_s: float = 5.0
) -> Any:
    """The answer, as JSON makes it. An error of the library fails the test."""
    argv = (PYTHON, "-c", _ASK, question, str(timeout_s))
    return json.loads(machine.run(*argv, user=user, timeout_s=timeout_s + 30).stdout)


def refusal(machine: Machine, question: str, *, user: str | None = None) -> str:
    """The last line of the traceback: class and message of the error that was raised."""
    argv = (PYTHON, "-c", _ASK, question, "5")
    done = machine.run(*argv, user=user, may_fail=True)
    assert done.returncode != 0, f"{question} was answered: {done.stdout}"
    return done.stderr.strip().splitlines()[-1]


def asking(machine: Machine, question: str, timeout_s: float) -> subprocess.Popen[str]:
    """A client that waits for the answer; it comes on its standard output."""
    return machine.start(PYTHON, "-c", _ASK, question, str(timeout_s))
