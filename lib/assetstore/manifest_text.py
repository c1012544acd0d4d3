"""The text of a manifest file, JSON or TOML: decoded into its shape, its errors put into words.

Rule: shape only. Which names may stand in a manifest, and what follows from it, is manifest.py.
"""

from __future__ import annotations

import json
import re
import tomllib
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from assetstore.errors import AssetStoreError
from assetstore.position import (
    Steps,
    column_at,
    json_line,
    json_repeated_key,
    line_at,
    toml_line,
)

#: The one version of the file's shape so far.
VERSION = 1

#: Ten times what the store is planned for: 64 MiB of tiny names would be 16 million assets.
MAX_MANIFEST_ASSETS = 1_000_000

#: An asset is six strings at most, with the names of its fields.
_MAX_STRINGS = 6 * MAX_MANIFEST_ASSETS + 3


class ManifestInvalid(AssetStoreError):
    """The file is no manifest, so nothing of it counts.

    The message names the file, the line where it is known, what is wrong and the remedy.
    """

    state: ClassVar[Literal["invalid"]] = "invalid"

    def __init__(self, message: str) -> None:
        # It quotes what stands in the file, and goes to terminals and logs.
        super().__init__(
            "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        )


# UNSET tells a field that is absent from one that holds its default: check_keys counts them.


class Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An asset as an object; it may also be a bare string."""

    name: str
    uri: str | UnsetType = UNSET
    group: str | UnsetType | None = UNSET


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """The file as a whole."""

    version: int
    assets: list[str | Item]
    allow_empty: bool | UnsetType = UNSET


class _Version(msgspec.Struct):
    version: Any


class Source(ABC):
    """One manifest file. Everything here raises or returns ManifestInvalid, never another error."""

    #: What a manifest and an asset look like, for someone who got it wrong.
    manifest_shape: ClassVar[str]
    asset_shape: ClassVar[str]
    empty_on_purpose: ClassVar[str]

    def __init__(self, data: bytes, path: str) -> None:
        self.data = data
        self.path = path
        self.text = self._decode_text()

    @abstractmethod
    def decode(self) -> Document:
        """The document, with every field of its right type. Call it first, and once."""

    @abstractmethod
    def check_keys(self, document: Document) -> None:
        """Raise if an object of the document has the same key twice."""

    @abstractmethod
    def line(self, steps: Steps) -> int | None:
        """The line in which a part of the document stands, where it can be known."""

    def invalid(self, problem: str, steps: Steps = (), *, place: str = "") -> ManifestInvalid:
        """The error for a problem: at these steps into the document, or at a place in words."""
        line = self.line(steps) if steps else None
        place = place or (f"line {line}" if line else "")
        return ManifestInvalid(f"{self.path}{place and ', '}{place}: {problem}")

    def wrong_version(self, version: object) -> ManifestInvalid:
        return self.invalid(
            f"version is {shown(version)}; this assetstore reads version {VERSION}. "
            f"Write {VERSION}, or use the assetstore that the file was written for",
            ("version",),
        )

    def wrong_shape(self, error: msgspec.ValidationError, version: object) -> ManifestInvalid:
        """The error for what msgspec says of the document's fields and types."""
        # A file of another version may have any shape, so say that first.
        if type(version) is int and version != VERSION:
            return self.wrong_version(version)
        match = re.fullmatch(r"(?s)(.*?)(?: - at `\$((?:\.\w+|\[\d+\])*)`)?", str(error))
        assert match is not None  # the pattern fits any text
        problem, steps = match[1], _steps(match[2] or "")
        field = field_name(steps) or "the manifest"
        shape = self.asset_shape if len(steps) > 1 else self.manifest_shape

        if unknown := re.fullmatch(r"(?s)Object contains unknown field `(.*)`", problem):
            problem = f"unknown field {shown(unknown[1])} in {field}"
            steps = (*steps, unknown[1])
        elif missing := re.fullmatch(r"Object missing required field `(\w+)`", problem):
            problem = f"{field} lacks the field {missing[1]!r}"
        elif wrong := re.fullmatch(r"Expected `(.*)`, got `(.*)`", problem):
            expected = " or ".join(_kind(kind) for kind in wrong[1].split(" | "))
            problem = f"{field} must be {expected}, not {_kind(wrong[2])}"
        else:
            problem = f"{field}: {problem[:200]}"
        return self.invalid(f"{problem}. {shape}", steps)

    def _decode_text(self) -> str:
        if self.data.startswith(b"\xef\xbb\xbf"):
            raise self.invalid("begins with a byte order mark (BOM); save it as UTF-8 without one")
        if self.data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise self.invalid("is in UTF-16; save it as UTF-8")
        try:
            text = self.data.decode()
        except UnicodeDecodeError as exc:
            line = self.data.count(b"\n", 0, exc.start) + 1
            raise self.invalid(
                f"not UTF-8: {exc.reason} at byte {exc.start} "
                f"(0x{self.data[exc.start]:02x}); save it as UTF-8",
                place=f"line {line}",
            ) from None
        if not text or text.isspace():
            raise self.invalid(f"is empty. {self.manifest_shape}")
        return text


class JsonSource(Source):
    manifest_shape = (
        'A manifest is {"version": 1, "assets": [...]}, perhaps with "allow_empty": true'
    )
    asset_shape = 'An asset is "NAME" or {"name": "NAME", "uri": "URI", "group": "GROUP"}'
    empty_on_purpose = '"allow_empty": true'

    def decode(self) -> Document:
        # Millions of strings are refused before there is memory for each of them.
        if b"\\" not in self.data and self.data.count(b'"') > 2 * _MAX_STRINGS:
            raise self.invalid(f"lists more than {MAX_MANIFEST_ASSETS:,} assets, the limit")
        try:
            return msgspec.json.decode(self.data, type=Document)
        except msgspec.ValidationError as exc:
            raise self.wrong_shape(exc, self._version()) from None
        except msgspec.DecodeError as exc:
            raise self._malformed(exc) from None

    def check_keys(self, document: Document) -> None:
        """Raise if an object has the same key twice.

        JSON readers let the last one win and drop the others in silence. But every string in the
        text is a key or a value of the document, unless it was dropped: so the numbers differ.
        """
        unescaped = self.data.replace(rb"\\", b"").replace(rb"\"", b"")
        if unescaped.count(b'"') == 2 * _count_strings(document):
            return
        found = json_repeated_key(self.text)
        if found is None:
            raise self.invalid("an object has the same field twice; keep one of the two")
        key, first, second = found
        raise self.invalid(
            f"the field {shown(key)} is there twice, in line {first} and in line {second}; "
            "keep one of the two"
        )

    def line(self, steps: Steps) -> int | None:
        return json_line(self.text, steps)

    def _version(self) -> object:
        try:
            return msgspec.json.decode(self.data, type=_Version).version
        except (msgspec.MsgspecError, RecursionError):
            return None

    def _malformed(self, error: msgspec.DecodeError) -> ManifestInvalid:
        lone_surrogate = "not JSON: half of a surrogate pair, which is no character"
        if match := re.fullmatch(r"(?:JSON is malformed: )?(.*) \(byte (\d+)\)", str(error)):
            before = self.data[: int(match[2])].decode(errors="replace")
            end = len(before)
            return self.invalid(
                lone_surrogate if "surrogate" in match[1] else f"not JSON: {match[1]}",
                place=f"line {line_at(before, end)}, column {column_at(before, end)}",
            )
        # The other error is a text that is too short; but msgspec says that, too,
        # where a string ends after half of a surrogate pair.
        try:
            json.loads(self.text)
        except (ValueError, RecursionError):
            return self.invalid(
                "not JSON: ends in the middle. If it was still being written: write to another "
                "file and rename that over this one",
                place=f"line {line_at(self.text, len(self.text.rstrip()))}",
            )
        return self.invalid(lone_surrogate)


class TomlSource(Source):
    manifest_shape = "A manifest has version = 1, assets = [...] and perhaps allow_empty = true"
    asset_shape = 'An asset is "NAME" or {name = "NAME", uri = "URI", group = "GROUP"}'
    empty_on_purpose = "allow_empty = true"

    _list_length: int | None = None

    def decode(self) -> Document:
        try:
            content = tomllib.loads(self.text)
        except RecursionError:
            raise self.invalid("not TOML: nested too deeply") from None
        except ValueError as exc:
            match = re.fullmatch(r"(?s)(.*) \(at (.*)\)", str(exc))
            problem, place = (match[1], match[2]) if match else (str(exc), "")
            raise self.invalid(f"not TOML: {problem[:200]}", place=place) from None
        assets = content.get("assets")
        self._list_length = len(assets) if isinstance(assets, list) else None
        try:
            return msgspec.convert(content, Document)
        except msgspec.ValidationError as exc:
            raise self.wrong_shape(exc, content.get("version")) from None

    def check_keys(self, document: Document) -> None:
        """Nothing to do: TOML forbids it, and tomllib checks it."""

    def line(self, steps: Steps) -> int | None:
        return toml_line(self.text, steps, self._list_length)


def read_source(data: bytes, path: str) -> Source:
    """The file as what its suffix says it is; raises ManifestInvalid if it is no text."""
    return TomlSource(data, path) if path.lower().endswith(".toml") else JsonSource(data, path)


def field_name(steps: Steps) -> str:
    """The place as people write it: ``assets[3].uri``."""
    return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps).removeprefix(".")


def shown(value: object) -> str:
    """The value for a message: on one line, and short."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _steps(path: str) -> Steps:
    """The steps in msgspec's notation, ``.assets[3].uri``."""
    found = re.findall(r"\.(\w+)|\[(\d+)\]", path)
    return tuple(int(index) if index else key for key, index in found)


def _count_strings(document: Document) -> int:
    """How many strings a JSON text that says just this has: the keys, and values of that type."""
    count = 2 + (document.allow_empty is not UNSET)
    for item in document.assets:
        if isinstance(item, str):
            count += 1
        else:
            count += 2
            if item.uri is not UNSET:
                count += 2
            if item.group is not UNSET:
                count += 1 if item.group is None else 2
    return count


_KINDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number with a fraction",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}


def _kind(name: str) -> str:
    return _KINDS.get(name, f"a {name}")
