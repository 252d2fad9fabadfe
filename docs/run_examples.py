"""Runs the Python blocks of a page, as a reader would who copies them one after the other.

    python docs/run_examples.py docs/tutorial.md --backend trio

All ``python`` blocks of a page share one namespace. A block that defines ``async def main()`` and does not run it is
run under the chosen backend; ``anyio.run`` in a block takes the chosen backend too. A block that cannot be run is
fenced ``python no-run`` and its first line says why: ``# not run: needs a microphone``.
"""

from __future__ import annotations

import argparse
import ast
import faulthandler
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from attrs import frozen
from markdown_it import MarkdownIt

__all__ = ["BadBlock", "Block", "blocks", "run_page"]

#: Seconds for one ``main``, and for a whole page.
MAIN_TIMEOUT = 10.0
PAGE_TIMEOUT = 30.0

#: Words after the fence that hide Python from this program.
_DISGUISES = {"py", "python3", "py3", "pycon", "{code-block} python", "{code} python", "{doctest}"}


class BadBlock(ValueError):
    """A block that would not be run, and does not say why."""


@frozen
class Block:
    """One Python block; ``line`` is the line of the page where its code starts, from 1."""

    page: str
    line: int
    code: str


def blocks(page: Path) -> list[Block]:
    """The blocks of ``page`` that are to be run, in order.

    Raises:
        BadBlock: a block is marked ``no-run`` without a reason, or its fence hides that it is Python.
    """
    found = []
    for token in MarkdownIt().parse(page.read_text("utf-8")):
        if token.type != "fence" or token.map is None:
            continue
        line = token.map[0] + 2
        words = token.info.split()
        if " ".join(words[:2]) in _DISGUISES or " ".join(words[:1]) in _DISGUISES:
            raise BadBlock(f"{page}:{line - 1}: write ```python, so that the block is run")
        if words[:1] != ["python"]:
            continue
        if words[1:] == ["no-run"]:
            if not token.content.startswith("# not run: "):
                raise BadBlock(f"{page}:{line}: a no-run block starts with '# not run: ' and the reason")
        elif words[1:]:
            raise BadBlock(f"{page}:{line - 1}: unknown word after python: {' '.join(words[1:])!r}; there is 'no-run'")
        else:
            found.append(Block(str(page), line, token.content))
    return found


def run_page(page: Path, backend: str, main_timeout: float = MAIN_TIMEOUT) -> int:
    """Run the blocks of ``page`` under ``backend`` and say how many there were. What a block raises is raised here."""
    plain_run = anyio.run
    has_run: list[object] = []

    def run(function: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Any:
        async def bounded() -> Any:
            with anyio.fail_after(main_timeout):
                return await function(*arguments)

        has_run.append(function)
        if "backend_options" in options:
            # The block chose its backend and its clock: virtual time must not meet a deadline in real seconds.
            return plain_run(function, *arguments, **options)
        return plain_run(bounded, **{**options, "backend": backend})

    namespace: dict[str, Any] = {"__name__": "__main__"}
    todo = blocks(page)
    anyio.run = run  # type: ignore[assignment]  # its generic signature is not worth repeating
    try:
        for block in todo:
            # The empty lines in front make a traceback name the line of the page.
            exec(compile("\n" * (block.line - 1) + block.code, block.page, "exec"), namespace)
            if _defines_main(block.code) and namespace["main"] not in has_run:
                run(namespace["main"])
    finally:
        anyio.run = plain_run
    return len(todo)


def _defines_main(code: str) -> bool:
    return any(isinstance(node, ast.AsyncFunctionDef) and node.name == "main" for node in ast.parse(code).body)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the Python blocks of a page.")
    parser.add_argument("page", type=Path)
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="trio")
    parser.add_argument("--timeout", type=float, default=MAIN_TIMEOUT, help="seconds for one main()")
    arguments = parser.parse_args()
    # Whatever hangs, also outside of an event loop, ends with every thread's traceback.
    faulthandler.dump_traceback_later(max(PAGE_TIMEOUT, 2 * arguments.timeout), exit=True)
    count = run_page(arguments.page, arguments.backend, arguments.timeout)
    print(f"{arguments.page}: {count} blocks ran under {arguments.backend}")
    sys.stdout.flush()
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    # Blocks may write files; they do so where the caller stands.
    sys.path.insert(0, os.getcwd())
    main()
