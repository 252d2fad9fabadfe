"""What is printed where there is no terminal: a line for each thing that happens."""

from __future__ import annotations

__all__ = ["print_line"]


def print_line(at: float, who: str, text: str) -> None:
    print(f"{at:7.2f} s  {who:<8} {text}", flush=True)
