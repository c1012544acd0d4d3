"""What a user installs: the wheel, the sdist, and a client without extras in a fresh environment.

Rule: looks at what was built, never at the checkout.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.checkout import ROOT, name_of, project_files

PACKAGES = {
    "assetstore": "lib/assetstore",
    "assetstored": "daemon/assetstored",
    "assetstore_cli": "cli/assetstore_cli",
}

#: How an installed command says that its extra is missing, and with what exit code.
GUARDS = {
    "assetstored": ("assetstore[daemon]", 78),
    "assetstore": ("assetstore[cli]", 1),
}


class Built(NamedTuple):
    wheel: Path
    sdist: Path

    def wheel_names(self) -> list[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.namelist()

    def sdist_names(self) -> list[str]:
        with tarfile.open(self.sdist) as archive:
            return [name.partition("/")[2] for name in archive.getnames()]

    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
            return Parser().parsestr(archive.read(name).decode())


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A wheel that was built from an sdist that was built from the checkout."""
    if importlib.util.find_spec("build") is None:
        pytest.skip("needs the build frontend: make setup")
    # With the backend at hand nothing is fetched; without it, only a package index can help.
    at_hand = importlib.util.find_spec("hatchling") is not None
    out = tmp_path_factory.mktemp("dist")
    isolation = ["--no-isolation"] if at_hand else []
    done = run(sys.executable, "-m", "build", *isolation, "--outdir", out, ROOT)
    if done.returncode and not at_hand:
        pytest.skip("needs hatchling, or a package index to fetch it from")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def client_only(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a fresh environment after `pip install assetstore`."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("needs pip")
    home = tmp_path_factory.mktemp("client") / "venv"
    venv.create(home, with_pip=False)
    pip = (sys.executable, "-m", "pip", "--python", home / "bin" / "python", "--quiet", "install")
    if run(*pip, "msgspec").returncode:
        pytest.skip("needs a package index to fetch msgspec from")
    done = run(*pip, built.wheel)
    assert done.returncode == 0, done.stderr
    return home / "bin"


def test_the_wheel_holds_three_packages_and_nothing_else_at_the_top(built: Built) -> None:
    tops = {name.partition("/")[0] for name in built.wheel_names()}

    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_holds_every_module_of_a_package_and_its_type_marker(
    built: Built, package: str
) -> None:
    folder = ROOT / PACKAGES[package]
    modules = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    packed = {name for name in built.wheel_names() if name.startswith(f"{package}/")}

    assert packed == modules
    assert f"{package}/py.typed" in packed


def test_the_wheel_carries_the_licence(built: Built) -> None:
    assert built.metadata()["License-Expression"] == "Apache-2.0"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in built.wheel_names())


def test_the_client_requires_msgspec_and_nothing_more(built: Built) -> None:
    required = built.metadata().get_all("Requires-Dist") or []

    bare = [each for each in required if "extra ==" not in each]
    assert [each.partition(">")[0] for each in bare] == ["msgspec"]


def test_the_sdist_holds_the_whole_project(built: Built) -> None:
    project = {name_of(path) for path in project_files()}
    packed = set(built.sdist_names())

    # Hidden files concern the repository and not its release.
    assert {name for name in project if not name.startswith(".")} - packed == set()


def test_the_sdist_holds_nothing_that_is_not_the_projects(built: Built) -> None:
    project = {name_of(path) for path in project_files()}

    assert set(built.sdist_names()) - project - {"PKG-INFO"} == set()


def test_a_client_only_install_brings_msgspec_and_nothing_more(client_only: Path) -> None:
    listing = (
        "import importlib.metadata as m, json;"
        "print(json.dumps(sorted(each.name for each in m.distributions())))"
    )

    done = run(client_only / "python", "-c", listing)

    assert json.loads(done.stdout) == ["assetstore", "msgspec"]


def test_the_client_alone_can_be_imported_and_loads_nothing_heavy(client_only: Path) -> None:
    program = (
        "import assetstore, json, sys;"
        "heavy = {'lmdb', 'watchfiles', 'click', 'asyncio', 'assetstored', 'assetstore_cli'};"
        "print(json.dumps(sorted(heavy & set(sys.modules))))"
    )

    done = run(client_only / "python", "-c", program)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("command", GUARDS)
def test_a_command_without_its_extra_says_in_one_line_what_to_install(
    client_only: Path, command: str
) -> None:
    extra, code = GUARDS[command]

    done = run(client_only / command)

    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"pip install '{extra}'" in done.stderr
