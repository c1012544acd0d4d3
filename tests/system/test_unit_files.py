"""The files in systemd/, as far as they can be judged without booting anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.checkout import ROOT

from assetstored.config import Config, load

UNITS = ROOT / "systemd"

#: In tenths, as --threshold counts: 0.5.
MAX_EXPOSURE = "5"


def make(target: str, **settings: str) -> str:
    done = subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(destination: Path, *argv: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(UNITS / "install.sh"), *argv],
        env={**os.environ, "DESTDIR": str(destination), **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def files_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("service", ["assetstored.service", "assetstore-backup.service"])
def test_the_service_is_exposed_by_no_more_than_a_half(service: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")

    judged = subprocess.run(
        [
            *("systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE}"),
            *("--no-pager", str(UNITS / service)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert f"Overall exposure level for {service}" in judged.stdout


def test_the_unit_for_airflows_assets_is_one_that_systemd_takes(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    text = (UNITS / "assetstore-airflow-manifest.service").read_text()
    program = tmp_path / "assetstore"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "assetstore-airflow-manifest.service"
    unit.write_text(text.replace("/opt/airflow/bin/assetstore", str(program)))

    judged = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (judged.returncode, judged.stderr) == (0, "")


def test_make_install_systemd_lays_out_all_files_below_destdir(tmp_path: Path) -> None:
    make("install-systemd", DESTDIR=str(tmp_path))

    assert files_below(tmp_path) == {
        "etc/assetstore/assetstored.toml",
        "etc/assetstore/manifest.json",
        "usr/local/lib/systemd/system/assetstored-readonly.socket",
        "usr/local/lib/systemd/system/assetstore-backup.service",
        "usr/local/lib/systemd/system/assetstore-backup.timer",
        "usr/local/lib/systemd/system/assetstored.service",
        "usr/local/lib/systemd/system/assetstored.socket",
        "usr/local/lib/sysusers.d/assetstore.conf",
        "usr/local/lib/tmpfiles.d/assetstore.conf",
        "usr/local/share/assetstore/assetstored.toml",
        "usr/local/share/assetstore/manifest.json",
    }


def test_what_is_installed_is_readable_for_all_under_any_umask(tmp_path: Path) -> None:
    root = tmp_path / "root"
    old = os.umask(0o077)
    try:
        install(root)
    finally:
        os.umask(old)

    for path in root.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_the_service_runs_what_is_in_bindir(tmp_path: Path) -> None:
    install(tmp_path, BINDIR="/srv/store/bin", PREFIX="/usr")

    units = tmp_path / "usr/lib/systemd/system"
    commands = [
        line
        for name in ("assetstored.service", "assetstore-backup.service")
        for line in (units / name).read_text().splitlines()
        if line.startswith("Exec")
    ]
    assert commands == [
        "ExecStart=/srv/store/bin/assetstored --config /etc/assetstore/assetstored.toml",
        "ExecReload=/srv/store/bin/assetstore manifest reload",
        "ExecStart=/srv/store/bin/assetstore backup --keep ${KEEP} ${DEST}",
    ]


@pytest.mark.parametrize("bindir", ["bin", "/opt/my venv/bin", "/opt/100%/bin", "/opt/a|b/bin"])
def test_a_bindir_that_a_unit_cannot_name_is_refused(tmp_path: Path, bindir: str) -> None:
    done = install(tmp_path, BINDIR=bindir)

    assert done.returncode == 2
    assert bindir in done.stderr
    assert files_below(tmp_path) == set()


def test_a_second_install_keeps_an_edited_configuration_and_renews_the_units(
    tmp_path: Path,
) -> None:
    install(tmp_path)
    config = tmp_path / "etc/assetstore/assetstored.toml"
    config.write_text('grace = "1d"\n')
    unit = tmp_path / "usr/local/lib/systemd/system/assetstored.socket"
    unit.write_text("of an older version")

    done = install(tmp_path)

    assert done.returncode == 0
    assert config.read_text() == 'grace = "1d"\n'
    assert unit.read_text() == (UNITS / "assetstored.socket").read_text()


def test_uninstall_leaves_only_what_was_edited(tmp_path: Path) -> None:
    install(tmp_path)
    config = tmp_path / "etc/assetstore/assetstored.toml"
    config.write_text('grace = "1d"\n')

    done = install(tmp_path, "uninstall")

    assert done.returncode == 0
    assert files_below(tmp_path) == {"etc/assetstore/assetstored.toml"}


def test_the_default_configuration_names_every_key_with_its_default() -> None:
    lines = (UNITS / "assetstored.toml").read_text().splitlines()
    # A key is "#key = value"; everything else has a blank after the "#".
    settings = [line[1:] for line in lines if line.startswith("#") and line[1:2].strip("# ")]

    assert tomllib.loads("\n".join(settings)) == defaults()


def test_the_default_configuration_is_valid_as_it_comes() -> None:
    assert load(UNITS / "assetstored.toml", {}) == Config()


def defaults() -> Mapping[str, Any]:
    table = msgspec.to_builtins(Config())
    assert isinstance(table, dict)
    # A table that is there, even if it is empty, is another thing than none.
    assert table.pop("access") is None
    return table
