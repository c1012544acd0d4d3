"""The daemon's flags and its configuration file: what is refused, and in which words.

Rule: nothing here needs a daemon that serves.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import assetstore
from assetstored.config import ConfigInvalid, load

EX_CONFIG = 78


def assetstored(*flags: str) -> subprocess.CompletedProcess[str]:
    """The daemon's command, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "assetstored", *flags],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def write(tmp_path: Path, text: str | bytes) -> Path:
    """A configuration file with this text."""
    path = tmp_path / "assetstored.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def check(tmp_path: Path, text: str | bytes) -> subprocess.CompletedProcess[str]:
    """What it says of a configuration file with this text."""
    return assetstored("--check", f"--config={write(tmp_path, text)}")


def test_a_valid_configuration_is_said_to_be_valid_and_nothing_is_started(tmp_path: Path) -> None:
    done = check(tmp_path, f'data_dir = "{tmp_path}/data"\ngrace = "1.5h"\nlog_level = "debug"\n')

    assert (done.returncode, done.stderr) == (0, "")
    assert "valid" in done.stdout
    assert f"{tmp_path}/data" in done.stdout
    assert not (tmp_path / "data").exists()


def test_a_flag_wins_over_the_file(tmp_path: Path) -> None:
    config = write(tmp_path, 'data_dir = "/in/the/file"\n')

    done = assetstored("--check", f"--config={config}", "--data-dir=/on/the/command/line")

    assert done.returncode == 0
    assert "/on/the/command/line" in done.stdout
    assert "/in/the/file" not in done.stdout


WRONG = [
    ("grase = '7d'", ["unknown key 'grase'", "grace"]),
    ("grace = 7", ["grace", "str", "int"]),
    ("grace = '7 days'", ["grace", "'7 days'", "no duration", '"7d"']),
    ("grace = '-1s'", ["grace", "no duration"]),
    ("grace = ''", ["grace", "no duration"]),
    ("grace = '100000d'", ["grace", "out of range"]),
    ("sweep_interval = '1ms'", ["sweep_interval", "out of range", "from 0.05"]),
    ("sweep_interval = 'soon'", ["sweep_interval", "no duration"]),
    ("max_value_bytes = '1 MiB'", ["max_value_bytes", "int", "str"]),
    ("max_value_bytes = 0", ["max_value_bytes", "out of range", "from 1 to"]),
    ("max_value_bytes = true", ["max_value_bytes", "int", "bool"]),
    ("max_deactivate_fraction = 1.5", ["max_deactivate_fraction", "out of range", "to 1"]),
    ("max_deactivate_fraction = nan", ["max_deactivate_fraction", "out of range"]),
    ("max_connections = 0", ["max_connections", "out of range"]),
    ("max_inflight_bytes = 1000", ["max_inflight_bytes", "out of range"]),
    ("log_level = 'loud'", ["log_level", "'loud'"]),
    ("data_dir = ''", ["data_dir", "no path"]),
    ("socket = ['a']", ["socket", "str", "array"]),
    ("[table]\nkey = 1", ["unknown key 'table'"]),
    ("grace = '7d'\ngrace = '8d'", ["not TOML"]),
    ("grace = 7d", ["not TOML", "line 1"]),
    (b"grace = '\xff'", ["not UTF-8", "byte 9"]),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_a_wrong_configuration_is_refused_with_file_and_key(
    tmp_path: Path, text: str | bytes, words: list[str]
) -> None:
    path = write(tmp_path, text)

    with pytest.raises(ConfigInvalid) as refused:
        load(path, {})

    for word in [str(path), *words]:
        assert word in str(refused.value)


@pytest.mark.parametrize(("text", "words"), WRONG[:3])
def test_a_wrong_configuration_ends_the_daemon_with_its_own_exit_status_and_one_line(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    done = check(tmp_path, text)

    assert done.returncode == EX_CONFIG
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_a_configuration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path):
        done = assetstored("--check", f"--config={path}")

        assert done.returncode == EX_CONFIG
        assert f"cannot read {path}: " in done.stderr
        assert "Traceback" not in done.stderr


def test_a_wrong_configuration_does_not_start_the_daemon_either(tmp_path: Path) -> None:
    config = write(tmp_path, "grase = '7d'")

    done = assetstored(f"--config={config}", f"--data-dir={tmp_path / 'data'}")

    assert done.returncode == EX_CONFIG
    assert not (tmp_path / "data").exists()


def test_an_unknown_flag_is_a_usage_error() -> None:
    done = assetstored("--daemonize")

    assert done.returncode == 2
    assert "--daemonize" in done.stderr


def test_the_version_is_the_librarys() -> None:
    done = assetstored("--version")

    assert done.returncode == 0
    assert done.stdout == f"assetstored {assetstore.__version__}\n"


def test_help_names_every_flag_and_the_exit_status_of_a_bad_configuration() -> None:
    done = assetstored("--help")

    assert done.returncode == 0
    for word in ("--config", "--data-dir", "--socket", "--manifest", "--check", "SIGHUP", "78"):
        assert word in done.stdout
