"""What a client of Gemini Live may say, read: fields in either spelling, turns and parts as items of the engine's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pybase64

from kernl_rt.simulator._protocols._resampler import Resampler

__all__ = [
    "ENGINE_RATE",
    "INVALID",
    "Wrong",
    "bytes_of",
    "declarations",
    "function_of",
    "item_of",
    "parts_of",
    "pcm_rate",
    "pick",
]

ENGINE_RATE = 24_000
INVALID = (1007, "Request contains an invalid argument.")
_PCM = re.compile(r"audio/pcm(;\s*rate=([1-9][0-9]{3,5}))?")


class Wrong(Exception):
    """The client said something that ends the link: with this close code and reason."""

    def __init__(self, close: tuple[int, str]) -> None:
        super().__init__(close[1])
        self.close = close


def pick(source: Mapping[str, Any], name: str, kind: type | tuple[type, ...] = dict) -> Any:
    """A field in either spelling, ``None`` where it is absent; one of another type ends the link."""
    snake = re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name)
    value = source.get(name, source.get(snake))
    if value is not None and not isinstance(value, kind):
        raise Wrong(INVALID)
    return value


def pcm_rate(kind: str) -> int | None:
    """The rate of PCM16 by its MIME type; ``None`` for anything else."""
    match = _PCM.fullmatch(kind)
    return None if match is None else int(match[2] or 16_000)


def _lowered(schema: Any) -> Any:
    """A schema of Google's as a JSON schema."""
    if isinstance(schema, list):
        return [_lowered(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            out[key] = value.lower()
        elif key == "properties" and isinstance(value, Mapping):
            out[key] = {name: _lowered(each) for name, each in value.items()}
        elif key in ("items", "anyOf", "any_of"):
            out["anyOf" if key == "any_of" else key] = _lowered(value)
        elif key != "nullable":
            out[key] = value
    return out


def parts_of(content: Any) -> Sequence[Mapping[str, Any]]:
    listed = pick(content, "parts", list) if isinstance(content, Mapping) else None
    if listed is None or not all(isinstance(part, Mapping) for part in listed):
        raise Wrong(INVALID)
    found: Sequence[Mapping[str, Any]] = listed
    return found


def declarations(tool: Any) -> Sequence[Any]:
    if not isinstance(tool, Mapping):
        raise Wrong(INVALID)
    found: Sequence[Any] = pick(tool, "functionDeclarations", list) or ()
    return found


def function_of(declared: Any) -> dict[str, Any]:
    if not isinstance(declared, Mapping) or not pick(declared, "name", str):
        raise Wrong(INVALID)
    parameters = pick(declared, "parameters")
    if parameters is not None and not parameters.get("properties"):
        raise Wrong((1007, "parameters.properties: should be non-empty for OBJECT type"))
    said: dict[str, Any] = {"type": "function", "name": declared["name"]}
    said["parameters"] = _lowered(parameters) if parameters else {"type": "object", "properties": {}}
    if description := pick(declared, "description", str):
        said["description"] = description
    return said


def item_of(turn: Any) -> dict[str, Any]:
    if not isinstance(turn, Mapping):
        raise Wrong(INVALID)
    role = pick(turn, "role", str) or "user"
    if role not in ("user", "model"):
        raise Wrong((1007, "Please use a valid role: user, model."))
    content = [_part_of(part, role) for part in parts_of(turn)]
    if not content:
        raise Wrong(INVALID)
    return {"type": "message", "role": "assistant" if role == "model" else "user", "content": content}


def _part_of(part: Mapping[str, Any], role: str) -> dict[str, Any]:
    if (text := pick(part, "text", str)) is not None:
        return {"type": "output_text" if role == "model" else "input_text", "text": text}
    blob = pick(part, "inlineData")
    kind = pick(blob, "mimeType", str) or "" if blob is not None else ""
    if blob is None or role == "model":
        raise Wrong(INVALID)
    if (rate := pcm_rate(kind)) is not None:
        sound = Resampler(rate, ENGINE_RATE).push(bytes_of(blob))
        return {"type": "input_audio", "audio": pybase64.b64encode_as_string(sound)}
    if not kind.startswith("image/"):
        raise Wrong(INVALID)
    return {"type": "input_image", "image_url": f"data:{kind};base64,{pybase64.b64encode_as_string(bytes_of(blob))}"}


def bytes_of(blob: Mapping[str, Any]) -> bytes:
    text = (pick(blob, "data", str) or "").replace("-", "+").replace("_", "/")
    try:
        return pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise Wrong((1007, "Base64 decoding failed.")) from None
