"""What a recording is made of, without the writing of it: pure and synchronous.

==============  ==========================================================================
``heard``       what of the model's sound was heard, and when
``lanes``       where a piece of sound stands in the file; the file's bytes
``journal``     an event as a line of JSON, without secrets; the lines of a file
``story``       what happened, read from the lines, as they are written or afterwards
``transcript``  the words, with times, as far as they were heard
``timeline``    the conversation as a picture (``_svg``)
==============  ==========================================================================

The writing is in :mod:`kernl_rt._session.recording`. One path for both: a live recording and one that is read from its
file tell their story by the same lines.
"""

from __future__ import annotations

from typing import Final

__all__ = ["AUDIO", "EVENTS", "TIMELINE", "TRANSCRIPT"]

#: The files of a recording.
AUDIO: Final = "audio.wav"
EVENTS: Final = "events.jsonl"
TRANSCRIPT: Final = "transcript.json"
TIMELINE: Final = "timeline.svg"
