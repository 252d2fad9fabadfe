"""What the caller can say to a session. No verb waits: each feeds the machine and gives a handle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar, Unpack

import pybase64

from kernl_rt._core import inputs
from kernl_rt._session.changes import ConfigChanges, LiveChanges
from kernl_rt._session.command import Command
from kernl_rt._session.driver import Driver
from kernl_rt._session.images import image_message
from kernl_rt._session.listening import Listening
from kernl_rt.abc import RealtimeModel
from kernl_rt.agent import RealtimeAgent
from kernl_rt.config import ResponseConfig, SessionConfig
from kernl_rt.events import ClientEvent, RawClientEvent, Response
from kernl_rt.exceptions import LaneFull, MisconfiguredError
from kernl_rt.items import ContentPart, ConversationItem, Message

__all__ = ["Verbs"]

T = TypeVar("T")


class Verbs(Listening, Generic[T]):
    """The verbs of a session. Base of :class:`~kernl_rt.RealtimeSession`."""

    _model: RealtimeModel
    _changes: LiveChanges

    def send_message(self, text: str, *, reply: bool = True) -> Command[ConversationItem]:
        """Say something in writing, and ask for the reply to it (``reply=False``: do not ask).

        The message goes out at once, also while the model speaks; the reply follows the one that runs. The handle
        settles when the provider has taken the message.

        Raises:
            SessionStateError: not connected.
            LaneFull: too many commands wait for an answer; this one was not taken.
        """
        if not isinstance(text, str):
            raise MisconfiguredError(f"a message is text, not a {type(text).__name__}")
        item = Message("user", [ContentPart("input_text", text=text)])
        return self._command("send_message", lambda number: inputs.ItemSubmitted(number, item, reply))

    def send_item(self, item: ConversationItem, *, reply: bool = False) -> Command[ConversationItem]:
        """Add any item to the conversation, and ask for a reply to it if ``reply``. Raises as :meth:`send_message`."""
        return self._command("send_item", lambda number: inputs.ItemSubmitted(number, item, reply))

    def send_image(
        self,
        image: bytes | bytearray | memoryview | str,
        *,
        mime_type: str | None = None,
        detail: Literal["auto", "low", "high"] | None = None,
        text: str | None = None,
        reply: bool = True,
    ) -> Command[ConversationItem]:
        """Show the model a picture, with ``text`` before it, and ask for the reply to it.

        ``image`` is the bytes of a file (at most 10 MiB), a ``data:image/…;base64,`` URL, or an ``https:`` URL, which
        not every provider fetches. ``mime_type`` is found out for PNG, JPEG, GIF and WebP; OpenAI knows PNG and JPEG.
        ``detail`` says how closely the model looks. Raises as :meth:`send_message`, and

        Raises:
            MisconfiguredError: the model takes no images; or the image is too large or of an unknown kind.
        """
        if not self._model.capabilities.image_input:
            raise MisconfiguredError(
                f"{self._model.provider}'s {self._model.name} takes no images; describe it in words"
            )
        return self.send_item(image_message(image, mime_type, detail, text), reply=reply)

    async def ask(self, text: str) -> Response:
        """Send a message and wait for the whole reply to it, tool calls and the answer to them included.

        Cancelling it leaves the message in the conversation.

        Raises:
            CommandRejected: the provider refused the message, or failed to reply.
            CommandLost: the link ended first.
            CommandAborted: the session was closed first.
        """
        item = Message("user", [ContentPart("input_text", text=text)])
        command: Command[Response] = self._command(
            "ask", lambda number: inputs.ItemSubmitted(number, item, reply=True, ask=True)
        )
        return await command.settled()

    def send_audio(self, pcm: bytes | bytearray | memoryview | str) -> None:
        """Send sound of the human, in the session's input format; a ``str`` is base64. Nothing is sent while muted.

        Raises:
            SessionStateError: not connected.
            MisconfiguredError: ``pcm`` is neither bytes nor valid base64.
            LaneFull: more than 8 MiB wait for the link; this sound was not taken.
        """
        driver = self._live("send_audio")
        if isinstance(pcm, str):
            try:
                pcm = pybase64.b64decode(pcm, validate=True)
            except ValueError:
                raise MisconfiguredError(
                    "send_audio() got a str that is not base64; pass the bytes as they are"
                ) from None
        elif not isinstance(pcm, (bytes, bytearray, memoryview)):
            raise MisconfiguredError(f"send_audio() takes bytes or base64 text, not a {type(pcm).__name__}")
        if driver.outbox.full:
            raise LaneFull("8 MiB of audio wait for the link, which is stalled; this audio was not taken")
        driver.feed(inputs.AudioSubmitted(bytes(pcm)))

    def commit(self, *, reply: bool = True) -> Command[None]:
        """End the human's turn (push-to-talk) and ask for the reply (``reply=False``: do not ask).

        The handle settles when the provider has taken the turn, and is rejected where no audio was sent.

        Raises:
            SessionStateError: not connected.
            LaneFull: too many commands wait for an answer.
        """
        return self._command("commit", lambda number: inputs.TurnCommitted(number, reply))

    def request_reply(self, config: ResponseConfig | None = None) -> Command[Response]:
        """Ask for a reply without saying anything; the handle settles with it when it is over. Raises as ``commit``,
        and

        Raises:
            MisconfiguredError: the model cannot do what ``config`` asks.
        """
        if config is not None:
            self._model.check_response(config)
        return self._command("request_reply", lambda number: inputs.ReplyRequested(number, config))

    def interrupt(self) -> Command[None]:
        """Stop the reply: generation is cancelled, playback is cleared, and the item is cut at what was heard.

        Does nothing where nothing runs or plays. Raises as ``commit``.
        """
        return self._command("interrupt", inputs.InterruptRequested)

    def hang_up(self, *, after_playout: bool = True, timeout: float = 30.0) -> Command[bool]:
        """End the session when the goodbye has been heard, at most ``timeout`` seconds from now; or at once.

        The goodbye is over when no reply runs or is owed, no tool works, and nothing waits to be heard. A human who
        speaks meanwhile revokes it. The handle settles with whether the session ends. Raises as ``commit``.
        """
        return self._command("hang_up", lambda number: inputs.HangUpRequested(number, after_playout, timeout))

    def approve(self, call_id: str, *, always: bool = False) -> Command[None]:
        """Let a tool call run that waits for consent; ``always``: and every later call of that tool.

        The handle is rejected where no such call waits. Raises as ``commit``.
        """
        return self._command("approve", lambda number: inputs.ApprovalGiven(number, call_id, always))

    def reject(self, call_id: str, reason: str | None = None) -> Command[None]:
        """Refuse a tool call that waits for consent; the model is told ``reason``. As :meth:`approve` otherwise."""
        return self._command("reject", lambda number: inputs.ApprovalRefused(number, call_id, reason))

    def update(
        self, config: SessionConfig | None = None, /, **changes: Unpack[ConfigChanges]
    ) -> Command[SessionConfig]:
        """Change the configuration: ``session.update(instructions="…")``. What stays ``None`` stays as it is.

        Only what differs is sent; where nothing does, the handle settles at once. The change holds once the provider
        has accepted it: the handle then settles with the whole configuration. Changes are made one after the other, in
        the order in which they were asked for. To change what tools there are, use :meth:`update_agent`.

        Raises:
            SessionStateError: not connected.
            MisconfiguredError: an unknown option, or what the model cannot do; a voice other than the one that was
                heard; another audio format, once audio was heard or with a channel. Nothing was sent.
            LaneFull: too many commands wait for an answer.

        Awaiting the handle raises :class:`~kernl_rt.exceptions.CommandRejected` where the provider refuses, and
        :class:`~kernl_rt.exceptions.CommandLost` where it says nothing for 10 seconds; nothing has changed here then.
        """
        return self._changes.update(self._free("update"), config, changes)

    def update_agent(self, agent: RealtimeAgent[T], /) -> Command[SessionConfig]:
        """Let another agent speak: its instructions, its tools, and its voice where none was heard yet.

        As :meth:`update`: only what differs is sent, and the agent changes once the provider has accepted it (an
        ``agent.changed`` event). Tools that run go on to their end. The session keeps its model, its audio formats and
        what the new agent says nothing about. Instructions that are a function are called first; what they raise, the
        handle raises.
        """
        return self._changes.update_agent(self._free("update_agent"), agent)

    async def handoff(self, agent: RealtimeAgent[Any] | Callable[[], RealtimeAgent[Any]], /) -> RealtimeAgent[Any]:
        """What a :func:`~kernl_rt.handoff` tool does: :meth:`update_agent`, and wait until it is so.

        For tools of your own that decide to whom. A failure is also an ``error`` event. Returns the agent. Cancelling
        it does not take the change back.
        """
        return await self._changes.handoff(self._free("handoff"), agent)

    def mute(self) -> None:
        """From now on the human's sound is not sent. Raises :class:`SessionStateError` where not connected."""
        self._live("mute").feed(inputs.MuteChanged(True))

    def unmute(self) -> None:
        self._live("unmute").feed(inputs.MuteChanged(False))

    def activity_started(self) -> None:
        """Your own detector heard the human begin to speak: the reply is interrupted."""
        self._live("activity_started").feed(inputs.ActivityReported(True))

    def activity_ended(self) -> None:
        """Your own detector heard the human stop: with turn detection off, the turn is committed."""
        self._live("activity_ended").feed(inputs.ActivityReported(False))

    def send(self, event: ClientEvent | Mapping[str, Any]) -> Command[Any]:
        """Send any client event, or (a mapping) anything that the vocabulary lacks, as it is. Raises as ``commit``.

        A request for a reply still waits for its turn.
        """
        if isinstance(event, Mapping):
            event = RawClientEvent(dict(event))
        submitted = event
        return self._command("send", lambda number: inputs.EventSubmitted(number, submitted))

    def _command(self, verb: str, make: Callable[[int], inputs.Input]) -> Command[Any]:
        return self._free(verb).command(verb, make)

    def _free(self, verb: str) -> Driver:
        """The driver, if it can take a command."""
        driver = self._live(verb)
        if driver.full:
            raise LaneFull(f"too many commands wait for the link or for an answer; {verb}() was not taken")
        return driver
