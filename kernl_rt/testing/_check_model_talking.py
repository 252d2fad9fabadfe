"""Whether a model talks as it must: turns, calls of functions, what is asked of a running session."""

from __future__ import annotations

import json

from kernl_rt import events as ev
from kernl_rt.config import SessionConfig, TurnDetection
from kernl_rt.testing._check_model_setup import Setup
from kernl_rt.testing._check_model_talk import Talk
from kernl_rt.testing._checking import require

__all__ = ["Talking"]

_OUTPUT = "Sunny, 21 degrees."


class Talking(Setup):
    """The parts in which the link holds."""

    async def opening(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.config)
            named = [
                event.session.id for event in talk.log if isinstance(event, (ev.SessionCreated, ev.SessionUpdated))
            ]
            require(all(name is None or isinstance(name, str) for name in named), "a session's id is text")

    async def two_at_once(self) -> None:
        """A model is a factory: its connections know nothing of each other."""
        model = self.factory()
        async with self.connected(model) as one, self.connected(model) as other:
            await one.configure(self.text)
            await other.configure(self.text)
            await one.write(self.prompts.short, "item_check_one")
            await other.ask(self.prompts.short, "item_check_other")
            await one.say(ev.ResponseCreate())
            await one.reply()
            made = [event.item.id for event in other.log if isinstance(event, ev.ItemCreated)]
            require("item_check_one" not in made, "one connection heard what was said over the other")

    async def a_written_turn(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.text)
            for number in range(2):
                done = await talk.ask(self.prompts.short, f"item_check_{number}")
                require(done.response.status in ("completed", None), f"the reply ended as {done.response.status}")
                await talk.silence(done.response.id)
            if self.able.text_output:
                require(any(isinstance(event, ev.TextDone) for event in talk.log), "a written reply is a TextDone")
                sounds = [event for event in talk.log if isinstance(event, ev.AudioDelta)]
                require(not sounds, "a reply that was to be written was spoken")

    async def a_spoken_reply(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.spoken)
            done = await talk.ask(self.prompts.short, "item_check")
            self._is_sound(talk)
            await talk.silence(done.response.id)

    def _is_sound(self, talk: Talk) -> None:
        sounds = [event for event in talk.log if isinstance(event, ev.AudioDelta)]
        require(bool(sounds), "a spoken reply has sound")
        require(all(isinstance(event.audio, bytes) for event in sounds), "sound is decoded: bytes")
        format = self.config.output_format or self.able.output_formats[0]
        size = sum(len(event.audio) for event in sounds)
        require(size % format.sample_width == 0, f"{size} bytes of sound are no whole samples of {format}")

    async def a_committed_turn(self) -> None:
        """Push-to-talk: sound, a commit, a reply."""
        async with self.connected() as talk:
            await talk.configure(self.spoken.merged(SessionConfig(turn_detection=TurnDetection.off())))
            speech = self.prompts.speech
            step = max(len(speech) // 10 // 2 * 2, 2)
            await talk.say(*(ev.AudioInputAppend(speech[at : at + step]) for at in range(0, len(speech), step)))
            await talk.say(ev.AudioInputCommit())
            await talk.until(ev.AudioInputCommitted)
            if not self.able.answers_on_commit:
                await talk.say(ev.ResponseCreate())
            await talk.reply()

    async def a_tool_call(self) -> None:
        definition = self.prompts.definition
        async with self.connected() as talk:
            await talk.configure(self.text.merged(SessionConfig(tools=[definition])))
            await talk.ask(self.prompts.tool, "item_check")
            calls = [event for event in talk.log if isinstance(event, ev.ToolCalled)]
            require(len(calls) == 1, f"one call was due, {len(calls)} came")
            call = calls[0]
            require(bool(call.call_id), "a call has an id")
            require(call.name == definition.name, f"the call is named {call.name!r}, not {definition.name!r}")
            require(_is_object(call.arguments), f"arguments are the text of a JSON object, not {call.arguments[:60]!r}")
            require(talk.log.index(call) < len(talk.log) - 1, "a call comes before the end of its reply")
            await talk.say(ev.ToolResult(call.call_id, _OUTPUT, "item_check_output", call.name))
            await talk.until(ev.ItemCreated, lambda event: getattr(event.item, "call_id", None) == call.call_id)
            if not self.able.continues_after_tools:
                await talk.say(ev.ResponseCreate())
            await talk.reply()

    async def cancelling(self) -> None:
        async with self.connected() as talk:
            name = await self.speaking(talk)
            await talk.say(ev.ResponseCancel(name))
            done = await talk.until(ev.ResponseDone, errors=not self.able.can_cancel)
            if self.able.can_cancel:
                require(done.response.status == "cancelled", f"a cancelled reply ended as {done.response.status}")
            await talk.silence(name)
            await talk.ask(self.prompts.short, "item_check_after")

    async def truncating(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.spoken)
            await talk.ask(self.prompts.short, "item_check")
            sound = next(event for event in talk.log if isinstance(event, ev.AudioDelta))
            await talk.say(ev.ItemTruncate(sound.item_id, 10, sound.content_index or 0))
            if self.able.can_truncate:
                cut = await talk.until(ev.ItemTruncated)
                require((cut.item_id, cut.audio_end_ms) == (sound.item_id, 10), f"another cut was confirmed: {cut!r}")
            await self.lives(talk, self.able.can_truncate)

    async def deleting(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.text)
            await talk.write("never mind", "item_check_gone")
            await talk.say(ev.ItemDelete("item_check_gone"))
            if self.able.can_delete:
                await talk.until(ev.ItemDeleted, lambda event: event.item_id == "item_check_gone")
            await self.lives(talk, self.able.can_delete)

    async def updating(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.text)
            await talk.say(ev.SessionUpdate(self.prompts.change))
            if self.able.can_update and self.able.confirms_configuration:
                updated = await talk.until(ev.SessionUpdated)
                told, wanted = updated.session.config.instructions, self.prompts.change.instructions
                good = wanted is None or told in (None, wanted)
                require(good, f"the configuration that was accepted says {told!r}")
            await self.lives(talk, self.able.can_update)

    async def a_mistake_is_an_event(self) -> None:
        """What the provider refuses is told, and ends nothing."""
        async with self.connected() as talk:
            await talk.configure(self.text)
            await talk.say(ev.RawClientEvent({"type": "kernl_rt.mistake", "event_id": "event_check_mistake"}))
            await self.lives(talk, able=False)
            for error in (event for event in talk.log if isinstance(event, ev.SessionError)):
                require(error.source == "provider", f"the provider's refusal is told as one of {error.source}")
                require(error.message != "", "an error says what is wrong")

    async def a_cancelled_receive(self) -> None:
        """Whenever ``receive`` is cancelled, nothing is lost or doubled: the pieces still add up."""
        async with self.connected(cut=True) as talk:
            await talk.configure(self.spoken)
            for number in range(3):
                done = await talk.ask(self.prompts.short, f"item_check_{number}")
                await talk.silence(done.response.id)
            finals = sum(isinstance(event, (ev.OutputTranscript, ev.TextDone)) for event in talk.log)
            require(finals >= 3, "a cancelled receive() lost the final words of a reply")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except ValueError:
        return False
