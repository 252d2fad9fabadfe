"""Hostile frames for Hypothesis, which finds the smallest that breaks a reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st

from kernl_rt.testing._hostile import Mutator, hostile_corpus

__all__ = ["hostile_messages"]

#: The corpus has frames of 4 MiB, which a shrunk example does not need.
_SMALL = 10_000


def hostile_messages(templates: Iterable[Mapping[str, Any]]) -> st.SearchStrategy[str | bytes]:
    """A frame of :func:`~kernl_rt.testing.hostile_frames`, or a small one of its fixed corpus.

    Raises:
        ValueError: ``templates`` is empty.
    """
    given = list(templates)
    if not given:
        raise ValueError("templates is empty: give at least one good frame to damage")
    fixed = [frame for frame in hostile_corpus().values() if len(frame) <= _SMALL]
    mutated = st.randoms(use_true_random=False).map(lambda random: Mutator(random, given).frame())
    return st.one_of(mutated, st.sampled_from(fixed))
