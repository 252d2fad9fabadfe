"""The page that says what each model can do is that of the profiles."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from attrs import fields

from kernl_rt.config import Capabilities

DOCS = Path(__file__).resolve().parents[1] / "docs"

if not (DOCS / "make_capabilities.py").is_file():
    pytest.skip("docs/ is not here", allow_module_level=True)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(DOCS))
    yield importlib.import_module("make_capabilities")
    sys.modules.pop("make_capabilities", None)


def test_the_page_is_up_to_date(table: ModuleType) -> None:
    written = (DOCS / "capabilities.md").read_text(encoding="utf-8")
    assert written == table.page(), "run: python docs/make_capabilities.py"


def test_every_flag_has_a_row(table: ModuleType) -> None:
    """But those that are about the wire alone, and change nothing that a caller could notice."""
    inner = {"confirms_configuration", "echoes_metadata", "replays_on_resume"}
    source = (DOCS / "make_capabilities.py").read_text(encoding="utf-8")
    missing = [field.name for field in fields(Capabilities) if field.name not in inner and field.name not in source]
    assert missing == []
