"""What is said of screening: recalls of retrospective campaigns, enrichment, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .markdown import markdown_table
from .tables import mean_interval, plus_minus


def screening_table(studies: Sequence[Mapping]) -> str:
    """`data/results/screening.json` in Markdown: of the hidden crystals' true top 1 %, the share that three rounds found; by task and choice."""
    runs = [r | {"recall": r["by_round"][-1]["recall"], "found": sum(b["hits"] for b in r["by_round"])}
            for r in studies if (r["study"], r["profile"]) == ("retrospective", "full")]  # fmt: skip
    if not runs:
        return "not run yet"
    rows = []
    for (task, acquisition), group in pd.DataFrame(runs).groupby(["task", "acquisition"]):
        mean, half = mean_interval(group["recall"])
        rows.append({"task": task, "acquisition": acquisition, "seeds": len(group), "recall, 95 %": plus_minus(mean, half, 2),
                     "found": plus_minus(group["found"].mean(), group["found"].std(ddof=1), 1), "of": round(group["n_hidden"].mean() / 100)})  # fmt: skip
    return markdown_table(pd.DataFrame(rows))


def share_interval(hits: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of which `hits` of `n` were seen (E. B. Wilson, J. Am. Stat. Assoc. 22, 209, 1927)."""
    centre, spread = (hits + z**2 / 2) / (n + z**2), z * math.sqrt(hits * (n - hits) / n + z**2 / 4) / (n + z**2)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def enrichment_text(found: Sequence[Mapping]) -> str:
    """Enrichment records of a task, one a division into folds, in words; with the 95 % interval that so few hits leave, and that over the divisions."""
    first, hits = found[0], [r["hits"] for r in found]
    low, high = (share * first["n"] / first["top"] for share in share_interval(float(np.mean(hits)), first["top"]))
    text = f"of the true top {first['top']} of {first['n']:,} crystals, none of them known to the network, {np.mean(hits):.3g} are among its first {first['top']}: "
    text += f"{np.mean([r['enrichment'] for r in found]):.0f} times chance (95 %, as so few crystals are counted: {low:.0f} to {high:.0f}; "
    if len(found) == 1:
        return text + "one division into folds)"
    mean, half = mean_interval([r["enrichment"] for r in found])
    return text + f"{len(found)} divisions into folds with {min(hits)} to {max(hits)}, 95 % interval of their mean {mean - half:.0f} to {mean + half:.0f})"


def enrichment_lines(studies: Sequence[Mapping]) -> str:
    """Enrichment of both tasks, from `data/results/screening.json`, as a list."""
    found: dict[str, list[Mapping]] = {}
    for r in studies:
        if (r["study"], r["profile"]) == ("enrichment", "full"):
            found.setdefault(r["task"], []).append(r)
    return "\n".join(f"- {task}: {enrichment_text(runs)}." for task, runs in sorted(found.items()))
