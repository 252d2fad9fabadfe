"""The sentences that the simulator understands: one list, from which come its ears' grammar and its brain's rules.

A sentence is written with slots, ``"what is the weather in <city>"``. The JSGF grammar lets a recogniser hear exactly
these sentences and nothing else (a grammar always answers *something*: speech outside it is forced into it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["BANNER", "SENTENCES", "SLOTS", "jsgf", "normalised", "number_of"]

#: What a slot may hold, as it is spoken.
SLOTS: Mapping[str, Sequence[str]] = {
    "city": ("paris", "london", "berlin", "madrid", "rome", "tokyo", "new york", "boston"),
    "number": (
        *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
        *("fifteen", "twenty", "thirty", "forty", "fifty"),
    ),
    "room": ("kitchen", "bedroom", "bathroom", "living room", "office"),
    "switch": ("on", "off"),
    "operation": ("plus", "minus", "times"),
}

SENTENCES: Sequence[str] = (
    "hello",
    "what are you",
    "what can you do",
    "what is the weather in <city>",
    "what time is it",
    "what time is it in <city>",
    "what is <number> <operation> <number>",
    "set a timer for <number> minutes",
    "turn <switch> the light in the <room>",
    "play some music",
    "tell me a story",
    "stop",
    "thank you",
    "goodbye",
)

#: What a program says that starts the simulator for somebody to talk to.
BANNER = f"a simulator: a grammar of {len(SENTENCES)} sentences and a robotic voice, not an AI model"

_VALUES: dict[str, float] = {
    **dict(zip(SLOTS["number"], (*range(1, 13), 15, 20, 30, 40, 50), strict=True)),
    "zero": 0,
    "a": 1,
    "an": 1,
}


def number_of(word: str) -> float | None:
    """The number that a word or digits stand for."""
    if word in _VALUES:
        return _VALUES[word]
    return float(word) if re.fullmatch(r"-?\d+(\.\d+)?", word) else None


def normalised(text: str) -> str:
    """Lower case, without punctuation (a decimal point stays), with single spaces, signs as words."""
    text = text.lower().replace("what's", "what is").replace("’", "'")
    for sign, word in (("+", " plus "), ("*", " times "), ("×", " times ")):
        text = text.replace(sign, word)
    text = re.sub(r"(?<=\d)\s*-\s*(?=\d)", " minus ", text)
    return " ".join(re.sub(r"[^\w\s.'-]|\.(?!\d)", " ", text).split())


def jsgf(name: str = "simulator") -> str:
    """The grammar in JSGF, for a recogniser."""
    rules = [f"<{slot}> = {' | '.join(words)};" for slot, words in SLOTS.items()]
    public = "public <sentence> = " + " | ".join(SENTENCES) + ";"
    return "\n".join(["#JSGF V1.0;", f"grammar {name};", *rules, public, ""])
