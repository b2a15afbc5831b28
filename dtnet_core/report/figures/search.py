"""Figures of what was tried on the way to the joint models, and of how far their intervals can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .theme import (
    INK,
    MUTED,
    ONE_COLUMN,
    PALETTE,
    TARGET_LABELS,
    TWO_COLUMNS,
    figure,
    letter_panels,
    plain_log,
)


@figure
def road_changes(roads: Sequence[Mapping]) -> Figure:
    """Change of the validation MAE_ten that each road brings alone, in percent; small dots are single seeds.

    Parameters
    ----------
    roads : sequence of records
        Of `data/results/roads.json`; the first is what the others are measured from. Those with code of their own (`training.trials`), some of which
        start from another network, are left to the table in `experiments.md`.
    """
    plain, *others = (r for r in roads if "trial" not in r["changes"])
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


SETTINGS = {
    "size": ("size of the network", 1.0),
    "learning_rate": ("learning rate (1/1000)", 1e3),
    "weight_decay": ("weight decay (1/100)", 1e2),
    "batch_size": ("crystals a batch", 1.0),
    "ema": ("memory of averaged weights", 1.0),
    "electronic": ("weight of the electronic error", 1.0),
    "blocks": ("equivariant blocks", 1.0),
}
"""What the search varied, in words, and the unit that keeps its tick labels short."""


@figure
def search_trials(search: Mapping) -> Figure:
    """What the search found for each value of what it varied: complete trials (dots), the best one filled with another colour.

    Open triangles at the upper edge are trials whose error lies beyond the axis.

    Parameters
    ----------
    search : mapping
        `data/results/search.json`.
    """
    trials = sorted((t for t in search["trials"] if t["state"] == "COMPLETE"), key=lambda t: t["value"])
    names = [k for k in trials[0]["params"] if len({str(t["params"][k]) for t in trials}) > 1]
    rows = -(-len(names) // 4)
    fig, axes = plt.subplots(rows, 4, figsize=(TWO_COLUMNS, 1.7 * rows), sharey=True, squeeze=False)
    best, errors = trials[0]["value"], np.array([t["value"] for t in trials])
    inside = errors <= 1.25 * best  # the others failed altogether
    low, high = best, errors[inside].max()
    margin = 0.12 * (high - low) or 0.03 * best
    for ax, name in zip(axes.flat, names, strict=False):
        label, unit = SETTINGS.get(name, (name.replace("_", " "), 1.0))
        values = [t["params"][name] for t in trials]
        kinds = sorted(set(values))
        places = np.array(values) * unit if len(kinds) > 4 else np.array([kinds.index(v) for v in values])
        ax.plot(places[~inside], np.full((~inside).sum(), high + 1.5 * margin), "^", color=MUTED, markerfacecolor="white")
        ax.plot(places[inside][1:], errors[inside][1:], "o", color=PALETTE[0])
        ax.plot(places[:1], errors[:1], "o", color=PALETTE[5])
        if len(kinds) <= 4:
            ax.set_xticks(range(len(kinds)), kinds)
            ax.margins(x=0.3)
        elif unit != 1:
            plain_log(ax, "x")
        ax.set(xlabel=label, ylim=(low - margin, high + 2 * margin))
    for ax in axes[:, 0]:
        ax.set_ylabel("validation error")
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
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
