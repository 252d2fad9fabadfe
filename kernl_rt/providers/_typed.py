"""The frames of which a provider sends the most, read into their events in one go.

A row of the tables that holds nothing but texts and counts is also a ``msgspec`` type: the parser then does all the
looking, ten times as fast as :class:`~kernl_rt.providers._fields.Struct` does. What does not fit it exactly (another
key, a null, a number out of range) is no fault: it is ``None`` here, and read the slow way, which knows what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
import pybase64

from kernl_rt.providers._fields import LIMIT, Struct

__all__ = ["TypedReader"]

#: Counts have a range, and a sound is always cut out before.
_EXACT: dict[type, Any] = {int: Annotated[int, msgspec.Meta(ge=0, le=LIMIT)], bytes: Literal[""]}
#: What the service adds to hide how long the words are; kept in ``extra`` as every key that no row claims.
_PADDING = "obfuscation"


class TypedReader:
    """Reads the frames of those ``structs`` that are plain."""

    def __init__(self, structs: Iterable[Struct]) -> None:
        self._events: dict[type[msgspec.Struct], type] = {}
        types = [typed for struct in structs if (typed := self._typed(struct)) is not None]
        union: Any = types[0] if types else msgspec.UnsetType
        for each in types[1:]:
            union |= each
        self._decode = msgspec.json.Decoder(union).decode

    def _typed(self, struct: Struct) -> type[msgspec.Struct] | None:
        rows = struct.plain_rows
        if not rows:
            return None
        fields: list[tuple[str, Any, Any]] = [
            (attribute, _EXACT.get(kind, kind), msgspec.NODEFAULT if demanded else None)
            for _, attribute, kind, demanded in rows
        ]
        typed = msgspec.defstruct(
            struct.cls.__name__,
            [*fields, (_PADDING, str, None)],
            tag_field="type",
            tag=struct.type,
            rename={attribute: key for key, attribute, _, _ in rows if attribute != key},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
        self._events[typed] = struct.cls
        return typed

    def read(self, frame: str | bytes, sound: str | bytes | None = None) -> Any:
        """The event in ``frame``, or ``None``. ``sound`` is the base64 that was cut out of it, if any was.

        Raises:
            binascii.Error: ``sound`` is not base64.
        """
        try:
            typed = self._decode(frame)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        values = msgspec.structs.asdict(typed)
        padding = values.pop(_PADDING)
        if padding is not None:
            values["extra"] = {_PADDING: padding}
        if sound is not None:
            values["audio"] = pybase64.b64decode(sound, validate=True)
        return self._events[type(typed)](**values)
