"""Files of other programs, and daemons to whom the files of another user mean what they say.

Rule: makes what a data directory may be confused with; no store of ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest


def foreign_file(directory: Path, engine: int) -> Path:
    """The data file of another program, in a directory that is made for it."""
    with lmdb.open(str(directory), lib_version=engine) as env, env.begin(write=True) as txn:
        txn.put(b"theirs", b"precious")
    return directory / "data.mdb"


def without_privileges() -> list[str]:
    """The daemon's command, such that permissions mean something to it even as root."""
    command = [sys.executable, "-m", "assetstored"]
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("as root this needs setpriv")
    tried = subprocess.run([setpriv, "--bounding-set=-all", "true"], check=False)
    if tried.returncode:
        pytest.skip("setpriv may not drop capabilities here")
    return [setpriv, "--bounding-set=-all", *command]
