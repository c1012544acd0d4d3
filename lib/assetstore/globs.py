"""Which assets and keys are meant, in one text: ``orders/*:watermark``.

What stands before the last colon fits names of assets (or uris, where the caller says so), what
comes after it fits keys; both as a whole. ``*`` is any text, slashes included, ``?`` any one
character. A backslash takes the meaning from what follows it, so a key with a colon in it is
written ``part\\:1``; the colons of a name or a uri stand as they are.

Rule: pure; the command line and the daemon's configuration both read it here.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import Self

from assetstore.errors import InvalidRequest
from assetstore.limits import MAX_KEY_CHARS, MAX_NAME_CHARS

_PART = re.compile(r"\\.|.", re.DOTALL)


class Glob:
    """One pattern. ``literal`` is the only text that fits, None where there may be several;
    whatever fits begins with ``prefix``."""

    __slots__ = ("_fits", "literal", "prefix", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        parts = _PART.findall(text)
        plain: list[str] = []
        for part in parts:
            if part in ("*", "?"):
                break
            plain.append(part[-1])
        self.prefix = "".join(plain)
        self.literal = self.prefix if len(plain) == len(parts) else None
        # In fnmatch's words: a set of one is a character that means nothing.
        words = (part if part in ("*", "?") else f"[{part[-1]}]" for part in parts)
        self._fits = re.compile(translate("".join(map(_word, words)))).match

    def fits(self, text: str) -> bool:
        """Whether the text fits, from its beginning to its end."""
        return text == self.literal if self.literal is not None else self._fits(text) is not None

    def __repr__(self) -> str:
        return f"Glob({self.text!r})"


class KeyGlob:
    """A pattern for assets and one for keys."""

    __slots__ = ("asset", "key", "text")

    def __init__(self, text: str, asset: Glob, key: Glob) -> None:
        self.text = text
        self.asset = asset
        self.key = key

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidRequest with what is wrong and how it is written."""
        parts = _PART.findall(text)
        if parts and parts[-1] == "\\":
            raise InvalidRequest(f"{text!r} ends with a backslash; write two for one")
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise InvalidRequest(
                f"{text!r} holds a lone surrogate at position {exc.start}, which is no character"
            ) from None
        colon = max((at for at, part in enumerate(parts) if part == ":"), default=-1)
        asset, key = "".join(parts[: max(colon, 0)]), "".join(parts[colon + 1 :])
        if colon < 0 or not asset or not key:
            raise InvalidRequest(
                f"{text!r} does not say which keys of which assets: write ASSET:KEY, say "
                "'orders/*:watermark'; a colon within the key as '\\:'"
            )
        for what, pattern, limit in (("asset", asset, MAX_NAME_CHARS), ("key", key, MAX_KEY_CHARS)):
            # Twice: each character may have a backslash before it.
            if len(pattern) > 2 * limit:
                raise InvalidRequest(
                    f"the pattern for the {what} is {len(pattern):,} characters long; nothing "
                    f"fits it beyond {limit:,}: {pattern[:40]!r}..."
                )
        return cls(text, Glob(asset), Glob(key))

    def __repr__(self) -> str:
        return f"KeyGlob({self.text!r})"


def _word(word: str) -> str:
    # "[!]" and "[]]" mean something else to fnmatch than a set of one; both are plain without.
    return word[1] if word in ("[!]", "[]]") else word
