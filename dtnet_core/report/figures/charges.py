"""Born charges by models that did not see the formula, against computed ones."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from .theme import MUTED, ONE_COLUMN, SEQUENTIAL, figure


@figure
def charge_maps(record: Mapping) -> Figure:
    """Diagonal elements in each cell of computed and predicted charges, one panel a variant; the line: equal.

    Parameters
    ----------
    record : mapping
        `data/results/charges.json`.
    """
    edges, variants = np.array(record["bins"]), record["variants"]
    fig, axes = plt.subplots(1, len(variants), figsize=(ONE_COLUMN * len(variants), 2.9), squeeze=False)
    for ax, (name, found) in zip(axes.flat, variants.items(), strict=True):
        scores = found["seeds"][0]
        counts = np.ma.masked_equal(np.array(scores["histogram"]), 0)  # computed down, predicted across
        drawn = ax.pcolormesh(edges, edges, counts.T, norm=LogNorm(1, max(2, counts.max())), cmap=SEQUENTIAL, rasterized=True)
        ax.plot(edges, edges, color=MUTED, linewidth=0.7)
        ax.set(xlim=edges[[0, -1]], ylim=edges[[0, -1]], xticks=range(-8, 9, 4), yticks=range(-8, 9, 4), aspect="equal", xlabel="computed charge (e)", ylabel="predicted charge (e)")
        ax.set_title(f"{name}: MAE {scores['diagonal_mae']:.3f} e", fontsize=8)
        fig.colorbar(drawn, ax=ax, label="diagonal elements")
    return fig
