"""What the many small classes of values have in common.

attrs would write and compile these methods anew for each class, which is most of what importing this package costs: so
those classes say ``eq=False, repr=False`` and inherit them. Their constructors are attrs' own.
"""

from __future__ import annotations

from reprlib import recursive_repr
from typing import Any, cast

from attrs import Attribute, AttrsInstance, fields

__all__ = ["Shown", "Value"]


def _fields(value: object) -> tuple[Attribute[Any], ...]:
    made: tuple[Attribute[Any], ...] = fields(cast("type[AttrsInstance]", type(value)))
    return made


class Shown:
    """Shown as attrs shows a value: ``Name(field=value, ...)``, each field as it asks for."""

    __slots__ = ()

    @recursive_repr()
    def __repr__(self) -> str:
        shown = ", ".join(
            f"{field.name}={(repr if field.repr is True else field.repr)(getattr(self, field.name))}"
            for field in _fields(self)
            if field.repr
        )
        return f"{type(self).__qualname__.rsplit('>.', 1)[-1]}({shown})"


class Value(Shown):
    """Compared as attrs compares a value: with those of the same class, by the fields that are not exempt."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value) or type(other) is not type(self):
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash((type(self), self._compared()))

    def _compared(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in _fields(self) if field.eq)
