"""Writes one page per public module for the reference.

A module is public when no part of its path starts with an underscore. ``GROUPS`` says in which order, and under which
heading, modules have a page; one that is not written yet is passed over. A name has one home: the first module of
``GROUPS`` that offers it, so the package's own page lists only what lives nowhere else, and links to the rest.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

ROOT = Path(__file__).resolve().parents[1]

#: Heading, then modules. ``kernl_rt`` is the last to claim a name although it stands first on the page.
GROUPS: dict[str, list[str]] = {
    "The package": ["kernl_rt"],
    "Sessions and agents": [
        "kernl_rt.agent",
        "kernl_rt.tool",
        "kernl_rt.context",
        "kernl_rt.guardrail",
        "kernl_rt.handoff",
        "kernl_rt.history",
        "kernl_rt.policy",
    ],
    "Values": ["kernl_rt.config", "kernl_rt.items", "kernl_rt.events", "kernl_rt.exceptions"],
    "Ports": ["kernl_rt.abc"],
    "Providers": [
        "kernl_rt.providers",
        "kernl_rt.providers.openai",
        "kernl_rt.providers.azure",
        "kernl_rt.providers.xai",
        "kernl_rt.providers.gemini",
        "kernl_rt.providers.elevenlabs",
    ],
    "Channels": [
        "kernl_rt.channels",
        "kernl_rt.channels.memory",
        "kernl_rt.channels.wav",
        "kernl_rt.channels.local",
        "kernl_rt.channels.turn_detection",
        "kernl_rt.channels.twilio",
        "kernl_rt.channels.telnyx",
        "kernl_rt.channels.vonage",
        "kernl_rt.channels.browser",
    ],
    "Serving": ["kernl_rt.serve"],
    "Transports": ["kernl_rt.transports"],
    "Testing": [
        "kernl_rt.testing",
        "kernl_rt.testing.strategies",
        "kernl_rt.testing.pytest_plugin",
        "kernl_rt.simulator",
    ],
}

#: Public by name, but not an interface for programs: its commands have a page of their own.
NOT_FOR_PROGRAMS = ("kernl_rt.cli",)


def public_modules() -> list[str]:
    """Every public module that exists, found in the files, not by importing."""
    found = []
    for path in sorted((ROOT / "kernl_rt").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        name = ".".join(parts)
        hidden = any(part.startswith("_") for part in parts)
        if not hidden and not any(name == stem or name.startswith(f"{stem}.") for stem in NOT_FOR_PROGRAMS):
            found.append(name)
    return found


def source_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def public_names(module: str) -> list[str]:
    """What ``module`` offers, in the order of its source: what it defines, and what it imports ``as`` itself.

    Where the module has an ``__all__``, that decides; its order is alphabetical, so the source's order is kept.
    """
    tree = ast.parse(source_of(module).read_text("utf-8"))
    listed = next((ast.literal_eval(node.value) for node in tree.body if _is_all(node)), None)
    names = list(dict.fromkeys(name for node in tree.body for name in _bound(node)))
    if listed is None:
        return [name for name in names if not name.startswith("_")]
    return [name for name in names if name in listed] + [name for name in listed if name not in names]


def _is_all(node: ast.stmt) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and _assigns(node) == ["__all__"]


def _assigns(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _bound(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.name for alias in node.names if alias.asname == alias.name)
    else:
        yield from _assigns(node)


def homes() -> dict[str, list[str]]:
    """Module with a page → the names documented there. A name that was claimed by an earlier module is left out."""
    existing = set(public_modules())
    ordered = [module for group in list(GROUPS.values())[1:] for module in group] + GROUPS["The package"]
    claimed: set[tuple[str, int]] = set()
    result: dict[str, list[str]] = {}
    for module in ordered:
        if module not in existing:
            continue
        namespace = vars(importlib.import_module(module))
        own = [name for name in public_names(module) if (name, id(namespace[name])) not in claimed]
        own = [name for name in own if not inspect.ismodule(namespace[name])]
        claimed.update((name, id(namespace[name])) for name in own)
        result[module] = own
    return result


def undocumented() -> list[str]:
    """Public names that have no place in the reference, with the module that offers them."""
    placed = {(name, id(vars(importlib.import_module(m))[name])) for m, names in homes().items() for name in names}
    missing = []
    for module in public_modules():
        namespace = vars(importlib.import_module(module))
        for name in public_names(module):
            value = namespace[name]
            if not inspect.ismodule(value) and (name, id(value)) not in placed:
                missing.append(f"{module}.{name}")
    return missing


def _directive(module: str, name: str) -> str:
    value = vars(importlib.import_module(module))[name]
    if isinstance(value, type) and issubclass(value, BaseException):
        return f".. autoexception:: {module}.{name}\n   :members:\n   :show-inheritance:\n"
    if isinstance(value, type):
        return f".. autoclass:: {module}.{name}\n   :members:\n"
    kind = "autofunction" if inspect.isroutine(value) else "autodata"
    return f".. {kind}:: {module}.{name}\n"


def page(module: str, names: list[str]) -> str:
    parts = [module, "=" * len(module), "", f".. automodule:: {module}\n   :no-members:\n"]
    parts += [_directive(module, name) for name in names]
    elsewhere = [name for name in public_names(module) if name not in names]
    if elsewhere:
        parts += ["Also offered here:\n", ", ".join(f":py:obj:`{name} <{module}.{name}>`" for name in elsewhere) + "."]
    return "\n".join(parts) + "\n"


def write(folder: Path) -> None:
    """Write the pages into ``folder``, and ``index.rst`` that lists them; what has not changed is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{module}.rst": page(module, names) for module, names in homes().items()}
    index = []
    for heading, modules in GROUPS.items():
        existing = [module for module in modules if f"{module}.rst" in texts]
        if existing:
            index += [".. toctree::", f"   :caption: {heading}", "   :maxdepth: 1", ""]
            index += [f"   {module}" for module in existing] + [""]
    texts["index.rst"] = "\n".join(["Modules", "=======", "", *index])
    for name, text in texts.items():
        path = folder / name
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
    for path in folder.glob("*.rst"):
        if path.name not in texts:
            path.unlink()
