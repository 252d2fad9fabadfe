"""How the benchmarks measure: rounds of all cases in turn, medians, ratios to a floor of the same run, and the load.

A shared machine makes the microseconds of one run useless for the next; the ratio of two things that were measured
alternately in one run keeps. CPU time is counted where it is what matters, wall time only for what is waited for.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

#: One round of a case: gives its cost, in the unit of the table.
Case = Callable[[], float]


class Load:
    """How much of the machine others used while this program measured."""

    def __init__(self) -> None:
        self._wall, self._busy, self._own = time.monotonic(), _busy(), _own()

    def __str__(self) -> str:
        busy, own = _busy(), _own()
        cores = os.cpu_count() or 1
        if busy is None or self._busy is None:
            return f"load average {os.getloadavg()[0]:.1f} on {cores} cores" if hasattr(os, "getloadavg") else "unknown"
        used = (busy - self._busy) - (own - self._own)
        return f"others used {max(used, 0.0) / (time.monotonic() - self._wall) * 100:.0f} % of {cores * 100} %"


def _busy() -> float | None:
    """Seconds that all cores were busy, where the system says so."""
    try:
        with open("/proc/stat") as file:
            ticks = [int(number) for number in file.readline().split()[1:]]
    except OSError:
        return None
    return (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def interleaved(cases: Mapping[str, Case], rounds: int) -> dict[str, list[float]]:
    """Every case once per round, each round in an order of its own, after a round that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    order = list(cases)
    shuffle = random.Random(0).shuffle
    for number in range(rounds + 1):
        shuffle(order)
        for name in order:
            cost = cases[name]()
            if number:
                found[name].append(cost)
    return found


def show(title: str, found: Mapping[str, Sequence[float]], floor: str, *, unit: str = "µs", digits: int = 2) -> None:
    """One line per case: median, minimum, and the ratio of the medians to the floor's."""
    width = max(24, *(len(name) for name in found))
    print(f"{title + ', ' + unit:{width + 2}}{'median':>10}{'min':>10}{'ratio':>9}")
    least = statistics.median(found[floor])
    for name, costs in found.items():
        middle = statistics.median(costs)
        ratio = "floor" if name == floor else f"{middle / least:.2f}" if least else "–"
        print(f"  {name:{width}}{middle:10.{digits}f}{min(costs):10.{digits}f}{ratio:>9}")
    sys.stdout.flush()


def compare(title: str, cases: Mapping[str, Case], floor: str, *, rounds: int = 7, unit: str = "µs") -> None:
    show(title, interleaved(cases, rounds), floor, unit=unit)


def cpu_per(count: int, work: Callable[[], object]) -> float:
    """Microseconds of CPU for each of ``count`` things that ``work`` does."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / count * 1e6


class Pauses:
    """The longest time between two frames."""

    def __init__(self) -> None:
        self._last: float | None = None
        self.longest = 0.0

    def frame(self) -> None:
        now = time.monotonic()
        if self._last is not None:
            self.longest = max(self.longest, now - self._last)
        self._last = now


def percentile(numbers: Sequence[float], share: float) -> float:
    """``nan`` where there are none."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def rss_kib() -> float:
    """What this process holds in memory now (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def pin(core: int) -> None:
    """Keep this process on one core, where the system can: the server and the client then do not share one."""
    if hasattr(os, "sched_setaffinity"):
        available = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {available[core % len(available)]})
