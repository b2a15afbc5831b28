"""Figures of the kit's own DFPT: against other calculations, against measured values, and its convergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...data.comparison import percent
from .theme import MUTED, PALETTE, TARGET_LABELS, TWO_COLUMNS, figure, letter_panels, plain_log


@figure
def dfpt_parity(crystals: Sequence[Mapping]) -> Figure:
    """Tensor components of the set against the Materials Project's, one panel a tensor (a-c); (d) explains the outliers.

    Parameters
    ----------
    crystals : sequence of mappings
        "crystals" of `data/results/dfpt_comparison.json`.
    """
    fig, axes = plt.subplots(1, 4, figsize=(TWO_COLUMNS, 2.1))
    for ax, (part, label) in zip(axes, TARGET_LABELS.items(), strict=False):
        ours = np.array([c["ours"][part] for c in crystals])  # [n, 3]
        theirs = ours - np.array([c["difference"][part] for c in crystals])
        shown = (ours > 0.1) & (theirs > 0.1)
        _parity(ax, theirs[shown], ours[shown], label)
        ax.set(xlabel="Materials Project", ylabel="this set" if ax is axes[0] else "")
    volume = np.repeat([c["volume_percent"] for c in crystals], 3)
    for part, colour in (("electronic", PALETTE[0]), ("total", PALETTE[1])):
        axes[3].plot(volume, percent(crystals, part).ravel(), "o", color=colour, markersize=3, label=part)
    axes[3].axhline(0, color=MUTED, linewidth=0.5)
    axes[3].axvline(0, color=MUTED, linewidth=0.5)
    axes[3].set(xlabel="volume difference (%)", ylabel="deviation (%)")
    axes[3].legend(loc="upper left")
    letter_panels(axes)
    return fig


@figure
def measured_parity(rows: Sequence[Mapping]) -> Figure:
    """Computed against measured constants of cubic crystals: (a) electronic, (b) total.

    Parameters
    ----------
    rows : sequence of mappings
        "measured" of `data/results/dfpt_comparison.json`.
    """
    fig, axes = plt.subplots(1, 2, figsize=(5.2, 2.6))
    for ax, place, label in zip(axes, (0, 1), (TARGET_LABELS["electronic"], TARGET_LABELS["total"]), strict=True):
        x, y = (np.array([row[name][place] for row in rows]) for name in ("measured", "computed"))
        _parity(ax, x, y, label)
        far = np.argsort(-np.abs(np.log(y / x)))[:4]
        for i in far:
            ax.annotate(rows[i]["id"].split("-")[0], (x[i], y[i]), xytext=(-4, 3), textcoords="offset points", fontsize=6, ha="right")
        ax.set(xlabel="measured", ylabel="computed, PBE" if place == 0 else "")
    letter_panels(axes)
    return fig


@figure
def dfpt_convergence(rows: Sequence[Mapping]) -> Figure:
    """What other cutoffs and meshes change, in per cent of the tensor: (a) electronic, (b) total.

    Parameters
    ----------
    rows : sequence of mappings
        "rows" of `data/results/dfpt_convergence.json`.
    """
    names = list(dict.fromkeys(r["id"] for r in rows))
    variants = [v for v in dict.fromkeys(r["variant"] for r in rows) if v != "reference"]
    fig, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 0.22 * len(names) + 1.2), sharey=True)
    for ax, part in zip(axes, ("electronic", "total"), strict=True):
        for colour, variant in zip(PALETTE, variants, strict=False):
            chosen = {r["id"]: max(100 * r[f"change_{part}"], 1e-3) for r in rows if r["variant"] == variant}
            ax.plot([chosen.get(n, np.nan) for n in names], range(len(names)), "o", color=colour, label=variant)
        ax.axvline(1.0, color=MUTED, linewidth=0.6, linestyle=":")
        ax.set(xscale="log", xlabel=f"change of the tensor (%), {part}", ylim=(len(names) - 0.5, -0.5))
    axes[0].set_yticks(range(len(names)), names)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(variants))
    letter_panels(axes)
    return fig


def _parity(ax: Axes, x: np.ndarray, y: np.ndarray, title: str) -> None:
    low, high = min(x.min(), y.min()) * 0.85, max(x.max(), y.max()) * 1.2
    ax.plot([low, high], [low, high], color=MUTED, linewidth=0.6)
    ax.plot(x, y, "o", color=PALETTE[0], markersize=3, alpha=0.8)
    ax.set(xlim=(low, high), ylim=(low, high))
    plain_log(ax, "x", "y")
    ax.set_aspect("equal")
    ax.set_title(title)
