"""What each of Google's live models can do, by its name. Newer names get the benefit of the doubt."""

from __future__ import annotations

import re

from attrs import frozen

from kernl_rt.config import PCM16_16K, PCM16_24K, Capabilities

__all__ = ["Profile", "profile_of"]

#: Models whose sound is made from text: they can leave the sound out.
_WRITING = re.compile(r"gemini-2\.0-flash-live-.*|gemini-2\.0-flash-exp|gemini-live-2\.5-flash(-preview)?(-\d.*)?")
_VERSION = re.compile(r"gemini-(?:live-)?(\d{1,3})(?:\.(\d{1,3}))?")
#: Seconds of one link; about a minute before its end the server says so.
_LONGEST = 600.0


@frozen
class Profile:
    """``updates``: instructions and tools can change (``contextUpdate``). ``levels``: thinking is set by its level,
    else by a budget of tokens. ``thinks``: it can be set at all. ``blocking``: calls must be declared so that the model
    waits for their results, because it would go on by default.
    """

    writes: bool
    updates: bool
    levels: bool
    thinks: bool
    blocking: bool

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            input_formats=(PCM16_16K,),
            output_formats=(PCM16_24K,),
            can_cancel=False,
            can_truncate=False,
            can_delete=False,
            can_update=self.updates,
            manual_turns=True,
            text_output=self.writes,
            image_input=True,
            answers_on_commit=True,
            continues_after_tools=True,
            synthesises_turns=True,
            confirms_configuration=True,
            can_resume=True,
            max_duration=_LONGEST,
        )


def profile_of(model: str) -> Profile:
    name = model.rpartition("/")[2]
    match = _VERSION.match(name)
    version = (int(match[1]), int(match[2] or 0)) if match is not None else (99, 0)
    return Profile(
        writes=_WRITING.fullmatch(name) is not None,
        updates=version >= (3, 8),
        levels=version >= (3, 0),
        thinks=name != "gemini-3.8-live",
        blocking=version >= (3, 8),
    )
