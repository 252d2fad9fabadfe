"""The rules of the default brain: for each kind of sentence, which function would answer it, and what to say without.

A function fits when its name or description holds one of a skill's keywords and every argument that it requires can be
taken from the sentence. Arguments are found by their names (``city``, ``location``, ``place``, …).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from kernl_rt.simulator._grammar import normalised, number_of
from kernl_rt.simulator._reply import Reply, ToolCall, ToolResult, Turn

__all__ = ["IDENTITY", "answer"]

IDENTITY = "I am the kernl_rt simulator, not an AI model."
_EXAMPLE = "what is the weather in Paris"
_NUMBER = r"-?[\w.]+"
Slots = dict[str, Any]

#: The names under which functions ask for what a sentence holds.
_NAMES: Mapping[str, Sequence[str]] = {
    "city": ("city", "location", "place", "town", "where", "timezone"),
    "expression": ("expression", "formula", "calculation", "query"),
    "first": ("a", "x", "first", "left", "augend"),
    "second": ("b", "y", "second", "right", "addend"),
    "operation": ("operation", "operator", "op"),
    "minutes": ("minutes", "duration", "minutes_from_now"),
    "seconds": ("seconds", "duration_seconds"),
    "room": ("room", "where", "location", "place", "area"),
    "switch": ("state", "switch", "action"),
    "is_on": ("on", "is_on", "enabled"),
}


@frozen
class Skill:
    """A kind of sentence. ``keywords`` find the function; ``say`` answers without one."""

    pattern: re.Pattern[str]
    keywords: Sequence[str]
    slots: Callable[[re.Match[str]], Slots]
    say: Callable[[Slots], str]


def _weather(match: re.Match[str]) -> Slots:
    return {"city": match["city"].title()}


def _time(match: re.Match[str]) -> Slots:
    return {"city": match["city"].title()} if match["city"] else {}


_WORDS = {"plus": "+", "minus": "-", "times": "*"}


def _sum(match: re.Match[str]) -> Slots:
    first, second = number_of(match["first"]), number_of(match["second"])
    if first is None or second is None:
        return {}
    sign = _WORDS[match["operation"]]
    return {
        "first": _plain(first),
        "second": _plain(second),
        "operation": match["operation"],
        "expression": f"{_plain(first)} {sign} {_plain(second)}",
    }


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _say_sum(slots: Slots) -> str:
    if not slots:
        return "I can only calculate with numbers."
    first, second = slots["first"], slots["second"]
    results = {"plus": first + second, "minus": first - second, "times": first * second}
    return f"{first} {slots['operation']} {second} is {results[slots['operation']]}."


def _timer(match: re.Match[str]) -> Slots:
    minutes = number_of(match["minutes"])
    return {} if minutes is None else {"minutes": _plain(minutes), "seconds": _plain(minutes * 60)}


def _light(match: re.Match[str]) -> Slots:
    return {"room": match["room"], "switch": match["switch"], "is_on": match["switch"] == "on"}


def _no_slots(match: re.Match[str]) -> Slots:
    return {}


def _always(text: str) -> Callable[[Slots], str]:
    return lambda slots: text


def _skill(
    pattern: str, keywords: Sequence[str], slots: Callable[[re.Match[str]], Slots], say: Callable[[Slots], str]
) -> Skill:
    return Skill(re.compile(pattern), keywords, slots, say)


_STORY = (
    "Once upon a time there was a little robot that had learned fourteen sentences by heart. "
    "Every morning it said them all, one after the other, and every evening it wondered about a fifteenth. "
    "One day somebody interrupted it in the middle of a word, and it was glad, because now it could listen."
)

SKILLS: Sequence[Skill] = (
    _skill(
        r"\bweather\b.*?\b(?:in|for|at) (?P<city>[a-z' -]+?)(?: (?:today|now|tomorrow|please|like))*$",
        ("weather", "forecast"),
        _weather,
        lambda slots: f"I have no weather service, so I do not know the weather in {slots['city']}.",
    ),
    _skill(
        r"\bwhat time is it(?: in (?P<city>[a-z' -]+))?$",
        ("time", "clock"),
        _time,
        _always("I have no clock."),
    ),
    _skill(
        rf"\bwhat is (?P<first>{_NUMBER}) (?P<operation>plus|minus|times) (?P<second>{_NUMBER})$",
        ("calculat", "arithmetic", "math", "add", "sum", "compute"),
        _sum,
        _say_sum,
    ),
    _skill(
        rf"\bset (?:a |the )?timer for (?P<minutes>{_NUMBER}) minutes?$",
        ("timer", "alarm", "remind"),
        _timer,
        _always("I have no timer."),
    ),
    _skill(
        r"\b(?:turn|switch) (?P<switch>on|off) the lights? in the (?P<room>[a-z ]+)$",
        ("light", "lamp"),
        _light,
        lambda slots: f"I have no switch for the light in the {slots['room']}.",
    ),
    _skill(r"\bplay (?:some )?music\b", ("music", "play"), _no_slots, _always("I have no music player.")),
)

_PHRASES: Sequence[tuple[re.Pattern[str], str]] = (
    (
        re.compile(r"\b(?:what|who) are you\b|\bare you (?:an? )?(?:\w+ )?(?:ai|model|human|robot|person|chatgpt)\b"),
        IDENTITY,
    ),
    (
        re.compile(r"\bwhat can you do\b|^help$"),
        f'I understand a few sentences, such as "{_EXAMPLE}", and call your functions when they fit.',
    ),
    (re.compile(r"\btell me a (?:long )?story\b"), _STORY),
    (re.compile(r"^(?:stop|be quiet|never mind)$"), "All right."),
    (re.compile(r"\bthank(?:s| you)\b"), "You are welcome."),
    (re.compile(r"\b(?:goodbye|bye)\b"), "Goodbye!"),
    (re.compile(r"\b(?:hello|hi|hey|greeting|good morning|good evening)\b"), "Hello! This is the kernl_rt simulator."),
)
_REPEAT = re.compile(r"^(?:please )?(?:say|repeat)(?: after me| exactly)?[:,]? (?P<words>.+)$", re.I | re.S)


def answer(turn: Turn) -> Reply:
    """The rules, first to last."""
    if turn.tool_results:
        return Reply(" ".join(_spoken(result) for result in turn.tool_results))
    words = normalised(turn.user_text)
    demanded = _demanded(turn)
    for skill in SKILLS:
        match = skill.pattern.search(words)
        if match is None:
            continue
        slots = skill.slots(match)
        call = None if turn.tool_choice == "none" else _call(skill, slots, turn.tools)
        return Reply(tool_calls=[call]) if call is not None and not demanded else demanded or Reply(skill.say(slots))
    return demanded or Reply(_phrase(turn.user_text, words))


def _phrase(text: str, words: str) -> str:
    for pattern, said in _PHRASES:
        if pattern.search(words):
            return said
    repeat = _REPEAT.match(text.strip())
    if repeat is not None:
        return repeat["words"]
    if not words:
        return f'Hello! {IDENTITY} Try "{_EXAMPLE}".'
    return f'I heard "{text.strip()}". I am a simulator and only understand a few sentences, such as "{_EXAMPLE}".'


def _spoken(result: ToolResult) -> str:
    """A tool's output as a sentence: JSON text is said, other JSON is read out as it is."""
    try:
        value = json.loads(result.output)
    except ValueError:
        return result.output
    return value if isinstance(value, str) else result.output


def _demanded(turn: Turn) -> Reply | None:
    """The call that ``tool_choice`` demands where it names one, or where it demands any and only one can be made."""
    named = turn.tool_choice.get("name") if not isinstance(turn.tool_choice, str) else None
    if named is None and turn.tool_choice != "required":
        return None
    words = normalised(turn.user_text)
    slots: Slots = {}
    for skill in SKILLS:
        match = skill.pattern.search(words)
        if match is not None:
            slots = skill.slots(match)
            if named is None and (call := _call(skill, slots, turn.tools)) is not None:
                return Reply(tool_calls=[call])
    for tool in turn.tools:
        if named in (None, tool["name"]):
            return Reply(tool_calls=[ToolCall(tool["name"], _filled(tool, slots) or {})])
    return None


def _call(skill: Skill, slots: Slots, tools: Sequence[Mapping[str, Any]]) -> ToolCall | None:
    for tool in tools:
        about = f"{tool['name']} {tool.get('description') or ''}".lower()
        if not any(keyword in about for keyword in skill.keywords):
            continue
        arguments = _filled(tool, slots)
        if arguments is not None:
            return ToolCall(tool["name"], arguments)
    return None


def _filled(tool: Mapping[str, Any], slots: Slots) -> Slots | None:
    """The arguments that the sentence gives; ``None`` where a required one is missing."""
    schema = tool.get("parameters") or {}
    properties = schema.get("properties") or {}
    arguments: Slots = {}
    if not isinstance(properties, Mapping):
        return None
    for slot, value in slots.items():
        for name in _NAMES[slot]:
            if name in properties and name not in arguments:
                arguments[name] = value
                break
    return None if any(name not in arguments for name in schema.get("required") or ()) else arguments
