"""The conversation in a terminal, as it happens: two level meters, the words, the tools, the latencies, the tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import anyio
from attrs import frozen
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from kernl_rt.cli.demo._notes import Loudness, Notes, ToolRun, told
from kernl_rt.cli.demo._tree import Branch, session_tree

__all__ = ["LiveView"]

_FRAMES_PER_SECOND = 12
_BARS = " ▁▂▃▄▅▆▇█"
#: Seconds that one bar of a meter stands for, and the loudness that fills it.
_BAR, _LOUD = 0.1, 0.25
_WORDS, _TREE = 9, 13


@frozen
class LiveView:
    """Draws ``notes`` until cancelled; the last picture stays on the screen."""

    notes: Notes
    title: str
    console: Console

    async def show(self) -> None:
        # Drawn by this task and not by rich's thread: nothing may be left running.
        with Live(console=self.console, auto_refresh=False, transient=False) as live:
            try:
                while True:
                    live.update(self.picture(session_tree()), refresh=True)
                    await anyio.sleep(1 / _FRAMES_PER_SECOND)
            finally:
                live.update(self.picture(session_tree()), refresh=True)

    def picture(self, tree: Branch | None) -> RenderableType:
        notes = self.notes
        now = notes.now
        wide = max(min(self.console.width, 110), 60)
        head = Table.grid(padding=(0, 1))
        for name, sounds, colour in (
            ("caller", notes.human_loudness, "cyan"),
            ("agent", notes.model_loudness, "green"),
        ):
            head.add_row(Text(name.rjust(6), style=f"bold {colour}"), Text(meter(sounds, now, wide - 24), style=colour))
        body = Table.grid(expand=True, padding=(0, 1))
        body.add_column(ratio=5)
        body.add_column(ratio=3)
        left = Group(self._words(), Text(), self._tools(), Text(), self._latencies())
        body.add_row(left, self._tree(tree))
        title = f"[bold]{self.title}[/bold]  [dim]{notes.status}  {now:5.1f} s[/dim]"
        return Panel(Group(head, Text(), body), title=title, title_align="left", width=wide, border_style="grey42")

    def _words(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=6, justify="right")
        table.add_column()
        rows = [
            (said.start, Text("caller", style="bold cyan"), Text(said.understood or said.text))
            for said in self.notes.utterances
        ]
        for reply in self.notes.replies:
            if reply.heard:
                words = Text(reply.words_heard)
                if reply.interrupted_at is not None:
                    words.append(f"  ✂ interrupted, {reply.heard_ms} ms heard", style="bold red")
                rows.append((reply.heard[0][0], Text("agent", style="bold green"), words))
        for _, who, words in sorted(rows, key=lambda row: row[0]):
            table.add_row(who, words)
        return table

    def _tools(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=6, justify="right")
        table.add_column()
        for run in self.notes.tools:
            table.add_row(Text("tool", style="bold yellow"), self._tool(run))
        return table

    def _tool(self, run: ToolRun) -> Text:
        text = Text(f"{run.name}({run.arguments}) ", style="yellow")
        if run.end is None:
            seconds = self.notes.now - run.start
            return text.append(f"{'▪' * min(int(seconds * 5) + 1, 12)} {seconds:.1f} s", style="bold yellow")
        return text.append(told(run), style="red" if run.outcome == "cancelled" else "dim")

    def _latencies(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=9, justify="right")
        table.add_column()
        for latency in self.notes.latencies:
            stop = latency.what.startswith("barge-in")
            took = Text(f"{1000 * latency.seconds:.0f} ms", style="bold red" if stop else "bold")
            table.add_row(took, Text(latency.what, style="dim"))
        return table

    def _tree(self, tree: Branch | None) -> RenderableType:
        lines = ["no task is left"] if tree is None else [tree.name, *tree.lines()]
        shown = lines + [""] * (_TREE - len(lines))
        style = "green" if tree is None else ""
        return Group(Text("tasks", style="dim"), Text("\n".join(shown), style=style, no_wrap=True, overflow="ellipsis"))


def meter(sounds: Sequence[Loudness], now: float, width: int) -> str:
    """The last ``width`` tenths of a second as bars, the newest on the right."""
    bars = [0.0] * width
    for sound in reversed(sounds):
        age = int((now - sound.start) / _BAR)
        if age >= width:
            break
        if age >= 0:
            bars[-1 - age] = max(bars[-1 - age], sound.rms)
    return "".join(_BARS[min(round(math.sqrt(rms / _LOUD) * 8), 8)] if rms > 0.001 else "·" for rms in bars)
