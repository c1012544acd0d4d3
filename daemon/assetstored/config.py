"""The configuration: one frozen Struct, from a TOML file and from flags, which win.

Rule: reads the configuration file, and in access_rules.py the names of users; nothing else.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from assetstore.errors import InvalidRequest
from assetstore.globs import KeyGlob
from assetstore.limits import DEFAULT_MAX_VALUE_BYTES, FRAME_OVERHEAD_BYTES
from assetstored import access_rules
from assetstored.access import Rules

_UNITS_S = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3_600.0,
    "d": 86_400.0,
    "w": 604_800.0,
}

#: Patterns for keys whose ages are metrics: each is held against every asset.
_MAX_GLOBS = 100

_MODE = re.compile("0?[0-7]{3}")
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


class ConfigInvalid(Exception):
    """The configuration cannot be used; the message names file, key, value and remedy."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting; systemd/assetstored.toml describes each for operators."""

    data_dir: str = "/var/lib/assetstore"
    socket: str = "/run/assetstore/assetstored.sock"
    manifest: str = "/etc/assetstore/manifest.json"
    grace: str = "7d"
    sweep_interval: str = "60s"
    journal_max_age: str = "30d"
    journal_max_bytes: int = 1 << 30
    max_value_bytes: int = DEFAULT_MAX_VALUE_BYTES
    max_deactivate_fraction: float = 0.5
    max_connections: int = 4_096
    max_inflight_bytes: int = 64 << 20
    metrics_file: str = ""
    metrics_interval: str = "15s"
    metrics_ages: list[str] = []
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: "": there is none.
    readonly_socket: str = ""
    readonly_socket_group: str = ""
    readonly_socket_mode: str = "0660"
    access: Rules | None = None

    @property
    def readonly_mode(self) -> int:
        """The mode of the socket that is for reading."""
        return int(self.readonly_socket_mode, 8)

    @property
    def grace_s(self) -> float:
        """How long a store stays in the trash, in seconds."""
        return duration_s(self.grace)

    @property
    def sweep_interval_s(self) -> float:
        """Seconds between two sweeps."""
        return duration_s(self.sweep_interval)

    @property
    def journal_max_age_s(self) -> float:
        """How long the journal remembers a change, in seconds."""
        return duration_s(self.journal_max_age)

    @property
    def metrics_interval_s(self) -> float:
        """Seconds between two writes of the metrics file."""
        return duration_s(self.metrics_interval)

    @property
    def key_globs(self) -> list[KeyGlob]:
        """Which keys' ages are among the metrics."""
        return [KeyGlob.parse(text) for text in self.metrics_ages]


def load(path: Path | None, flags: dict[str, str]) -> Config:
    """The configuration in the file, if one is given, with flags in place of its values.

    Raises ConfigInvalid.
    """
    table: dict[str, Any] = {}
    origin = "the command line"
    if path is not None:
        origin = str(path)
        try:
            table = tomllib.loads(path.read_bytes().decode())
        except OSError as exc:
            raise ConfigInvalid(f"cannot read {path}: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise ConfigInvalid(f"{path}: not UTF-8 (byte {exc.start})") from exc
        except tomllib.TOMLDecodeError as exc:
            raise ConfigInvalid(f"{path}: not TOML: {exc}") from exc
    known = {field.name for field in msgspec.structs.fields(Config)}
    for key in table:
        if key not in known:
            raise ConfigInvalid(
                f"{origin}: unknown key {key!r}; there are {', '.join(sorted(known))}"
            )
    rules = None
    if "access" in table:
        try:
            rules = access_rules.parse(table.pop("access"), origin)
        except ValueError as exc:
            raise ConfigInvalid(f"{origin}: {exc}") from exc
    try:
        config = msgspec.convert({**table, **flags}, Config)
    except msgspec.ValidationError as exc:
        raise ConfigInvalid(f"{origin}: {_in_words(str(exc))}") from exc
    config = msgspec.structs.replace(config, access=rules)
    _check(config, origin)
    return config


def in_words(config: Config) -> Iterator[str]:
    """Where things are, and who may do what."""
    yield f"the configuration is valid; data_dir {config.data_dir}, socket {config.socket}"
    if config.readonly_socket:
        yield f"socket for reading: {config.readonly_socket}"
    yield from access_rules.in_words(config.access)


def duration_s(text: str) -> float:
    """Seconds in a number with a unit: "90s", "1.5h". Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None or match[2] not in _UNITS_S:
        raise ValueError(
            f'{text!r} is no duration; write a number with one of {", ".join(_UNITS_S)}: "7d"'
        )
    return float(match[1]) * _UNITS_S[match[2]]


def _check(config: Config, origin: str) -> None:
    for key in ("grace", "sweep_interval", "journal_max_age", "metrics_interval"):
        try:
            duration_s(getattr(config, key))
        except ValueError as exc:
            raise ConfigInvalid(f"{origin}: {key}: {exc}") from exc
    for key, low, high in (
        ("sweep_interval_s", 0.05, 86_400.0),
        ("metrics_interval_s", 0.1, 86_400.0),
        ("grace_s", 0.0, 10 * 366 * 86_400.0),
        ("journal_max_age_s", 0.0, 10 * 366 * 86_400.0),
        ("journal_max_bytes", 1 << 20, 1 << 40),
        ("max_value_bytes", 1, 256 << 20),
        ("max_deactivate_fraction", 0.0, 1.0),
        ("max_connections", 1, 1_000_000),
        ("max_inflight_bytes", 1 << 20, 1 << 40),
    ):
        value = getattr(config, key)
        if not low <= value <= high:
            name = key.removesuffix("_s")
            raise ConfigInvalid(
                f"{origin}: {name} = {getattr(config, name)!r} is out of range; "
                f"it is from {low:,} to {high:,}" + (" seconds" if name != key else "")
            )
    if config.max_value_bytes + FRAME_OVERHEAD_BYTES > config.max_inflight_bytes:
        raise ConfigInvalid(
            f"{origin}: max_value_bytes = {config.max_value_bytes:,} needs max_inflight_bytes of "
            f"at least {config.max_value_bytes + FRAME_OVERHEAD_BYTES:,}, which is "
            f"{config.max_inflight_bytes:,}: no such value could ever be set"
        )
    try:
        globs = config.key_globs
    except InvalidRequest as exc:
        raise ConfigInvalid(f"{origin}: metrics_ages: {exc}") from exc
    if len(globs) > _MAX_GLOBS:
        raise ConfigInvalid(
            f"{origin}: metrics_ages has {len(globs):,} patterns; there may be {_MAX_GLOBS}. "
            "Use wildcards"
        )
    _check_readonly_socket(config, origin)
    for key in ("data_dir", "socket", "manifest", "metrics_file", "readonly_socket"):
        value = getattr(config, key)
        if key in ("metrics_file", "readonly_socket") and not value:
            continue  # there is none
        if not value or "\0" in value:
            raise ConfigInvalid(f"{origin}: {key} is no path: {value!r}")
        try:
            value.encode()
        except UnicodeEncodeError:
            # It is written into logs, status and store, which all are UTF-8.
            raise ConfigInvalid(f"{origin}: {key} is not UTF-8: {value!r}; rename it") from None


def _check_readonly_socket(config: Config, origin: str) -> None:
    group, mode = config.readonly_socket_group, config.readonly_socket_mode
    if not _MODE.fullmatch(mode):
        raise ConfigInvalid(
            f"{origin}: readonly_socket_mode = {mode!r} is no mode of a socket; "
            '"0660" lets owner and group connect, "0666" everybody'
        )
    if not config.readonly_socket and (group or mode != Config().readonly_socket_mode):
        raise ConfigInvalid(
            f"{origin}: readonly_socket_group and readonly_socket_mode are of a socket that "
            "readonly_socket names, and it names none"
        )
    if config.readonly_socket and config.readonly_socket == config.socket:
        raise ConfigInvalid(f"{origin}: readonly_socket and socket are the same: {config.socket}")
    try:
        access_rules.group_id(group)
    except ValueError as exc:
        raise ConfigInvalid(f"{origin}: readonly_socket_group: {exc}") from exc


def _in_words(message: str) -> str:
    """msgspec's message with the key before it: "Expected `int`, got `str` - at `$.key`"."""
    text, _, where = message.partition(" - at `$.")
    return f"{where.rstrip('`')}: {text}" if where else text
