"""What every model must do, as one function to run over your own.

::

    @pytest.mark.anyio
    async def test_my_model_conforms():
        await check_model(lambda: MyModel(...), transport=...)

The far end is whatever you have: a simulator, a fake of your own, the service itself. Each part takes a fresh model
from the factory. A part that finds a fault raises ``AssertionError`` and says which promise of
:class:`~kernl_rt.abc.RealtimeModel` or :class:`~kernl_rt.abc.RealtimeConnection` was broken. Run it in virtual time
where the far end allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio

from kernl_rt.abc import RealtimeModel, RealtimeTransport
from kernl_rt.config import AudioFormat, Capabilities, ConnectOptions, Credential, SessionConfig, TurnDetection
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.testing._check_model_ending import LEAVING, Ending
from kernl_rt.testing._check_model_setup import Prompts, Provider
from kernl_rt.testing._check_model_talking import Talking
from kernl_rt.testing._checking import Bound, leaves, require

__all__ = ["Prompts", "check_model"]


async def check_model(
    factory: Callable[[], RealtimeModel],
    *,
    transport: RealtimeTransport | None = None,
    provider: Provider | None = None,
    config: SessionConfig | None = None,
    prompts: Prompts | None = None,
    options: ConnectOptions | None = None,
    credential: Credential | None = None,
    unknown_frame: str | bytes = '{"type": "kernl_rt.unknown", "event_id": "event_unknown"}',
    broken_frame: str | bytes = '{"type": "resp',
    strict: bool = True,
    timeout: float = 30.0,
) -> None:
    """Check that the models ``factory`` makes keep the promises of :class:`~kernl_rt.abc.RealtimeModel`.

    What a model says it cannot do (:class:`~kernl_rt.config.Capabilities`) is not asked of it, but must be harmless.

    Args:
        factory: makes a model; each may connect several times.
        transport: what the model dials with. Through it the suite breaks the link and forges frames; without one those
            parts are left out.
        provider: plays the provider for the model, in a task beside each part; ``None`` where it answers by itself.
        config: laid under the configuration of every part.
        prompts: what to say to the far end; the defaults suit kernl_rt's simulator.
        options, credential: passed to ``connect``.
        unknown_frame, broken_frame: a frame of an unknown type, and one that cannot be understood.
        strict: ``check`` is expected to refuse what the capabilities exclude.
        timeout: seconds for each wait that must end.

    Raises:
        AssertionError: a promise was broken; the message says which.
    """
    checks = _Checks(factory, transport, provider, config or SessionConfig(), prompts or Prompts(), timeout)
    checks.options, checks.credential = options or ConnectOptions(), credential
    checks.unknown_frame, checks.broken_frame, checks.strict = unknown_frame, broken_frame, strict
    checks.description()
    for part in checks.parts():
        name = part.__name__.replace("_", " ")
        left = _tasks()
        try:
            with Bound("it", 20 * timeout):
                await part()
        except Exception as error:
            fault = _first(error)
            said = str(fault) if isinstance(fault, AssertionError) else f"{type(fault).__name__} came out: {fault}"
            raise AssertionError(f"{name}: {said}") from fault
        with anyio.move_on_after(LEAVING):  # the far end may live in the same program, and needs a moment
            while _tasks() > left:  # noqa: ASYNC110 - a count, that nobody announces
                await anyio.sleep(0.01)
        require(_tasks() <= left, f"{name}: a task is still running")


def _first(error: Exception) -> Exception:
    """A broken promise among the errors, if there is one."""
    if not isinstance(error, ExceptionGroup):
        return error
    found = [leaf for leaf in leaves(error) if isinstance(leaf, Exception)]
    return next((leaf for leaf in found if isinstance(leaf, AssertionError)), found[0])


def _tasks() -> int:
    """How many tasks run in this event loop."""
    from kernl_rt._transport._backend import running_backend

    if running_backend() == "trio":
        import trio

        return trio.lowlevel.current_statistics().tasks_living
    import asyncio

    return len(asyncio.all_tasks())


class _Checks(Talking, Ending):
    """All parts, in order."""

    def parts(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        able = self.able
        parts = [self.opening, self.two_at_once, self.a_written_turn, self.a_spoken_reply, self.a_tool_call]
        parts += [self.a_committed_turn] if able.manual_turns else []
        parts += [self.cancelling, self.truncating, self.deleting, self.updating]
        parts += [self.a_mistake_is_an_event, self.a_cancelled_receive]
        parts += [self.leaving, self.leaving_in_the_midst_of_a_reply]
        if self.transport is not None:
            parts += [self.strange_frames, self.the_far_end_leaves, self.the_link_breaks, self.a_refused_connection]
        return parts

    def description(self) -> None:
        """Names and flags, and what ``check`` refuses."""
        model, able = self.factory(), self.able
        for name in (model.provider, model.name):
            require(isinstance(name, str) and name != "", "a model says its provider and its name")
        require(isinstance(able, Capabilities), "'capabilities' is a Capabilities")
        require(bool(able.input_formats) and bool(able.output_formats), "a model knows at least one format each way")
        require(able.max_duration is None or able.max_duration > 0, "'max_duration' is in seconds, or None")
        model.check(self.config)
        if not self.strict:
            return
        refused: list[tuple[bool, str, SessionConfig]] = [
            (True, "input_formats", SessionConfig(input_format=AudioFormat("pcm16", 12_345))),
            (True, "output_formats", SessionConfig(output_format=AudioFormat("pcm16", 12_345))),
            (not able.text_output, "text_output", SessionConfig(output_modality="text")),
            (not able.manual_turns, "manual_turns", SessionConfig(turn_detection=TurnDetection.off())),
        ]
        for excluded, flag, config in refused:
            if excluded:
                _refuses(model, self.config.merged(config), flag)


def _refuses(model: RealtimeModel, config: SessionConfig, flag: str) -> None:
    try:
        model.check(config)
    except MisconfiguredError as error:
        require(str(error) != "", "a refusal names the mistake and the fix")
        return
    raise AssertionError(f"check() refuses what '{flag}' excludes, with MisconfiguredError")
