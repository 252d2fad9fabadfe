"""Running the user's functions, each in a scope of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import anyio
from anyio.abc import TaskGroup

from kernl_rt._core import actions, inputs
from kernl_rt._core.toolcalls import ToolTraits
from kernl_rt._session.driver import Driver
from kernl_rt.agent import RealtimeAgent
from kernl_rt.context import Context
from kernl_rt.events import ToolOutcome
from kernl_rt.tool import Tool, approval_needed, error_text

__all__ = ["ToolRunner", "traits_of"]

logger = logging.getLogger("kernl_rt")


def traits_of(tools: Mapping[str, Tool[Any]], agent: int = 0) -> dict[str, ToolTraits]:
    """What the machine needs to know of the tools of an agent, which has this number in the session."""
    return {name: _traits(tool, agent) for name, tool in tools.items()}


def _traits(tool: Tool[Any], agent: int) -> ToolTraits:
    approval: Literal["none", "always", "predicate"] = "predicate"
    if isinstance(tool.needs_approval, bool):
        approval = "always" if tool.needs_approval else "none"
    return ToolTraits(
        tool.on_interrupt, tool.on_done, tool.commit, tool.terminal, approval, tool.approval_timeout, agent
    )


class ToolRunner:
    """Takes calls from the driver, runs each as a task, and feeds its one outcome."""

    def __init__(self, driver: Driver, agents: Sequence[RealtimeAgent[Any]], context: Context[Any]) -> None:
        self._driver = driver
        #: By number: whoever made a call, its tool is the one that runs, also after another agent has taken over.
        self._agents = agents
        self._context = context
        self._scopes: dict[str, anyio.CancelScope] = {}
        driver.cancel_tool = self.cancel

    def cancel(self, call_id: str) -> None:
        """Cancel a running call; one that has not started yet will not."""
        scope = self._scopes.get(call_id)
        if scope is not None:
            scope.cancel()
            return
        queue = self._driver.to_tools
        for call in [call for call in queue if call.call_id == call_id]:
            queue.remove(call)

    def dispatch(self, group: TaskGroup) -> None:
        """Start the calls that wait, each as a task of ``group``."""
        queue = self._driver.to_tools
        while queue:
            call = queue.pop(0)
            self._scopes[call.call_id] = anyio.CancelScope()
            run = self._run if isinstance(call, actions.StartTool) else self._check
            group.start_soon(run, call, name=f"kernl_rt tool {call.name}")

    async def _run(self, call: Any) -> None:
        """One call, from its arguments to its one outcome. What the tool raises goes to the model."""
        agent = self._agents[call.agent]
        tool = agent.tools[call.name]
        context = self._context.for_call(call.call_id, call.name, agent)
        start = anyio.current_time()
        outcome: ToolOutcome = "cancelled"
        output = "The call was cancelled."
        try:
            with self._scopes[call.call_id] as scope:
                with anyio.move_on_after(tool.timeout) as limit:
                    running = tool.call(context, call.arguments)
                    output = await self._driver.watchdog.watched("tool", call.name, running, call_id=call.call_id)
                    outcome = "result"
                if limit.cancelled_caught and not scope.cancel_called:
                    outcome, output = "timeout", f"{call.name} timed out after {tool.timeout:g} seconds."
        except Exception as exc:
            logger.debug("tool %s raised %s", call.name, type(exc).__name__)
            outcome, output = "error", error_text(exc)
        finally:
            del self._scopes[call.call_id]
            duration = anyio.current_time() - start
            self._driver.feed(inputs.ToolReturned(call.call_id, outcome, output, duration))

    async def _check(self, call: Any) -> None:
        """Ask the user's predicate. One that raises, or never answers, says yes: a human decides."""
        agent = self._agents[call.agent]
        tool = agent.tools[call.name]
        context = self._context.for_call(call.call_id, call.name, agent)
        error: Exception | None = None
        needed = True
        try:
            with self._scopes[call.call_id], anyio.move_on_after(tool.timeout):
                asking = approval_needed(tool, context, call.arguments)
                needed = await self._driver.watchdog.watched("tool", call.name, asking, call_id=call.call_id)
        except Exception as exc:
            error = exc
        finally:
            del self._scopes[call.call_id]
        self._driver.feed(inputs.ApprovalChecked(call.call_id, needed, error))
