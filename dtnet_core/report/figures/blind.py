"""The blind test of the shipped weights: computed against predicted constants of crystals that no file of their training holds."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from .theme import MUTED, ONE_COLUMN, SEQUENTIAL, figure, plain_log


@figure
def blind_maps(record: Mapping) -> Figure:
    """Crystals in each cell of computed and predicted electronic constants, one panel a variant; lines: equal, and 25 % off.

    Parameters
    ----------
    record : mapping
        `data/results/blind.json`.
    """
    edges, variants = np.array(record["bins"]), record["variants"]
    fig, axes = plt.subplots(1, len(variants), figsize=(ONE_COLUMN * len(variants), 2.9), squeeze=False)
    for ax, found in zip(axes.flat, variants, strict=True):
        counts = np.ma.masked_equal(np.array(found["histogram"]), 0)  # computed down, predicted across
        drawn = ax.pcolormesh(edges, edges, counts.T, norm=LogNorm(1, max(2, counts.max())), cmap=SEQUENTIAL, rasterized=True)
        for factor, style in ((1.0, "-"), (1.25, ":"), (0.75, ":")):
            ax.plot(edges, factor * edges, style, color=MUTED, linewidth=0.7)
        ax.set(xscale="log", yscale="log", xlim=(1.3, 40), ylim=(1.3, 40), aspect="equal", xlabel="computed constant", ylabel="predicted constant")
        plain_log(ax, "x", "y")
        ax.set_title(f"{found['variant']}: median error {100 * found['median_relative_error']:.1f} %", fontsize=8)
        fig.colorbar(drawn, ax=ax, label="crystals")
    return fig
