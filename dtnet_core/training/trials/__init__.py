"""Roads that need code of their own, each measured as those of `search` are (`dtnet train search`).

All but the last ones start from one network on `nequix-oam-1-pft` and the benchmark's own labels, the road "encoder: nequix-oam-1-pft instead". Force constants are taken from disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ...base.results import load_results
from ...metrics import mae_ten
from ..joint import PARTS
from ..search import PLAIN, ROADS, SEARCHED, SEEDS, add_road, changed, run_roads
from .common import Said, task
from .modes import mended, modes_as_input, modes_as_task, modes_end_to_end
from .others import as_shipped, bonds, distilled, kernel_beside, rank_three, snapshots

TRIALS: dict[str, Callable[[int], Said]] = {
    "modes: mended by the companion": mended,
    "modes: sums as input": modes_as_input,
    "modes: sum as a further task": modes_as_task,
    "modes: charges and force constants corrected, end to end": modes_end_to_end,
    "kernel beside the network": kernel_beside,
    "three snapshots of one network": snapshots,
    "layer 4 of 7net-0": bonds(False),
    "layer 4 of 7net-0 with its bonds": bonds(True),
    "rank 3": rank_three,
    "as shipped, one nequix-oam-1-pft": as_shipped([0]),
    "as shipped, two nequix-oam-1-pft": as_shipped([0, 2]),
    "as shipped, nequix-oam-1-pft and nequix-omat-1": as_shipped([0, 1]),
    "as shipped, two of each": as_shipped([0, 1, 2, 3]),
    "as shipped, these four distilled into one nequix-oam-1-pft": distilled,
}


NAMES = (*ROADS, *TRIALS)


def run(names: Sequence[str], results: str | Path) -> None:
    """Measure roads of `search.ROADS` and `TRIALS` that the results file does not hold yet."""
    run_roads([name for name in names if name in ROADS], results)
    recipe = changed(PLAIN, members=SEARCHED.members)
    for name in names:
        if name in ROADS:
            continue
        if any(r["road"] == name for r in load_results(results)):
            print(f"{name} not measured now: {results} has it", flush=True)
            continue
        started, scores = time.monotonic(), {t: [] for t in (*PARTS, "total")}
        for seed in SEEDS:
            said, truth = TRIALS[name](seed)
            for k, target in enumerate(scores):
                scores[target].append(mae_ten(truth[:, k], said[:, k]))
        add_road(results, name, {"trial": name}, scores, recipe, task().checksum, started)
