"""How a user names an asset, and the reference that goes over the wire for it.

Rule: no I/O. Objects of other libraries are known by their attributes only, so that
Airflow's Asset, AssetNameRef and AssetUriRef work and Airflow is never imported.
"""

from __future__ import annotations

from typing import Any, Final, final

from assetstore.errors import InvalidRequest
from assetstore.limits import check_name, check_uri
from assetstore.messages import AssetRef

_NAMES_AN_ASSET: Final = (
    "an asset is named by an Asset, by Asset.ref(name=...) or Asset.ref(uri=...), "
    "by a str (its name), or by an object with a name or a uri"
)


@final
class Asset:
    """A logical data entity, by name and uri; each is unique among the active assets.

    The uri defaults to the name, as in a manifest. Immutable, and equal to every Asset of the same
    name and uri. Both are 1 to 1,500 characters: TypeError for anything but a str, InvalidRequest
    (a ValueError) beyond the limits.
    """

    __slots__ = ("name", "uri")

    name: str
    uri: str

    def __init__(self, name: str, uri: str | None = None) -> None:
        name = check_name(name)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "uri", name if uri is None else check_uri(uri))

    @staticmethod
    def ref(*, name: str | None = None, uri: str | None = None) -> AssetRef:
        """A reference to the asset with this name, or with this uri: exactly one of them."""
        if (name is None) == (uri is None):
            raise TypeError("Asset.ref() takes either name or uri")
        if name is not None:
            return AssetRef(name=check_name(name))
        return AssetRef(uri=check_uri(uri))

    def __setattr__(self, attribute: str, value: object) -> None:
        raise AttributeError(f"an Asset is immutable; {attribute} cannot be set")

    def __delattr__(self, attribute: str) -> None:
        raise AttributeError(f"an Asset is immutable; {attribute} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not Asset:
            return NotImplemented
        return self.name == other.name and self.uri == other.uri

    def __hash__(self) -> int:
        return hash((self.name, self.uri))

    def __repr__(self) -> str:
        if self.name == self.uri:
            return f"Asset({self.name!r})"
        return f"Asset({self.name!r}, uri={self.uri!r})"

    def __reduce__(self) -> tuple[type[Asset], tuple[str, str]]:
        return (Asset, (self.name, self.uri))


@final
class AssetAlias:
    """A name that stands for assets only known when a task has run. It has no store of its own."""

    __slots__ = ("group", "name")

    def __init__(self, name: str, group: str | None = None) -> None:
        self.name = check_name(name, "alias name")
        self.group = group

    def __repr__(self) -> str:
        return f"AssetAlias({self.name!r})"


def is_alias(asset: object) -> bool:
    """Whether asset is an alias, ours or Airflow's: both have a name, and name no asset."""
    return any(cls.__name__ == "AssetAlias" for cls in type(asset).__mro__)


def reference(asset: object) -> AssetRef:
    """The reference for whatever names an asset.

    TypeError for something that names none; InvalidRequest for a name or uri beyond its limits.
    """
    if isinstance(asset, str):
        return AssetRef(name=check_name(asset))
    if isinstance(asset, type) or is_alias(asset):
        what = "an alias, which stands for no one asset" if is_alias(asset) else "a class"
        raise TypeError(f"{asset!r} is {what}; {_NAMES_AN_ASSET}")
    name, uri = _attribute(asset, "name"), _attribute(asset, "uri")
    if isinstance(asset, AssetRef) and name is None and uri is None:
        raise InvalidRequest("a reference by neither name nor uri names no asset")
    if name is None and uri is None:
        raise TypeError(f"{asset!r:.80} names no asset; {_NAMES_AN_ASSET}")
    return AssetRef(
        name=None if name is None else check_name(name), uri=None if uri is None else check_uri(uri)
    )


def describe(ref: AssetRef) -> str:
    """The reference in the words of a message: ``'orders'``, ``uri 's3://data/orders/'``."""
    if ref.name is None:
        return f"uri {ref.uri!r}"
    if ref.uri is None or ref.uri == ref.name:
        return repr(ref.name)
    return f"{ref.name!r} ({ref.uri})"


def _attribute(asset: object, attribute: str) -> Any:
    value = getattr(asset, attribute, None)
    if value is not None and not isinstance(value, str):
        raise TypeError(
            f"the {attribute} of {asset!r:.80} is of type {type(value).__name__}; {_NAMES_AN_ASSET}"
        )
    return value
