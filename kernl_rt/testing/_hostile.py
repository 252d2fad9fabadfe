"""Frames that no honest peer sends, to test whatever reads JSON from a wire.

Two sources. :func:`hostile_corpus` is fixed: the inputs that are known to break parsers (RFC 8259's edges, and what
``except json.JSONDecodeError`` misses). :func:`hostile_frames` is endless and seeded: it takes good frames as templates
and damages them, as values (another type, a hostile value, a key gone, doubled or moved) and as text (bits flipped,
frames cut, spliced, repeated); :func:`hostile_bytes` does the second to any format. The same seed and templates give
the same frames on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from random import Random
from typing import Any, Final

__all__ = ["Mutator", "hostile_bytes", "hostile_corpus", "hostile_frames"]

#: JSON texts that may stand where a value stood. Most are legal JSON; all are trouble for somebody.
VALUES: Final[tuple[str, ...]] = (
    *(
        "null",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "-0",
        "-0.0",
        "0.5",
        "1e3",
        "1E-400",
        "1e308",
        "-1e308",
        "1e999",
        "-1e999",
    ),
    *("NaN", "Infinity", "-Infinity", "9007199254740991", "9007199254740992", "-9007199254740992"),
    *("2147483648", "-2147483649", "9223372036854775808", "18446744073709551616", "1" + "0" * 308, "9" * 5_000),
    *('""', '" "', '"0"', '"null"', '"NaN"', '"inf"', '"A"', '"AA="', '"AA=="', '"AAA="', '"AAAA"', '"AB=="', '"=AAA"'),
    *('"-_-_"', '"AAAA\\n"', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u202e\\ufeff"'),
    *(
        '"é"',
        '"\U0001f600"',
        '"{}"',
        '"[]"',
        '"../../etc/passwd"',
        '"%s%n{0}"',
        '"\\"}"',
        '"__class__"',
        '"' + "x" * 5_000 + '"',
    ),
    *("[]", "{}", "[[]]", "[null]", "[{}]", '{"type":[]}', '{"type":{}}', '{"":""}', '{"type":null}', '{"a":1,"a":2}'),
    *("[" * 200 + "]" * 200, '{"a":' * 200 + "0" + "}" * 200, "[" + "0," * 500 + "0]"),
)
#: Bytes that mean something to JSON, UTF-8 or base64.
_TOKENS: Final[tuple[bytes, ...]] = (
    *(
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"=",
        b"\0",
        b"\n",
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90",
    ),
    *(b"\\u", b"\\ud800", b"e999", b"-", b"NaN", b'"type":', b'"delta":"', b'"}', b"\xef\xbb\xbf", b"//", b"'"),
)
_MARK: Final = "\ue000hostile\ue000"
_KEYS: Final = ("type", "event_id", "delta", "extra", "id", "", "__class__", "\ud800", "self", "kind")


class Mutator:
    """Damages templates. ``random`` decides everything, so that Hypothesis may be asked, too."""

    def __init__(self, random: Random, templates: Iterable[Mapping[str, Any]]) -> None:
        self._random = random
        self._texts = [json.dumps(template) for template in templates]
        if not self._texts:
            raise ValueError("templates is empty: give at least one good frame to damage")

    def frame(self) -> str | bytes:
        """One frame. One in sixteen is a template as it is, so that the reader gets into its deeper states."""
        random = self._random
        text = random.choice(self._texts)
        kind = random.randrange(16)
        if kind == 0:
            return text
        if kind < 12:
            text = self._revalued(text)
        if kind < 9:
            return text if random.randrange(2) else text.encode("utf-8", "surrogatepass")
        data = bytearray(text.encode("utf-8", "surrogatepass"))
        for _ in range(random.choice((1, 1, 1, 2, 8))):
            _damage(random, data, random.choice(self._texts).encode())
        return bytes(data) if random.randrange(4) else data.decode("utf-8", "surrogateescape")

    # -- as values

    def _revalued(self, text: str) -> str:
        root = json.loads(text)
        raw: list[str] = []
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            self._revalue(root, raw)
        text = json.dumps(root, ensure_ascii=self._random.randrange(2) == 0)
        for value in raw:
            text = text.replace(json.dumps(_MARK), value, 1).replace(f'"{_MARK}"', value, 1)
        return text

    def _revalue(self, root: Any, raw: list[str]) -> None:
        random = self._random
        node, key = self._place(root)
        match random.randrange(8):
            case 0 if isinstance(node, dict):
                del node[key]
            case 1 if isinstance(node, dict):
                node[random.choice(_KEYS)] = node[key]
            case 2:
                other, its_key = self._place(json.loads(random.choice(self._texts)))
                node[key] = other[its_key]
            case 3:
                node[key] = [node[key]] if random.randrange(2) else {"type": node[key]}
            case 4 if isinstance(node[key], list):
                node[key] = node[key] * random.choice((0, 2, 20))
            case _:
                node[key] = _MARK
                raw.append(random.choice(VALUES))

    def _place(self, root: Any) -> tuple[Any, Any]:
        """A place in the tree: its holder and the key, shallow ones more often."""
        if not root:
            root["type"] = None
        node, key = root, self._random.choice(list(root))
        while self._random.randrange(4) and isinstance(node[key], (dict, list)) and node[key]:
            node = node[key]
            key = self._random.choice(list(node)) if isinstance(node, dict) else self._random.randrange(len(node))
        return node, key


def _damage(random: Random, data: bytearray, other: bytes) -> None:
    """Change ``data`` in one place; ``other`` is what a splice takes its second half from."""
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 1, 2, 4, 16, 256)))
    match random.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << random.randrange(8)
        case 1:
            del data[at:]
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = data[at:end] * random.choice((1, 2, 16))
        case 4:
            data[at:] = other[random.randrange(len(other) + 1) :]
        case 5:
            data[at:end] = random.randbytes(end - at)
        case _:
            data[at:at] = random.choice(_TOKENS)


def hostile_frames(seed: int, templates: Iterable[Mapping[str, Any]]) -> Iterator[str | bytes]:
    """Damaged copies of ``templates``, without end; the same for the same ``seed``.

    ``templates`` are good frames as objects: one of every kind that your decoder knows, with every field. What comes is
    text or bytes, as from a socket; some text holds lone surrogates, which no socket gives but a memory stream may.

    Raises:
        ValueError: ``templates`` is empty.
    """
    mutator = Mutator(Random(seed), templates)
    return iter(mutator.frame, None)


def hostile_bytes(seed: int, samples: Iterable[bytes]) -> Iterator[bytes]:
    """Damaged copies of ``samples``, without end, for readers of binary formats; the same for the same ``seed``.

    Raises:
        ValueError: ``samples`` is empty.
    """
    given = [bytes(sample) for sample in samples]
    if not given:
        raise ValueError("samples is empty: give at least one good input to damage")
    return _damaged(Random(seed), given)


def _damaged(random: Random, samples: list[bytes]) -> Iterator[bytes]:
    while True:
        data = bytearray(random.choice(samples))
        for _ in range(random.choice((0, 1, 1, 1, 2, 3, 8))):
            _damage(random, data, random.choice(samples))
        yield bytes(data)


@cache
def hostile_corpus() -> Mapping[str, str | bytes]:
    """Name → frame: 60 inputs that are known to break readers of JSON. The largest has 4 MiB."""
    megabyte = 2**20
    whole: dict[str, str | bytes] = {
        "nothing": "",
        "nothing in bytes": b"",
        "white space": " \n\t",
        "garbage": "{nope",
        "a list": "[]",
        "a list of frames": '[{"type":"error"}]',
        "null": "null",
        "a number": "1",
        "a text": '"response.done"',
        "an empty object": "{}",
        "two objects": '{"type":"a"}{"type":"b"}',
        "a comment": '/* */{"type":"a"}',
        "single quotes": "{'type':'a'}",
        "trailing comma": '{"type":"a",}',
        "byte order mark": b'\xef\xbb\xbf{"type":"a"}',
        "UTF-16": '{"type":"a"}'.encode("utf-16"),
        "invalid UTF-8": b'{"type":"\xff\xfe"}',
        "overlong UTF-8": b'{"type":"\xc0\xaf"}',
        "a surrogate in UTF-8": b'{"type":"\xed\xa0\x80"}',
        "a surrogate in text": '{"type":"\ud800"}',
        "an escaped lone surrogate": '{"type":"\\ud800"}',
        "surrogates the wrong way round": '{"type":"\\udc00\\ud800"}',
        "an escaped NUL": '{"type":"\\u0000"}',
        "a bare NUL": b'{"type":"\0"}',
        "random bytes": bytes(range(256)),
        "100 KB of [": "[" * 100_000,
        "100 KB of [ in bytes": b"[" * 100_000,
        '100,000 times {"a":': '{"a":' * 100_000,
        "lists nested 900 deep": '{"type":"a","x":' + "[" * 900 + "]" * 900 + "}",
        "objects nested 900 deep": '{"type":"session.updated","session":' + '{"audio":' * 900 + "0" + "}" * 901,
        "an integer of 5,000 digits": '{"type":"a","n":' + "9" * 5_000 + "}",
        "an integer of 4,000 digits": '{"type":"a","n":' + "9" * 4_000 + "}",
        "a number of 100,000 digits": '{"type":"a","n":0.' + "1" * 100_000 + "}",
        "NaN": '{"type":"a","n":NaN}',
        "Infinity": '{"type":"a","n":-Infinity}',
        "1e999": '{"type":"a","n":1e999}',
        "doubled keys": '{"type":"a","type":"b","type":["c"]}',
        "200,000 empty lists": '{"type":"a","x":[' + "[]," * 200_000 + "[]]}",
        "100,000 keys": '{"type":"a",' + ",".join(f'"k{index}":0' for index in range(100_000)) + "}",
        "a type of 4 MiB": '{"type":"' + "x" * (4 * megabyte - 20) + '"}',
        "a text of 4 MiB": '{"type":"a","x":"' + "x" * (4 * megabyte - 30) + '"}',
        "4 MiB of escapes": '{"type":"a","x":"' + "\\u0041" * (4 * megabyte // 6 - 8) + '"}',
        "4 MiB of spaces": b'{"type":"a"' + b" " * (4 * megabyte - 20) + b"}",
    }
    kinds = (
        "null",
        "0",
        "1.5",
        "true",
        "[]",
        '["response.done"]',
        "{}",
        '{"a":1}',
        '""',
        '"\\u0000"',
        '"Response.Done"',
    )
    typed: dict[str, str | bytes] = {f"a type that is {kind}": f'{{"type":{kind},"event_id":{kind}}}' for kind in kinds}
    sounds = ("A", "AA", "AA=", "A===", "AAAA=", "=", "AB==", "AAAA AAAA", "\\n", "-_-_", "é")
    heard: dict[str, str | bytes] = {
        f"sound that is {sound!r}": f'{{"type":"response.output_audio.delta","item_id":"i","delta":"{sound}"}}'
        for sound in sounds
    }
    return whole | typed | heard
