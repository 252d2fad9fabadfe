"""The types of tools and agents, as their users see them. Checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

from attrs import frozen

from kernl_rt.agent import RealtimeAgent
from kernl_rt.config import Voice
from kernl_rt.context import Context, SessionHandle, ToolContext
from kernl_rt.tool import Tool, Toolkit, tool


@frozen
class Customer:
    name: str


@frozen
class Robot:
    serial: int


@tool
async def weather(city: str, days: int = 1) -> str:
    return f"Sunny in {city} for {days} days"


@tool(name="greet", timeout=5.0, on_interrupt="cancel", on_done="silent", commit="after_heard", strict=False)
def greet(context: Context[Customer], loud: bool) -> str:
    return context.context.name.upper() if loud else context.context.name


@tool
async def order(context: ToolContext[Customer], article: str) -> int:
    context.session.send_message(context.call_id)
    return len(context.context.name)


@tool
async def recharge(context: Context[Robot]) -> int:
    return context.context.serial


class Home:
    @tool
    async def lights(self, on: bool) -> bool:
        return on


async def calls_keep_their_types(home: Home, context: Context[Customer]) -> None:
    later: Coroutine[Any, Any, str] = weather("Paris")
    assert_type(await later, str)
    assert_type(await weather("Paris", days=2), str)
    assert_type(greet(context, True), str)
    assert_type(await order(context.for_call("call_1", "order"), "tea"), int)
    assert_type(await home.lights(True), bool)
    await weather(5)  # type: ignore[arg-type]
    await weather("Paris", weeks=1)  # type: ignore[call-arg]
    await home.lights("on")  # type: ignore[arg-type]
    await order(context, "tea")  # type: ignore[arg-type]
    assert_type(await order.call(context.for_call("call_1", "order"), "{}"), str)
    await order.call(Context(Robot(1)).for_call("call_1", "order"), "{}")  # type: ignore[arg-type]


def options_are_checked() -> None:
    tool(timeout="5")  # type: ignore[call-overload]
    tool(on_done="later")  # type: ignore[call-overload]
    tool(weather=1)  # type: ignore[call-overload]


def contexts() -> None:
    assert_type(Context().context, None)
    assert_type(Context(Customer("Ann")).context, Customer)
    assert_type(Context.of(Customer("Ann")), Context[Customer])
    assert_type(Context.of(Context(Customer("Ann"))), Context[Customer])
    wide: Context[Customer | Robot] = Context(Customer("Ann"))
    repr(wide)
    narrow: Context[Robot] = Context(Customer("Ann"))  # type: ignore[arg-type]
    narrow.context = Robot(1)  # type: ignore[misc]


def toolkits() -> None:
    customer: Toolkit[Customer] = Toolkit(id="shop", tools=[weather, greet, order])
    anyone: Toolkit[object] = Toolkit(id="world", tools=[weather])
    also: Toolkit[Customer] = anyone  # what needs no context serves everyone
    wrong: Toolkit[object] = customer  # type: ignore[assignment]
    RealtimeAgent[Customer](id="a", name="A", instructions="", toolkits=[customer, anyone, also])
    RealtimeAgent[Robot](id="a", name="A", instructions="", toolkits=[customer])  # type: ignore[list-item]
    Toolkit(id="plain", tools=[len, weather])
    Toolkit(id="plain", tools=[5])  # type: ignore[list-item]
    kept: list[Tool[Customer]] = [weather, greet, order]
    kept.append(recharge)  # type: ignore[arg-type]
    wrong.tools = ()  # type: ignore[misc]


async def instructed(context: Context[Customer]) -> str:
    return context.context.name


def agents(session: SessionHandle) -> None:
    RealtimeAgent(id="watson", name="Watson", instructions="Be concise.", voice=Voice("marin"))
    RealtimeAgent(id="watson", name="Watson", instructions=lambda context: repr(context), voice="marin")
    agent = RealtimeAgent(id="a", name="A", instructions=instructed)
    assert_type(agent, RealtimeAgent[Customer])
    Context(Customer("Ann")).bind(session, agent)
    # Every mixture is accepted: tools for the customer, for anyone, plain functions, instructions for the customer.
    mixed = [Toolkit(id="world", tools=[weather]), Toolkit(id="shop", tools=[weather, order, len])]
    RealtimeAgent(id="a", name="A", instructions=instructed, toolkits=mixed)
    RealtimeAgent(id="a", name="A", instructions=instructed, toolkits=[Toolkit(id="world", tools=[weather])])
    RealtimeAgent("a", "A", "")  # type: ignore[call-arg]
    RealtimeAgent(id="a", name="A", instructions=5)  # type: ignore[arg-type]
    agent.name = "B"  # type: ignore[misc]
