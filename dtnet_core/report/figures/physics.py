"""What the crystal's vibrations are worth: errors without and with them, and rutile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .theme import METRIC_LABELS, MUTED, PALETTE, TARGET_LABELS, TWO_COLUMNS, figure, letter_panels

_NAMES = {"best": "networks", "physics": "with modes"}


@figure
def modes_gain(runs: Sequence[Mapping], known: Mapping, crystal: str, measured: tuple[float, float]) -> Figure:
    """Errors of the same networks without and with modes, a line a split (a); a crystal's total constants across and along its axis (b).

    Parameters
    ----------
    runs : sequence of records
        Of `data/results/physics.json`, random splits.
    known : mapping
        `data/results/known_physics.json`.
    crystal : str
        One of its crystals, uniaxial along z.
    measured : (float, float)
        Its constants across and along the axis.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 2.3))
    for place, target in enumerate(("ionic", "total")):
        for run in (r for r in runs if r["target"] == target and r["split"] == "record"):
            left.plot([3 * place, 3 * place + 1], [run["without"]["mae_ten"], run["mae_ten"]], "o-", color=PALETTE[place], linewidth=0.8, markersize=3)
    left.set_xticks([0, 1, 3, 4], ["networks", "with modes"] * 2)
    left.set(ylabel=METRIC_LABELS["mae_ten"], xlim=(-0.6, 4.6), ylim=(0, None))
    for place, target in enumerate(("ionic", "total")):
        left.text(3 * place + 0.5, 0.05, TARGET_LABELS[target], ha="center")
    names = [name for name in _NAMES if name in known["variants"]]
    for place, name in enumerate(names):
        row = next(r for r in known["variants"][name] if r["name"] == crystal)
        values = np.array(row["total"]["tensor"])
        for axis, (value, colour) in enumerate(zip((values[0][0], values[2][2]), PALETTE[2:4], strict=True)):
            right.plot(place + 0.1 * (2 * axis - 1), value, "os"[axis], color=colour, label=("across", "along")[axis] if not place else None)
    for value, colour in zip(measured, PALETTE[2:4], strict=True):
        right.axhline(value, color=colour, linewidth=0.8, linestyle=":")
    right.text(len(names) - 0.45, np.mean(measured), "measured", color=MUTED, ha="right", va="center")
    right.set_xticks(range(len(names)), [_NAMES[n] for n in names])
    right.set(ylabel=f"total constants of {crystal}", xlim=(-0.5, len(names) - 0.4), ylim=(0, None))
    right.legend(loc="lower right")
    letter_panels([left, right])
    return fig
