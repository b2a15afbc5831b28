"""Figures of what was tried on the way to the joint models, and of how far their intervals can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .theme import INK, MUTED, ONE_COLUMN, PALETTE, TARGET_LABELS, TWO_COLUMNS, figure, letter_panels


@figure
def road_changes(roads: Sequence[Mapping]) -> Figure:
    """Change of the validation MAE_ten that each road brings alone, in percent; small dots are single seeds.

    Parameters
    ----------
    roads : sequence of records
        Of `data/results/roads.json`; the first is what the others are measured from.
    """
    plain, *others = roads
    change = {
        target: np.array([100 * (np.array(r["validation_mae_ten"][target]) / plain["validation_mae_ten"][target] - 1) for r in others])
        for target in TARGET_LABELS
    }  # [roads, seeds]
    order = np.argsort(sum(values.mean(1) for values in change.values()))
    fig, axes = plt.subplots(1, 3, figsize=(TWO_COLUMNS, 0.2 * len(others) + 0.7), sharey=True)
    for ax, (target, values) in zip(axes, change.items(), strict=True):
        means = values.mean(1)[order]
        ax.barh(range(len(order)), means, color=[PALETTE[2] if m < 0 else PALETTE[5] for m in means], height=0.6)
        for seed in values[order].T:
            ax.plot(seed, range(len(order)), "o", color=INK, markersize=2)
        ax.axvline(0, color=MUTED, linewidth=0.6)
        ax.set(xlabel="change of error (%)", ylim=(len(order) - 0.5, -0.5))
        ax.set_title(TARGET_LABELS[target])
    axes[0].set_yticks(range(len(order)), [others[i]["road"] for i in order])
    letter_panels(axes)
    return fig


@figure
def reliability(records: Sequence[Mapping]) -> Figure:
    """Share of test crystals inside intervals against their nominal level; on the diagonal intervals keep their promise.

    Parameters
    ----------
    records : sequence of records
        Of `data/results/calibration.json`, of one variant; the band is one binomial deviation of the test crystals.
    """
    fig, ax = plt.subplots(figsize=(ONE_COLUMN, ONE_COLUMN))
    levels = np.linspace(0, 1, 101)
    deviation = np.sqrt(levels * (1 - levels) / records[0]["n_test"])
    ax.fill_between(levels, levels - deviation, levels + deviation, color=MUTED, alpha=0.25, linewidth=0)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.6)
    for colour, record in zip(PALETTE, records, strict=False):
        ax.plot(record["levels"], record["coverage"], "o-", color=colour, label=TARGET_LABELS[record["target"]])
    ax.set(xlabel="nominal level", ylabel="share of test crystals inside", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.legend(loc="upper left")
    return fig
