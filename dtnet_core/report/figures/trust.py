"""Answers for kinds of crystals that networks had not seen: errors, intervals, and whether doubt finds the errors."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .theme import MUTED, PALETTE, TWO_COLUMNS, figure, letter_panels

_CURVES = {"interval": "width of the interval", "distance": "distance from the training crystals", "error": "the error itself"}


@figure
def reach_panels(record: Mapping, target: str = "electronic") -> Figure:
    """By kind of crystal: error of former networks alone, of what ships, leaning on the guess, and of that with labels of the kind (a), share that 90 % intervals hold (b); error of what is left when doubtful answers go (c);
    by kind, how many answers are off by more than 25 %, and how many were told to be (d).

    Parameters
    ----------
    record : mapping
        `data/results/domain.json`: its first variant ships, the second has the labels of before, the third labels of the kind, the fourth these and the encoders of `best`; a fifth differs by modes, which no electronic tensor knows.
    target : {"electronic", "ionic", "total"}
    """
    ours, former = record["variants"][:2]
    kinds = {name.replace(" with an anion", "-X").replace("Zr Nb Mo Hf Ta W with Se Te", "(Zr...W)-(Se, Te)").replace("rare earth with N P As Sb Bi", "rare earth pnictides"): k for name, k in ours["kinds"].items()}
    fig, axes = plt.subplot_mosaic([["a", "b", "c"], ["a", "b", "d"]], figsize=(TWO_COLUMNS, 4.2), width_ratios=[1.1, 0.9, 1.1])
    left, middle, right, chances = axes.values()
    rows = np.arange(len(kinds))[::-1]
    before, after = [former["kinds"][k][target] for k in ours["kinds"]], [k[target]["leaning"] for k in ours["kinds"].values()]
    for ax, value, held in ((left, "mae_ten", None), (middle, "covered", "0.9")):
        for place, (scores, colour, label) in enumerate(((before, PALETTE[0], "fewer labels, networks alone"), (after, PALETTE[1], "as it ships"))):
            ax.plot([s[value] if held is None else s[value][held] for s in scores], rows, "os"[place], color=colour, markersize=3.5, label=label)
        ax.set_ylim(-0.6, len(kinds) - 0.4)
    left.set_yticks(rows, kinds, fontsize=6)
    left.set(xscale="log", xlabel=f"{target} MAE$_{{ten}}$")
    left.set_xticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
    left.minorticks_off()
    middle.set_yticks(rows, [])
    middle.axvline(0.9, color=MUTED, linewidth=0.7, linestyle=":")
    middle.set(xlabel="held by 90 % intervals", xlim=(0.4, 1.03))
    for told, marker, label in zip(record["variants"][2:4], "^v", ("of the kind too", "that, with encoders of best"), strict=False):
        known = [k in told["kinds"] for k in ours["kinds"]]
        left.plot([told["kinds"][k][target]["leaning"]["mae_ten"] for k in ours["kinds"] if k in told["kinds"]], rows[known], marker, color=PALETTE[2], markersize=3.5, markerfacecolor="none", label=label)
    fig.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=6)
    curves = ours["curves"][target]
    for (name, words), style in zip(_CURVES.items(), ("-", "--", ":"), strict=True):
        right.plot(100 * (1 - np.array(curves["kept"])), np.array(curves[name]) / curves[name][0], style, color=MUTED if name == "error" else PALETTE[2], label=words)
    right.set(xlabel="taken away, most doubtful first (%)", ylabel="error of the rest", xlim=(0, 95), ylim=(0, 1.05))
    right.legend(title="doubt is", title_fontsize=6, fontsize=5.5)
    for variant, of, marker, colour in ((ours, target, "s", PALETTE[1]), (record["variants"][-1], "total", "o", PALETTE[3])):
        for tail in (False, True):
            some = [k[of]["leaning"] for name, k in variant["kinds"].items() if name.startswith("largest") == tail]
            chances.plot([100 * s["chance"] for s in some], [100 * s["off_by_25"] for s in some], marker, color=colour, markersize=3.5, markerfacecolor="none" if tail else colour,
                         label=None if tail else f"{of}{', with modes' if of != target else ''}")  # fmt: skip
    chances.axline((0, 0), slope=1, color=MUTED, linewidth=0.7, linestyle=":")
    chances.set(xlabel="told to be off by more than 25 % (%)", ylabel="off (%)", xlim=(0, 50), ylim=(0, 70))
    chances.legend(title="open: the largest", title_fontsize=5.5, fontsize=5.5, loc="upper right")
    letter_panels([left, middle, right, chances])
    return fig
