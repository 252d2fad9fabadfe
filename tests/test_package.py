"""The package as a whole: what it declares, what it offers, and that the first commands a newcomer types are true."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kernl_rt"
#: Distributions whose import name differs from their own.
IMPORTED_AS = {"pyyaml": "yaml", "attrs": "attr"}
#: A plain session needs none of these: importing the package must not pay for them.
HEAVY = {"trio", "trio_websocket", "numpy", "httpx", "hypothesis", "pytest", "rich", "soxr", "sphinx", "uvicorn"}
#: Nor these, which are imported by whoever needs them first: a tool, a recording, asyncio's own program, a socket.
LATE = {
    "asyncio",
    "cattrs",
    "email",
    "html",
    "http",
    "kernl_rt._recording.story",
    "kernl_rt._session.recording_files",
    "kernl_rt._session.recording_tap",
    "pathlib",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "urllib",
    "xml",
    "zipfile",
}

if not (ROOT / "kernl_rt").is_dir():
    pytest.skip("this is about the checkout", allow_module_level=True)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def required(*extras: str) -> set[str]:
    """Names of the distributions that ``kernl_rt[extras]`` asks for itself, an extra of an extra included."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    names: set[str] = set()
    for requirement in map(Requirement, lines):
        if canonicalize_name(requirement.name) == "kernl-rt":
            names |= required(*requirement.extras)
        else:
            names.add(canonicalize_name(requirement.name))
    return names


packages_distributions = functools.cache(importlib.metadata.packages_distributions)


def importable(distributions: set[str]) -> set[str]:
    names = {IMPORTED_AS.get(name, name).replace("-", "_") for name in distributions}
    return names | {
        module
        for module, owners in packages_distributions().items()
        if distributions & {canonicalize_name(owner) for owner in owners}
    }


def is_late(node: ast.AST) -> bool:
    """Whether importing the file does not carry out what is in here."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def imports(path: Path, *, at_import: bool) -> Iterator[str]:
    """First parts of the absolute imports of a file; with ``at_import`` only those that importing it carries out."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            yield child
            if not (at_import and is_late(child)):
                yield from walk(child)

    for node in walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def strangers(folder: Path, allowed: set[str], *, at_import: bool) -> dict[str, list[str]]:
    """Imports that are neither of the standard library, nor ours, nor ``allowed``, by file."""
    own = {"kernl_rt", "tests"} | {path.stem for path in folder.rglob("*.py")} | {p.name for p in folder.rglob("*/")}
    known = sys.stdlib_module_names | own | allowed
    found = {
        path.relative_to(ROOT).as_posix(): sorted(set(imports(path, at_import=at_import)) - known)
        for path in sorted(folder.rglob("*.py"))
    }
    return {path: names for path, names in found.items() if names}


#: Public parts that only work with an extra.
BEHIND_EXTRAS = {"testing", "cli", "serve", "simulator"}


#: Imported without being declared, because a declared distribution cannot do without it: import name → that one.
BROUGHT_BY = {"typing_extensions": "cattrs", "wsproto": "trio-websocket"}
#: In the standard library of a later Python than the oldest supported; imported behind a check of the version.
LATER = {"annotationlib"}


def test_what_the_package_imports_is_declared() -> None:
    """In the core dependencies, or in an extra; a private module behind an extra is imported late, by its user."""
    allowed = importable(required(*PROJECT["optional-dependencies"])) | BROUGHT_BY.keys() | LATER
    assert strangers(PACKAGE, allowed, at_import=False) == {}


@pytest.mark.parametrize(("module", "bringer"), BROUGHT_BY.items())
def test_what_is_not_declared_is_brought_by_what_is(module: str, bringer: str) -> None:
    brought = [Requirement(line) for line in importlib.metadata.requires(bringer) or ()]
    assert canonicalize_name(module) in {canonicalize_name(line.name) for line in brought if line.marker is None}
    assert bringer in required(*PROJECT["optional-dependencies"])


def test_what_the_tests_and_docs_import_is_in_the_extra_dev() -> None:
    """A fresh ``pip install -e '.[dev]'`` must be enough; a skip with ``importorskip`` is the way out for the rest."""
    allowed = importable(required("dev", *(extra for extra in PROJECT["optional-dependencies"] if extra != "dev")))
    # markdown-it-py is what myst-parser parses with; packaging is what pytest reads versions with.
    allowed |= {"markdown_it", "packaging"}
    assert strangers(ROOT / "tests", allowed, at_import=True) == {}
    assert strangers(ROOT / "docs", allowed, at_import=True) == {}


def test_importing_the_package_is_light() -> None:
    # What the interpreter itself has loaded (a .pth file, a coverage hook) is not the package's.
    code = "import sys; before = set(sys.modules); import kernl_rt; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    loaded = set(done.stdout.split())
    assert "kernl_rt.agent" in loaded
    assert loaded & (HEAVY | LATE) == set()


def test_a_session_under_trio_needs_no_asyncio() -> None:
    """Its home is the module that has to tell the two apart."""
    code = "import sys, trio\nfrom kernl_rt._session.home import Home\n"
    code += "async def main():\n    assert abs(Home.here().clock() - trio.current_time()) < 1.0\n"
    code += "trio.run(main)\nassert 'asyncio' not in sys.modules, 'asyncio was imported'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_needs_no_extra() -> None:
    """A public module that is not behind an extra can be imported with nothing but the core dependencies."""
    extras = importable(required(*PROJECT["optional-dependencies"])) - importable(required()) - sys.stdlib_module_names
    modules = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        if "._" not in name and parts[1] not in BEHIND_EXTRAS:
            modules.append(name)
    assert "kernl_rt.abc" in modules
    assert "trio" in extras
    code = "import importlib, sys\n"
    code += f"sys.modules.update(dict.fromkeys({sorted(extras)!r}))\n"
    code += f"for name in {modules!r}: importlib.import_module(name)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_metadata_is_the_projects() -> None:
    assert importlib.metadata.version("kernl_rt") == PROJECT["version"]
    assert (PACKAGE / "py.typed").is_file()


def fenced_blocks(path: Path) -> list[str]:
    return re.findall(r"^```[^\n]*\n(.*?)^```", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_the_first_two_commands_of_the_readme_are_one_line_each() -> None:
    demo, tests = fenced_blocks(ROOT / "README.md")[:2]
    for command in (demo, tests):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
        done = subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True, timeout=10)
        assert done.returncode == 0, done.stderr
    assert demo.rstrip().endswith(".venv/bin/kernl-rt demo")
    assert re.search(r"-m pytest|nox -s tests", tests)


def test_ci_runs_the_readmes_test_command(tmp_path: Path) -> None:
    """``.ci/run`` in a checkout whose README says something else does that, and fails when it fails."""
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "run"
    script.write_text((ROOT / ".ci" / "run").read_text("utf-8"), "utf-8")
    nox = tmp_path / ".venv" / "bin" / "nox"
    nox.parent.mkdir(parents=True)
    nox.write_text('#!/bin/sh\necho nox "$@"\n', "utf-8")
    nox.chmod(0o755)

    def ci(command: str) -> subprocess.CompletedProcess[str]:
        readme = (
            f"# Title\n\n```console\nfalse demo\n```\n\nText\n\n```console\n{command}\n```\n\n```console\nfalse\n```\n"
        )
        (tmp_path / "README.md").write_text(readme, "utf-8")
        return subprocess.run(["bash", str(script)], capture_output=True, text=True, timeout=20)

    good = ci("echo the tests ran")
    assert good.returncode == 0, good.stderr
    assert "\nthe tests ran\n" in good.stdout
    assert "nox --sessions lint types layers docs" in good.stdout
    bad = ci("echo the tests ran && exit 7")
    assert bad.returncode == 7
    assert "FAILED" in bad.stderr
    assert "nox --sessions" in bad.stdout, "the rest is reported all the same"
    nox.write_text("#!/bin/sh\nexit 1\n", "utf-8")
    assert ci("true").returncode == 1


def test_every_fragment_of_the_changelog_says_its_kind() -> None:
    kinds = ("added", "changed", "fixed", "deprecated", "removed")
    names = [path.name for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]
    assert [name for name in names if not re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(kinds)})\.md", name)] == []


def test_the_changelog_starts_with_this_version() -> None:
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)
    assert first is not None
    assert first[1] == PROJECT["version"]


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    yield importlib.import_module("reference_pages")
    sys.modules.pop("reference_pages", None)


def test_every_public_name_has_a_place_in_the_reference(reference: Any) -> None:
    assert reference.undocumented() == []


def test_a_name_without_a_place_is_noticed(reference: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"kernl_rt", "kernl_rt.abc"}
    groups = {heading: [name for name in names if name not in gone] for heading, names in reference.GROUPS.items()}
    monkeypatch.setattr(reference, "GROUPS", groups)
    assert "kernl_rt.abc.RealtimeModel" in reference.undocumented()
