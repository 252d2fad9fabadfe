"""docs/state-diagrams.md is what docs/make_state_diagrams.py makes of the tables today."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernl_rt._core.arbiter import Arbiter
from kernl_rt._core.lifecycle import STATUS
from kernl_rt._core.toolcalls import CALL

DOCS = Path(__file__).resolve().parents[1] / "docs"

if not (DOCS / "make_state_diagrams.py").is_file():
    pytest.skip("the documentation is in the checkout", allow_module_level=True)


@pytest.fixture
def diagrams(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(DOCS))
    yield importlib.import_module("make_state_diagrams")
    sys.modules.pop("make_state_diagrams", None)


def test_the_page_is_fresh(diagrams: Any) -> None:
    written = diagrams.PAGE.read_text("utf-8")
    assert written == diagrams.page(), "run: python docs/make_state_diagrams.py"


@pytest.mark.parametrize(
    ("name", "table", "row"), [("STATUS", STATUS, ("idle", "stop")), ("CALL", CALL, ("held", "heard"))]
)
def test_a_changed_table_is_noticed(
    diagrams: Any, monkeypatch: pytest.MonkeyPatch, name: str, table: dict[tuple[str, str], str], row: tuple[str, str]
) -> None:
    monkeypatch.setattr(diagrams, name, {key: value for key, value in table.items() if key != row})
    assert diagrams.PAGE.read_text("utf-8") != diagrams.page()


def test_a_changed_arbiter_is_noticed(diagrams: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Arbiter, "expire", lambda self, now: None)
    assert diagrams.PAGE.read_text("utf-8") != diagrams.page()


def test_every_state_of_the_arbiter_is_driven(diagrams: Any) -> None:
    edges = diagrams.arbiter_edges()
    assert {source for source, _, _ in edges} == {target for _, _, target in edges} == {"idle", "asked", "running"}
