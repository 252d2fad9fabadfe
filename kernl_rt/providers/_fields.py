"""Tables that say how a JSON object and an attrs value correspond, and the small engine that reads and writes by them.

A :class:`Kind` translates one JSON value both ways. :class:`Struct` is the kind of objects: one row per field, and what
no row claims is kept in the value's ``extra``, so that writing gives back what was read. Three things go there:

* keys that the table does not know;
* explicit nulls, and values equal to the attribute's default, which the attribute cannot tell from absence;
* the original of a value whose decoding is not one to one (base64 with stray padding bits);
* a value for which our vocabulary has no word (:class:`Foreign`), where the attribute may be left out.

What does not fit raises :class:`Misfit`, which names the place and the expectation and never the value.
"""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import pybase64

from kernl_rt.exceptions import MisconfiguredError, ProtocolError

__all__ = [
    "BASE64",
    "BOOLEAN",
    "COUNT",
    "INTEGER",
    "LIMIT",
    "NUMBER",
    "OBJECT",
    "STAMP",
    "TEXT",
    "TEXTS",
    "TOKENS",
    "Field",
    "Foreign",
    "Kind",
    "ListOf",
    "Misfit",
    "OneOf",
    "Struct",
    "Tagged",
    "canonical",
    "merge",
    "remainder",
]

#: The largest magnitude of a number: the integers that a JSON peer can hold exactly (RFC 8259 section 6).
LIMIT = 2**53 - 1


class Misfit(ProtocolError):
    """A JSON value is not what the table says. ``path`` is where, outermost first."""

    def __init__(self, what: str, path: tuple[str, ...] = ()) -> None:
        self.what = what
        self.path = path
        super().__init__(f"{'.'.join(path).replace('.[', '[')}: {what}" if path else what)

    def under(self, key: str) -> Misfit:
        """The same, seen from one level further out."""
        return type(self)(self.what, (key, *self.path))


class Foreign(Misfit):
    """A value of the right JSON type that our vocabulary cannot express: a word of a newer protocol, say."""


_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number"}


def _expected(what: str, value: object) -> Misfit:
    return Misfit(f"expected {what}, got {_NAMES.get(type(value), 'null')}")


class Kind(ABC):
    """How one JSON value is read and written."""

    @abstractmethod
    def decode(self, value: Any) -> Any:
        """Read. Raises :class:`Misfit`."""

    def encode(self, value: Any) -> Any:
        return value

    def faithful(self, value: Any) -> bool:
        """Whether :meth:`encode` gives ``value`` back. Asked after it has been decoded."""
        return True


class _Text(Kind):
    def decode(self, value: Any) -> str:
        if type(value) is not str:
            raise _expected("a text", value)
        return value


class _Boolean(Kind):
    def decode(self, value: Any) -> bool:
        if type(value) is not bool:
            raise _expected("a boolean", value)
        return value


class _Integer(Kind):
    def __init__(self, lowest: int, highest: int = LIMIT) -> None:
        self.lowest, self.highest = lowest, highest

    def decode(self, value: Any) -> int:
        if type(value) is not int:
            raise _expected("a whole number", value)
        if not self.lowest <= value <= self.highest:
            raise Misfit("the number is out of range")
        return value


class _Number(Kind):
    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit

    def decode(self, value: Any) -> float:
        if type(value) is not int and type(value) is not float:
            raise _expected("a number", value)
        if not -self.limit <= value <= self.limit:
            raise Misfit("the number is out of range")
        return value


class _Object(Kind):
    """An object that is kept as it is."""

    def decode(self, value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise _expected("an object", value)
        return value

    def encode(self, value: Any) -> dict[str, Any]:
        return dict(value)


class _Texts(Kind):
    """An object that holds texts only."""

    def decode(self, value: Any) -> dict[str, str]:
        said: dict[str, str] = OBJECT.decode(value)
        if not all(type(item) is str for item in said.values()):
            raise Foreign("expected texts")
        return said

    def encode(self, value: Any) -> dict[str, str]:
        return dict(value)


class OneOf(Kind):
    """One of some words. Another word is :class:`Foreign`: nobody downstream has to expect it."""

    def __init__(self, *words: str) -> None:
        self.words = frozenset(words)

    def decode(self, value: Any) -> str:
        if type(value) is not str:
            raise _expected("a text", value)
        if value not in self.words:
            raise Foreign("not a word that is known")
        return value


class _Base64(Kind):
    def decode(self, value: Any) -> bytes:
        if type(value) is bytes:  # JSON has no bytes: a caller that cut the text out has decoded it already
            return value
        if type(value) is not str:
            raise _expected("a base64 text", value)
        try:
            return pybase64.b64decode(value, validate=True)
        except (Base64Error, ValueError):
            raise Misfit("the text is not base64") from None

    def encode(self, value: Any) -> str:
        return pybase64.b64encode_as_string(value)

    def faithful(self, value: Any) -> bool:
        return type(value) is bytes or canonical(value)


def canonical(text: str) -> bool:
    """Whether the bits under the padding are zero, as RFC 4648 section 3.5 asks of encoders and not of decoders."""
    if not text.endswith("="):
        return True
    return text[-3] in "AQgw" if text.endswith("==") else text[-2] in "AEIMQUYcgkosw048"


TEXT: Kind = _Text()
BOOLEAN: Kind = _Boolean()
#: Not negative: indices, tokens, milliseconds.
COUNT: Kind = _Integer(0)
#: Tokens are added up: what is believed of one message leaves room for many.
TOKENS: Kind = _Integer(0, 10**12)
INTEGER: Kind = _Integer(-LIMIT)
NUMBER: Kind = _Number()
#: A place on a timeline, in milliseconds: sound is added to it, so it leaves room for more.
STAMP: Kind = _Number(10**12)
OBJECT: Kind = _Object()
TEXTS: Kind = _Texts()
BASE64: Kind = _Base64()


class ListOf(Kind):
    """A list of one kind, read into a tuple. More than ``most`` elements are refused: no frame may stop all else."""

    def __init__(self, item: Kind, most: int = 1_000) -> None:
        self.item = item
        self.most = most

    def decode(self, value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise _expected("a list", value)
        if len(value) > self.most:
            raise Misfit(f"expected at most {self.most} elements")
        items = []
        for index, item in enumerate(value):
            try:
                items.append(self.item.decode(item))
            except Misfit as misfit:
                raise misfit.under(f"[{index}]") from None
        return tuple(items)

    def encode(self, value: Any) -> list[Any]:
        return [self.item.encode(item) for item in value]


class Field:
    """One row: the wire's ``key``, the attribute it fills (the same name unless told) and how it is read.

    An attribute without a default must be on the wire. ``required=True`` says so of one that has a default, too.
    """

    __slots__ = ("attribute", "key", "kind", "required")

    def __init__(self, key: str, attribute: str | None = None, kind: Kind = TEXT, *, required: bool = False) -> None:
        self.key: str = key
        self.attribute: str = attribute or key
        self.kind: Kind = kind
        self.required: bool = required


class _Row:
    """A field with what the class says of its attribute.

    ``plain`` is the exact type that needs no further look, but for a number's range: most of what deltas hold.
    """

    __slots__ = ("attribute", "default", "key", "kind", "plain", "required")

    def __init__(self, field: Field, cls: type) -> None:
        attribute = attrs.fields_dict(cls)[field.attribute]
        has_default = attribute.default is not attrs.NOTHING
        self.key = field.key
        self.attribute = field.attribute
        self.kind = field.kind
        self.required = field.required or not has_default
        self.default = _default(attribute) if has_default and not field.required else None
        plain: dict[Kind, type] = {TEXT: str, COUNT: int}
        self.plain = plain.get(field.kind) if self.default is None else None


def _default(attribute: attrs.Attribute[Any]) -> Any:
    default: Any = attribute.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


class Struct(Kind):
    """An object and the attrs class it is read into.

    ``type`` is the value of the wire's ``"type"`` key, for objects that have one. ``fixed`` are attributes that follow
    from it. ``make`` is called instead of the class, where the fields decide which class it is.
    """

    def __init__(
        self,
        cls: type,
        *fields: Field,
        type: str | None = None,
        fixed: Mapping[str, Any] | None = None,
        make: Callable[..., Any] | None = None,
    ) -> None:
        self.cls: builtins.type = cls
        self.type: str | None = type
        self.fixed: dict[str, Any] = dict(fixed or {})
        self._make = make or cls
        self._rows = tuple(_Row(field, cls) for field in fields)
        self._by_key = {row.key: row for row in self._rows}
        self._demanded = tuple(field.attribute or field.key for field in fields if field.required)
        self._has_extra = "extra" in attrs.fields_dict(cls)

    @property
    def plain_rows(self) -> tuple[tuple[str, str, type, bool], ...] | None:
        """Key, attribute, type and whether it must be there, where all rows are texts, counts and base64."""
        if self.type is None or self.fixed or self._make is not self.cls or not self._has_extra:
            return None
        rows: list[tuple[str, str, type, bool]] = []
        for row in self._rows:
            kind = bytes if row.kind is BASE64 else row.plain
            if kind is None or row.attribute == "type":
                return None
            rows.append((row.key, row.attribute, kind, row.required))
        return tuple(rows)

    def decode(self, value: Any) -> Any:
        if type(value) is not dict:
            raise _expected("an object", value)
        found = self.fixed.copy()
        extra: dict[str, Any] = {}
        rows = self._by_key
        for key, item in value.items():
            row = rows.get(key)
            kind = type(item)
            if row is None:
                extra[key] = item
            elif kind is row.plain and (kind is str or 0 <= item <= LIMIT):
                found[row.attribute] = item
            else:
                self._decode_item(row, item, found, extra)
        if self.type is not None and extra.get("type") == self.type:
            del extra["type"]
        if extra and self._has_extra:
            found["extra"] = extra
        for attribute in self._demanded:
            if attribute not in found:
                self._require(found)
        try:
            return self._make(**found)
        except TypeError:
            self._require(found)
            raise

    def _decode_item(self, row: _Row, item: Any, found: dict[str, Any], extra: dict[str, Any]) -> None:
        if item is None and not row.required:
            extra[row.key] = None
            return
        try:
            decoded = row.kind.decode(item)
        except Misfit as misfit:
            if isinstance(misfit, Foreign) and not row.required and self._has_extra:
                extra[row.key] = item
                return
            raise misfit.under(row.key) from None
        found[row.attribute] = decoded
        if decoded == row.default or not row.kind.faithful(item):
            extra[row.key] = item

    def _require(self, found: Mapping[str, Any]) -> None:
        for row in self._rows:
            if row.required and row.attribute not in found:
                raise Misfit("missing", (row.key,))

    def encode(self, value: Any) -> dict[str, Any]:
        out: dict[str, Any] = {} if self.type is None else {"type": self.type}
        for row in self._rows:
            item = getattr(value, row.attribute)
            if item is not None and (row.required or item != row.default):
                out[row.key] = row.kind.encode(item)
        if self._has_extra:
            for key, item in value.extra.items():
                # What is empty only records that the key was there: an attribute that has been set since wins.
                if item or key not in out:
                    out[key] = item
        return out


class Tagged(Kind):
    """Objects of several classes, told apart by their ``"type"``; ``other`` reads the other types, if any may be."""

    def __init__(self, structs: Sequence[Struct], other: Kind | None = None) -> None:
        self._by_type = {struct.type: struct for struct in structs}
        self._by_class = {struct.cls: struct for struct in structs}
        self._other = other

    def decode(self, value: Any) -> Any:
        if type(value) is not dict:
            raise _expected("an object", value)
        tag = value.get("type")
        if type(tag) is not str:
            raise Misfit("missing" if tag is None else "expected a text", ("type",))
        kind = self._by_type.get(tag, self._other)
        if kind is None:
            raise Misfit("not a type that is known", ("type",))
        return kind.decode(value)

    def encode(self, value: Any) -> Any:
        kind = self._by_class.get(type(value), self._other)
        if kind is None:
            raise MisconfiguredError(f"a {type(value).__name__} cannot stand here")
        return kind.encode(value)


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``under``, object by object; lists and plain values are replaced whole."""
    out = dict(under)
    for key, value in over.items():
        below = out.get(key)
        out[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return out


def remainder(whole: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """What must be laid over ``part`` to get ``whole``, given that ``part`` says nothing that ``whole`` does not."""
    out: dict[str, Any] = {}
    for key, value in whole.items():
        if key not in part:
            out[key] = value
        elif isinstance(value, dict) and isinstance(part[key], dict):
            if rest := remainder(value, part[key]):
                out[key] = rest
        elif value != part[key]:
            out[key] = value
    return out
