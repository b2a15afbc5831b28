"""Timing that survives a busy machine: candidates take turns, and ratios are medians over the turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Times = dict[str, list[tuple[float, float]]]
"""For each candidate, (wall, processor) seconds of every repetition."""


def alternate(candidates: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> Times:
    """Run all candidates in turns: A B C, C B A, A B C ...

    Parameters
    ----------
    candidates : mapping of name to function without arguments
    repeats : int
        Timed turns.
    warm_up : int
        Turns before, that do not count.
    """
    times: Times = {name: [] for name in candidates}
    names = list(candidates)
    for turn in range(-warm_up, repeats):
        for name in names if turn % 2 == 0 else reversed(names):
            wall, cpu = time.perf_counter(), time.process_time()
            candidates[name]()
            elapsed = (time.perf_counter() - wall, time.process_time() - cpu)
            if turn >= 0:
                times[name].append(elapsed)
    return times


def median_seconds(times: Times, name: str) -> float:
    """Median wall seconds of a candidate."""
    return statistics.median(wall for wall, _ in times[name])


def median_ratio(times: Times, name: str, other: str, clock: str = "wall") -> float:
    """Median over the turns of time(name) / time(other); `clock` is "wall" or "cpu"."""
    k = {"wall": 0, "cpu": 1}[clock]
    return statistics.median(a[k] / b[k] for a, b in zip(times[name], times[other], strict=True))


def busyness(times: Times) -> float:
    """Median of wall over processor time: 1 on an idle machine; well above 1, other programs were in the way."""
    return statistics.median(wall / max(cpu, 1e-9) for runs in times.values() for wall, cpu in runs)


def seconds_of(action: Callable[[], object]) -> tuple[object, dict[str, float]]:
    """The result of an action, and its wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = action()
    return result, {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
