"""The configuration: what a file and flags may say, and what a mistake is answered."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from assetstored.access import Right, Rule, Rules
from assetstored.config import Config, ConfigInvalid, duration_s, load


def load_text(tmp_path: Path, text: str | bytes, **flags: str) -> Config:
    """The configuration in a file with this text."""
    file = tmp_path / "assetstored.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(file, flags)


def test_without_a_file_every_key_has_its_default() -> None:
    assert load(None, {}) == Config()
    assert msgspec.to_builtins(Config()) == {
        "data_dir": "/var/lib/assetstore",
        "socket": "/run/assetstore/assetstored.sock",
        "manifest": "/etc/assetstore/manifest.json",
        "grace": "7d",
        "sweep_interval": "60s",
        "journal_max_age": "30d",
        "journal_max_bytes": 1_073_741_824,
        "max_value_bytes": 1_048_576,
        "max_deactivate_fraction": 0.5,
        "max_connections": 4_096,
        "max_inflight_bytes": 67_108_864,
        "metrics_file": "",
        "metrics_interval": "15s",
        "metrics_ages": [],
        "log_level": "info",
        "readonly_socket": "",
        "readonly_socket_group": "",
        "readonly_socket_mode": "0660",
        "access": None,
    }


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_text(tmp_path, "") == Config()


def test_every_key_can_be_set_in_the_file(tmp_path: Path) -> None:
    config = load_text(
        tmp_path,
        """
        data_dir = "/d"
        socket = "/s"
        manifest = "/m.toml"
        grace = "36h"
        sweep_interval = "250ms"
        journal_max_age = "2w"
        journal_max_bytes = 3_000_000
        max_value_bytes = 10
        max_deactivate_fraction = 1
        max_connections = 5
        max_inflight_bytes = 2_000_000
        metrics_file = "/m.prom"
        metrics_interval = "30s"
        metrics_ages = ["orders/*:watermark"]
        log_level = "debug"
        readonly_socket = "/r"
        readonly_socket_group = "0"
        readonly_socket_mode = "0666"
        [access.user.1234]
        read = ["*"]
        """,
    )

    rules = Rules((Rule("user", 1234, "1234", Right.READ, ("*",)),), f"{tmp_path}/assetstored.toml")
    assert list(msgspec.structs.astuple(config)) == [
        "/d", "/s", "/m.toml", "36h", "250ms", "2w", 3_000_000, 10, 1.0, 5, 2_000_000,
        "/m.prom", "30s", ["orders/*:watermark"], "debug", "/r", "0", "0666", rules
    ]  # fmt: skip
    assert config.readonly_mode == 0o666
    assert (config.grace_s, config.sweep_interval_s) == (129_600.0, 0.25)
    assert config.journal_max_age_s == 14 * 86_400.0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('metrics_ages = ["orders"]', r"toml: metrics_ages: 'orders' does not say which keys"),
        ('metrics_ages = [":k"]', "does not say which keys"),
        ("metrics_ages = ['a:k\\']", "ends with a backslash"),
        ("metrics_ages = [1]", "metrics_ages"),
        (f"metrics_ages = {['a:k'] * 101}", "101 patterns; there may be 100"),
        ('metrics_interval = "15"', "metrics_interval: '15' is no duration"),
        ('metrics_interval = "1ms"', "out of range; it is from 0.1 to 86,400.0 seconds"),
        ('metrics_file = "a\\u0000"', "metrics_file is no path"),
    ],
)
def test_settings_of_metrics_that_cannot_be_are_refused(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(ConfigInvalid, match=why):
        load_text(tmp_path, text)


def test_a_flag_wins_over_the_file(tmp_path: Path) -> None:
    config = load_text(tmp_path, 'data_dir = "/file"\nsocket = "/file"\n', data_dir="/flag")

    assert (config.data_dir, config.socket) == ("/flag", "/file")


def test_a_configuration_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        Config().grace = "1s"  # type: ignore[misc]


def test_an_unknown_key_is_refused_by_its_name_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        load_text(tmp_path, 'data_directory = "/d"')

    assert str(refused.value).startswith(
        f"{tmp_path}/assetstored.toml: unknown key 'data_directory'; there are access, data_dir, "
    )


def test_a_table_is_an_unknown_key_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="unknown key 'daemon'"):
        load_text(tmp_path, '[daemon]\ndata_dir = "/d"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_connections = '5'", "max_connections: Expected `int`, got `str`"),
        ("max_connections = 5.5", "max_connections: Expected `int`, got `float`"),
        ("max_value_bytes = true", "max_value_bytes: Expected `int`, got `bool`"),
        ("grace = 7", "grace: Expected `str`, got `int`"),
        ("data_dir = ['/d']", "data_dir: Expected `str`, got `array`"),
        ("log_level = 'verbose'", "log_level: Invalid enum value 'verbose'"),
    ],
)
def test_a_wrong_type_is_refused_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        load_text(tmp_path, text)

    assert str(refused.value) == f"{tmp_path}/assetstored.toml: {message}"


@pytest.mark.parametrize(
    "text",
    [
        "max_value_bytes = 0",
        "max_value_bytes = 268435457",
        "max_deactivate_fraction = -0.1",
        "max_deactivate_fraction = 1.01",
        "max_deactivate_fraction = nan",
        "max_deactivate_fraction = inf",
        "max_connections = 0",
        "max_connections = 1000001",
        "max_inflight_bytes = 1048575",
        "max_inflight_bytes = 1099511627777",
        "sweep_interval = '0s'",
        "sweep_interval = '49ms'",
        "sweep_interval = '25h'",
        "grace = '3661d'",
        "journal_max_age = '3661d'",
        "journal_max_bytes = 1048575",
        "journal_max_bytes = 1099511627777",
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(tmp_path: Path, text: str) -> None:
    key = text.partition(" ")[0]

    with pytest.raises(ConfigInvalid, match=rf"toml: {key} = .* is out of range; it is from .* to"):
        load_text(tmp_path, text)


def test_the_range_of_a_duration_is_in_seconds(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"sweep_interval = '0s' .* from 0.05 to .* seconds"):
        load_text(tmp_path, "sweep_interval = '0s'")


@pytest.mark.parametrize(
    "text",
    [
        "grace = '0s'",
        "grace = '3660d'",
        "sweep_interval = '50ms'",
        "sweep_interval = '24h'",
        "journal_max_age = '0s'",
        "journal_max_age = '3660d'",
        "journal_max_bytes = 1048576",
        "journal_max_bytes = 1099511627776",
        "max_deactivate_fraction = 0",
        "max_deactivate_fraction = 1.0",
        "max_value_bytes = 1",
        "max_connections = 1",
        "max_inflight_bytes = 1048576\nmax_value_bytes = 900000",
    ],
)
def test_the_ends_of_a_range_are_within_it(tmp_path: Path, text: str) -> None:
    load_text(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("90s", 90.0),
        ("15m", 900.0),
        ("15min", 900.0),
        ("36h", 129_600.0),
        ("7d", 604_800.0),
        ("2w", 1_209_600.0),
        ("1.5h", 5_400.0),
        ("0s", 0.0),
        (" 7 d ", 604_800.0),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "7", "d", "7 days", "7D", "-7d", "7d12h", "1e3s", ".5h", "7,5h", "7d\nx"]
)
def test_anything_else_is_no_duration_and_the_message_shows_one(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        load_text(tmp_path, "", grace=text)

    assert f"grace: {text!r} is no duration; write a number with one of ms, s, m, min, h, d, w" in (
        str(refused.value)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("readonly_socket_mode = '0666'", "are of a socket that readonly_socket names"),
        ("readonly_socket_group = '0'", "are of a socket that readonly_socket names"),
        ("readonly_socket = '/r'\nreadonly_socket_mode = '0888'", "is no mode of a socket"),
        ("readonly_socket = '/r'\nreadonly_socket_mode = '4660'", "is no mode of a socket"),
        ("readonly_socket = '/r'\nreadonly_socket_mode = 432", "Expected `str`, got `int`"),
        ("readonly_socket = '/r'\nreadonly_socket_group = 'no-such'", "there is no group"),
        ("readonly_socket = '/r'\nsocket = '/r'", "are the same: /r"),
        ("readonly_socket = '/r\\u0000'", "readonly_socket is no path"),
    ],
)
def test_a_socket_for_reading_that_cannot_be_had_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        load_text(tmp_path, text.replace("'", '"'))


@pytest.mark.parametrize("key", ["data_dir", "socket", "manifest"])
@pytest.mark.parametrize("path", ["", "/a\\u0000b"])
def test_what_can_be_no_path_is_refused(tmp_path: Path, key: str, path: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"{key} is no path"):
        load_text(tmp_path, f'{key} = "{path}"')


def test_a_path_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"data_dir is not UTF-8: .* rename it"):
        load(None, {"data_dir": "/srv/\udcff"})


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"cannot read .*/none: No such file or directory"):
        load(tmp_path / "none", {})


def test_a_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"cannot read .*: Is a directory"):
        load(tmp_path, {})


def test_what_is_not_toml_is_refused_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"not TOML: .*line 2"):
        load_text(tmp_path, 'grace = "7d"\nsocket: "/s"\n')


def test_what_is_not_utf_8_is_refused_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"not UTF-8 \(byte 11\)"):
        load_text(tmp_path, b'data_dir = \xff"/d"')


def test_a_mistake_on_the_command_line_is_said_to_be_there() -> None:
    with pytest.raises(ConfigInvalid, match=r"^the command line: grace: 'soon' is no duration"):
        load(None, {"grace": "soon"})


def test_a_value_that_may_be_set_fits_among_the_changes_that_may_wait(tmp_path: Path) -> None:
    # Else a set of that size would be told to try again later, for ever.
    with pytest.raises(ConfigInvalid, match=r"max_value_bytes .* max_inflight_bytes"):
        load_text(tmp_path, "max_value_bytes = 2000000\nmax_inflight_bytes = 2000000")
