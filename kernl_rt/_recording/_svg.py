"""A drawing as SVG text: just the shapes that the timeline needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

__all__ = ["Drawing", "fitted"]

#: Width of a letter, as a share of the font's size. Fonts differ; a little too wide is better than overlapping.
_LETTER = 0.52
#: What no XML file may hold, and words of a model or of a stranger can.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def fitted(text: str, width: float, size: float) -> str:
    """As much of ``text`` as fits into ``width`` pixels."""
    most = max(int(width / (size * _LETTER)), 1)
    return text if len(text) <= most else text[: max(most - 1, 0)].rstrip() + "…"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


class Drawing:
    """Collects shapes; :meth:`text` gives the file. Sizes are pixels."""

    def __init__(self, width: float, height: float, title: str, background: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_number(width)} {_number(height)}" '
            f'width="{_number(width)}" height="{_number(height)}" role="img" '
            'font-family="ui-sans-serif, system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif">',
            f"<title>{_escaped(title)}</title>",
        ]
        self.box(0, 0, width, height, background, radius=14)

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, *, radius: float = 4, **style: str
    ) -> None:
        place = f'x="{_number(x)}" y="{_number(y)}" width="{_number(max(width, 1))}" height="{_number(height)}"'
        self._parts.append(f'<rect {place} rx="{_number(radius)}" fill="{fill}"{_styled(style)}/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str, **style: str) -> None:
        place = f'x1="{_number(x1)}" y1="{_number(y1)}" x2="{_number(x2)}" y2="{_number(y2)}"'
        self._parts.append(f'<line {place} stroke="{stroke}"{_styled(style)}/>')

    def strokes(self, strokes: Iterable[tuple[float, float, float]], stroke: str, width: float) -> None:
        """Vertical strokes with round ends, each as (x, top, bottom): a waveform."""
        path = "".join(f"M{_number(x)} {_number(top)}V{_number(bottom)}" for x, top, bottom in strokes)
        if path:
            how = f'stroke="{stroke}" stroke-width="{_number(width)}" stroke-linecap="round" fill="none"'
            self._parts.append(f'<path d="{path}" {how}/>')

    def write(self, x: float, y: float, text: str, size: float, fill: str, **style: str) -> None:
        place = f'x="{_number(x)}" y="{_number(y)}" font-size="{_number(size)}" fill="{fill}"'
        self._parts.append(f"<text {place}{_styled(style)}>{_escaped(text)}</text>")

    def text(self) -> str:
        return "\n".join([*self._parts, "</svg>"]) + "\n"


def _escaped(text: str) -> str:
    return escape(_NO_XML.sub("\ufffd", text), quote=False)


def _styled(style: dict[str, str]) -> str:
    return "".join(f' {name.replace("_", "-")}="{escape(value)}"' for name, value in style.items())
