"""What importing the client costs: msgspec and the standard library, and not all of that."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.support.checkout import ROOT

import assetstore

#: A worker pays for none of these before it asks for them.
UNWANTED = ["lmdb", "watchfiles", "click", "asyncio", "secrets", "assetstored", "assetstore_cli"]


def run(program: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_importing_the_client_loads_neither_engine_nor_watcher_nor_cli_nor_asyncio() -> None:
    loaded = run("import sys, assetstore; print(*sys.modules)").split()

    assert [name for name in UNWANTED if name in loaded] == []


def test_the_client_needs_msgspec_and_nothing_else_from_outside() -> None:
    before = run("import sys, msgspec; print(*sys.modules)").split()
    after = run("import sys, msgspec, assetstore; print(*sys.modules)").split()

    roots = {name.partition(".")[0] for name in after} - {name.partition(".")[0] for name in before}
    assert roots - sys.stdlib_module_names == {"assetstore"}


def test_the_async_client_is_there_when_it_is_asked_for() -> None:
    assert run(
        "import sys, assetstore\n"
        "print('AsyncClient' in dir(assetstore), 'asyncio' in sys.modules)\n"
        "print(assetstore.AsyncClient('/run/x').socket, 'asyncio' in sys.modules)\n"
        "from assetstore import AsyncClient, AsyncTransaction\n"
        "assert AsyncClient is assetstore.AsyncClient\n"
    ).split() == ["True", "False", "/run/x", "True"]


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        assetstore.Nothing  # noqa: B018 - looking it up is what is tested


@pytest.mark.parametrize("name", assetstore.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(assetstore, name) is not None


@pytest.mark.parametrize(
    "name", [each for each in assetstore.__all__ if each not in ("AssetRef", "__version__")]
)
def test_every_public_name_says_what_it_is(name: str) -> None:
    assert getattr(assetstore, name).__doc__


def test_the_version_is_that_of_the_distribution() -> None:
    project = (ROOT / "pyproject.toml").read_text()

    assert f'\nversion = "{assetstore.__version__}"\n' in project
