"""Who may import whom. The contracts stand in pyproject.toml under ``[tool.importlinter]``; docs/design.md says why.

Each contract is proven to be able to fail: a copy of the package gets one forbidden import, and the linter must name
it. A contract may speak of a module that is not written yet: such a module is left out of the contract until it exists.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kernl_rt"

if not (ROOT / "kernl_rt").is_dir():
    pytest.skip("the contracts are about the checkout", allow_module_level=True)

SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
CONTRACTS: list[dict[str, Any]] = SETTINGS["contracts"]

#: Contract, module that gets the import, the import, and who must be said to import whom; without the latter the
#: module itself must be refused. A name with a leading dot is of this package.
PLANTS = [
    ("levels", ".exceptions", "import kernl_rt.items", ".exceptions > .items"),
    ("levels", ".items", "from kernl_rt import abc", ".items > .abc"),
    ("levels", "._core._planted", "import kernl_rt.abc", "._core > .abc"),
    ("levels", "._session._planted", "import kernl_rt.testing", "._session > .testing"),
    ("levels", ".providers._planted", "import kernl_rt.simulator._planted", ".providers > .simulator"),
    ("levels", ".channels._planted", "import kernl_rt.providers._planted", ".channels > .providers"),
    ("levels", "._transport._planted", "import kernl_rt.channels._planted", "._transport > .channels"),
    ("levels", ".agent", "def late():\n    import kernl_rt._session._planted", ".agent > ._session"),
    ("levels", ".stray", "", ""),
    ("pure", ".config", "import time", ".config > time"),
    ("pure", "._core._planted", "def late():\n    from random import random", "._core > random"),
    ("pure", "._audio._planted", "import kernl_rt._core._planted\nimport os", "._audio > os"),
    ("pure", ".providers.planted._codec", "import anyio.abc", ".providers.planted._codec > anyio"),
    ("pure", ".channels.planted._codec", "import uuid", ".channels.planted._codec > uuid"),
    ("pure", ".providers._json", "import os", ".providers._json > os"),
    ("codecs", ".providers.planted._codec", "import kernl_rt.abc", ".providers.planted._codec > .abc"),
    (
        "codecs",
        ".providers._json",
        "import kernl_rt.providers._connection",
        ".providers._json > .providers._connection",
    ),
    ("ports", ".agent", "import kernl_rt._audio._planted", ".agent > ._audio"),
    ("adapters", ".channels._planted", "import kernl_rt._core._planted", ".channels > ._core"),
    ("providers-apart", ".providers.xai", "import kernl_rt.providers.gemini", ".providers.xai > .providers.gemini"),
    ("channels-apart", ".channels.twilio", "import kernl_rt.channels._planted", ".channels.twilio > .channels.browser"),
    ("runtime", "._session._planted", "import kernl_rt.providers._planted", "._session > .providers"),
]


def full(name: str) -> str:
    return f"kernl_rt{name}" if name.startswith(".") else name


def verdict(module: str, edge: str) -> str:
    """What the linter must say about a plant."""
    if not edge:
        return f"- {full(module)}"
    importer, imported = map(full, edge.split(" > "))
    return f"{importer} is not allowed to import {imported}"


def file_of(module: str, root: Path) -> Path | None:
    """Where ``module`` stands under ``root``, ``None`` if it does not exist."""
    path = root.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def is_present(expression: object, root: Path) -> bool:
    name = str(expression)
    return not name.startswith("kernl_rt") or "*" in name or file_of(name, root) is not None


def configuration(root: Path) -> str:
    """The contracts as TOML, without the modules that do not exist yet."""
    lines = ["[tool.importlinter]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in SETTINGS.items() if key != "contracts"]
    for contract in CONTRACTS:
        present = {
            key: [entry for entry in value if is_present(entry, root)] if key.endswith("modules") else value
            for key, value in contract.items()
        }
        if all(value != [] for value in present.values()):
            lines += ["[[tool.importlinter.contracts]]"]
            lines += [f"{key} = {json.dumps(value)}" for key, value in present.items()]
    return "\n".join(lines)


def lint(root: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the linter over the package that stands in ``root``."""
    settings = tmp_path / "importlinter.toml"
    settings.write_text(configuration(root), "utf-8")
    code = f"import sys; sys.path.insert(0, {str(root)!r}); from importlinter.cli import lint_imports; " + (
        f"sys.exit(lint_imports(config_filename={str(settings)!r}, no_cache=True))"
    )
    environment = {**os.environ, "COLUMNS": "300", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )


def plant(root: Path, module: str, text: str) -> None:
    """Append ``text`` to ``module``; what is missing of it, and of its packages, is made first."""
    parts = module.split(".")
    for depth in range(1, len(parts)):
        folder = root.joinpath(*parts[:depth])
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
    path = file_of(module, root) or root.joinpath(*parts).with_suffix(".py")
    path.write_text((path.read_text("utf-8") if path.is_file() else "") + f"\n{text}\n", "utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package in which every planted import has a target."""
    root = tmp_path / "copy"
    shutil.copytree(PACKAGE, root / "kernl_rt", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_core", "_audio", "_session", "_transport", "providers", "channels", "simulator"):
        plant(root, f"kernl_rt.{name}._planted", "")
    for name in ("agent", "providers.xai", "providers.gemini", "channels.twilio", "channels.browser"):
        if file_of(f"kernl_rt.{name}", root) is None:
            plant(root, f"kernl_rt.{name}", "")
    plant(root, "kernl_rt.channels._planted", "import kernl_rt.channels.browser")
    return root


def test_the_package_keeps_its_levels(tmp_path: Path) -> None:
    result = lint(ROOT, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(("contract", "module", "text", "edge"), PLANTS)
def test_a_planted_import_is_found(
    contract: str, module: str, text: str, edge: str, copy: Path, tmp_path: Path
) -> None:
    plant(copy, full(module), text)
    result = lint(copy, tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    name = next(entry["name"] for entry in CONTRACTS if entry["id"] == contract)
    assert f"{name} BROKEN" in result.stdout
    assert verdict(module, edge) in result.stdout


def test_the_copy_without_a_plant_is_clean(copy: Path, tmp_path: Path) -> None:
    result = lint(copy, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_is_proven_to_fail() -> None:
    assert {contract["id"] for contract in CONTRACTS} == {entry[0] for entry in PLANTS}


def listed(contract: str, key: str) -> list[str]:
    return list(next(entry[key] for entry in CONTRACTS if entry["id"] == contract))


@pytest.mark.parametrize("contract", ["pure", "codecs"])
def test_no_codec_escapes_the_contract(contract: str) -> None:
    """``_codec`` and ``_wire`` are found by the wildcard; ``_wav_codec`` must be listed."""
    stray = [
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.stem.endswith(("codec", "wire"))
        and path.stem not in ("_codec", "_wire")
        and ".".join(path.relative_to(ROOT).with_suffix("").parts) not in listed(contract, "source_modules")
    ]
    assert stray == []


@pytest.mark.parametrize("kind", ["providers", "channels"])
def test_no_adapter_escapes_the_contract(kind: str) -> None:
    """Every public module of ``providers`` and ``channels`` is one of those that must not know each other."""
    found = {path.stem for path in (PACKAGE / kind).glob("[a-z]*") if path.is_dir() or path.suffix == ".py"}
    assert {f"kernl_rt.{kind}.{name}" for name in found} <= set(listed(f"{kind}-apart", "modules"))


def test_every_folder_is_a_package() -> None:
    """The linter does not look into a folder without ``__init__.py``."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder.relative_to(ROOT).as_posix() for folder in folders if not (folder / "__init__.py").is_file()] == []
