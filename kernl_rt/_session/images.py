"""Pictures as parts of a message."""

from __future__ import annotations

from typing import Any, Literal

import pybase64

from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.items import ContentPart, Message

__all__ = ["IMAGE_LIMIT", "image_message"]

#: The largest picture, in bytes. It travels in one message, as base64, which makes a third more of it; providers refuse
#: or drop messages of more than some 15 MiB.
IMAGE_LIMIT = 10 * 2**20

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def image_message(
    image: bytes | bytearray | memoryview | str,
    mime_type: str | None,
    detail: Literal["auto", "low", "high"] | None,
    text: str | None,
) -> Message:
    """A message of the human's with one picture, and words before it where there are some.

    Raises:
        MisconfiguredError: no picture, too large, of an unknown kind, or a wrong option.
    """
    if detail not in (None, "auto", "low", "high"):
        raise MisconfiguredError(f"detail={detail!r} must be 'auto', 'low' or 'high'")
    if text is not None and not isinstance(text, str):
        raise MisconfiguredError(f"text must be a str, not a {type(text).__name__}")
    url = _checked_url(image, mime_type) if isinstance(image, str) else _data_url(image, mime_type)
    words = [ContentPart("input_text", text=text)] if text else []
    return Message("user", [*words, ContentPart("input_image", image_url=url, detail=detail)])


def _data_url(image: Any, mime_type: str | None) -> str:
    if not isinstance(image, (bytes, bytearray, memoryview)):
        raise MisconfiguredError(f"an image is bytes, a data: URL or an https: URL, not a {type(image).__name__}")
    data = bytes(image)
    if not data:
        raise MisconfiguredError("the image is empty")
    _check_size(len(data))
    kind = mime_type or _sniffed(data)
    if kind is None:
        raise MisconfiguredError("the image is neither PNG, JPEG, GIF nor WebP: say what it is, mime_type='image/…'")
    if not kind.startswith("image/"):
        raise MisconfiguredError(f"mime_type={kind!r} is no image: use 'image/png' or 'image/jpeg'")
    return f"data:{kind};base64,{pybase64.b64encode(data).decode('ascii')}"


def _sniffed(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), None)


def _checked_url(url: str, mime_type: str | None) -> str:
    if mime_type is not None:
        raise MisconfiguredError("mime_type goes with bytes: a URL says by itself what it is")
    if url.startswith("https://"):
        return url
    head, comma, data = url.partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64") and comma):
        raise MisconfiguredError(
            "an image's URL starts with 'https://' or 'data:image/…;base64,'; pass a file as bytes"
        )
    _check_size(len(data) * 3 // 4)
    try:
        pybase64.b64decode(data, validate=True)
    except ValueError:
        raise MisconfiguredError("the image's data: URL holds no valid base64; pass the bytes as they are") from None
    return url


def _check_size(size: int) -> None:
    if size > IMAGE_LIMIT:
        raise MisconfiguredError(
            f"the image has {size:,} bytes; at most {IMAGE_LIMIT:,} fit into a message: make it smaller"
        )
