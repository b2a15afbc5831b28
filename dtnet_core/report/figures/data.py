"""Figures of the data: tensors, crystal systems and elements of a set of records (paper, Fig. 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from pymatgen.core import Element

from ...crystals.symmetry import crystal_system
from ...metrics import scalar_constant
from .theme import FAINT, INK, MUTED, ONE_COLUMN, PALETTE, SEQUENTIAL, TWO_COLUMNS, figure

if TYPE_CHECKING:
    from ...crystals.record import Record

SYSTEMS_BY_SYMMETRY = (
    "cubic", "hexagonal", "trigonal", "tetragonal", "orthorhombic", "monoclinic", "triclinic",
)  # fmt: skip
_SMALLEST_IONIC = 0.1  # smaller ionic constants are drawn on this line of the logarithmic axis


@figure
def electronic_ionic_map(records: Sequence[Record]) -> Figure:
    """Map of electronic against ionic constants, coloured by the total (paper, Fig. 4a).

    Parameters
    ----------
    records : sequence of Record
        Those without both an electronic and an ionic tensor are left out.

    Returns
    -------
    Figure
        Logarithmic axes with the distributions at the margins; thin curves join equal totals.
    """
    pairs = [(r.eps_electronic, r.eps_ionic) for r in records]
    pairs = [(e, i) for e, i in pairs if e is not None and i is not None]
    if not pairs:
        raise ValueError(f"none of the {len(records)} records has both an electronic and an ionic tensor")
    electronic, ionic = (scalar_constant([pair[k] for pair in pairs]) for k in (0, 1))
    total = electronic + ionic
    shown = np.maximum(ionic, _SMALLEST_IONIC)

    fig = plt.figure(figsize=(ONE_COLUMN + 0.7, ONE_COLUMN))
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = fig.add_gridspec(2, 3, width_ratios=(1, 0.22, 0.05), height_ratios=(0.22, 1))
    ax = fig.add_subplot(grid[1, 0])
    points = ax.scatter(
        electronic, shown, c=total, norm=LogNorm(2, 100), cmap=SEQUENTIAL, s=6, linewidths=0, alpha=0.85,
        rasterized=True,
    )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlim=(1, 110), ylim=(_SMALLEST_IONIC * 0.85, 120))
    ax.set(xlabel=r"electronic constant $\varepsilon^\infty$", ylabel=r"ionic constant $\varepsilon^0$")
    _equal_totals(ax)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"≤ {value:g}" if value <= _SMALLEST_IONIC else f"{value:g}")
    )
    fig.colorbar(points, cax=fig.add_subplot(grid[1, 2]), label=r"total constant $\varepsilon$", format="%g")

    top, right = fig.add_subplot(grid[0, 0], sharex=ax), fig.add_subplot(grid[1, 1], sharey=ax)
    look = {"bins": 30, "color": PALETTE[0], "alpha": 0.75, "linewidth": 0.3}
    sns.histplot(x=electronic, ax=top, **look)
    sns.histplot(y=shown, ax=right, **look)
    for axis, margin in ((top.yaxis, top), (right.xaxis, right)):
        axis.set_major_locator(MaxNLocator(2, integer=True))
        margin.tick_params(axis="x" if margin is top else "y", which="both", labelbottom=False, labelleft=False)
    top.set(xlabel="", ylabel="crystals")
    right.set(xlabel="crystals", ylabel="")
    top.set_title(f"{len(pairs):,} crystals", loc="right", color=MUTED)
    return fig


def _equal_totals(ax) -> None:
    """Thin labelled curves of equal electronic + ionic constant."""
    for level in (5, 10, 20, 50, 100):
        x = np.geomspace(1, level * 0.999, 200)
        ax.plot(x, level - x, color=INK, linewidth=0.5, linestyle=(0, (4, 3)), alpha=0.7)
        ax.annotate(
            rf"$\varepsilon={level}$", (level, _SMALLEST_IONIC), xytext=(-2, 14), textcoords="offset points",
            fontsize=6, color=INK, rotation=90, ha="right", va="bottom",
        )  # fmt: skip


@figure
def crystal_system_counts(records: Sequence[Record], systems: Sequence[str] | None = None) -> Figure:
    """Number of crystals of each crystal system (paper, Fig. 4b).

    Parameters
    ----------
    records : sequence of Record
    systems : sequence of str, optional
        Their crystal systems where they are known; otherwise found by symmetry (some milliseconds a crystal).
    """
    systems = [crystal_system(r.structure) for r in records] if systems is None else list(systems)
    counts = [systems.count(name) for name in SYSTEMS_BY_SYMMETRY]
    fig, ax = plt.subplots(figsize=(ONE_COLUMN, 2.4))
    bars = ax.bar([name.capitalize() for name in SYSTEMS_BY_SYMMETRY], counts, color=PALETTE[0], width=0.7)
    ax.bar_label(
        bars, [f"{count:,}\n{count / max(len(systems), 1):.0%}" for count in counts], padding=2, fontsize=7
    )
    ax.set(ylabel="crystals", ylim=(0, 1.22 * max(*counts, 1)))
    ax.tick_params(axis="x", rotation=35, bottom=False)
    plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
    return fig


@figure
def element_counts(records: Sequence[Record], supported: Collection[str] | None = None) -> Figure:
    """Periodic table of how many crystals hold each element (paper, Fig. 4c).

    Parameters
    ----------
    records : sequence of Record
    supported : collection of str, optional
        Element symbols that the encoder knows; the others are hatched. White: known, but in no crystal.
    """
    counts = Counter(e.symbol for r in records for e in set(r.structure.composition.elements))
    fig, ax = plt.subplots(figsize=(TWO_COLUMNS, 3.9))
    norm, colours = LogNorm(1, max([*counts.values(), 10])), plt.get_cmap(SEQUENTIAL)
    for number in range(1, 104):
        element = Element.from_Z(number)
        x, y = _place(element)
        count = counts.get(element.symbol, 0)
        unknown = supported is not None and element.symbol not in supported
        face = colours(norm(count)) if count else "white"
        hatch = {"hatch": "//////", "edgecolor": FAINT} if unknown and not count else {"edgecolor": "#BBBBBB"}
        ax.add_patch(Rectangle((x + 0.03, y + 0.03), 0.94, 0.94, facecolor=face, linewidth=0.5, **hatch))
        dark = count and np.dot(face[:3], (0.30, 0.59, 0.11)) < 0.52  # brightness as the eye sees it
        ink = "white" if dark else (MUTED if unknown else INK)
        ax.text(
            x + 0.5,
            y + 0.42,
            element.symbol,
            ha="center",
            va="center",
            fontsize=8,
            color=ink,
            fontweight="bold",
        )
        if count:
            ax.text(x + 0.5, y + 0.78, f"{count:,}", ha="center", va="center", fontsize=5.5, color=ink)
    for y, label in ((5.5, "La–Lu"), (6.5, "Ac–Lr")):
        ax.text(2.5, y, label, ha="center", va="center", fontsize=6, color=MUTED)
    ax.set(xlim=(0, 18), ylim=(9.6, 0), aspect="equal")
    ax.axis("off")
    _element_legend(fig, ax, plt.cm.ScalarMappable(norm, SEQUENTIAL), supported is not None)
    return fig


def _place(element: Element) -> tuple[float, float]:
    """Column and row of an element's box; the lanthanides and actinides below the others."""
    if element.Z in range(57, 72) or element.Z in range(89, 104):
        first, row = (57, 7.5) if element.Z < 80 else (89, 8.5)
        return element.Z - first + 2, row
    return element.group - 1, element.row - 1


def _element_legend(fig: Figure, ax, colours, with_unsupported: bool) -> None:
    """Colour bar and the meaning of white and hatched boxes, in the gap above the transition metals."""
    bar = ax.inset_axes([3 / 18, 1 - 1.0 / 9.7, 8 / 18, 0.32 / 9.7])
    fig.colorbar(colours, cax=bar, orientation="horizontal", format="%g")
    bar.set_title("crystals that hold the element", fontsize=7)
    keys = [("white", None, "supported, in no crystal" if with_unsupported else "in no crystal")] + [
        ("white", "//////", "not supported")
    ] * with_unsupported
    for index, (face, hatch, label) in enumerate(keys):
        x = 3.0 + 4.4 * index
        edge = FAINT if hatch else "#BBBBBB"
        ax.add_patch(
            Rectangle((x, 2.1), 0.5, 0.5, facecolor=face, hatch=hatch, edgecolor=edge, linewidth=0.5)
        )
        ax.text(x + 0.65, 2.36, label, fontsize=7, va="center")
