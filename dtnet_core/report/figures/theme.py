"""One look for every figure: sizes, fonts, colours, panel letters, and files without timestamps."""

from __future__ import annotations

import functools
import io
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ...base.files import write_atomic
from .describe import Drawn

ONE_COLUMN, TWO_COLUMNS = 3.5, 7.2
"""Figure widths in inches: one column (89 mm) and the full width (183 mm) of a page."""

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito's eight colours, told apart by all forms of colour vision."""

SEQUENTIAL = "viridis"
INK, MUTED, FAINT = "#222222", "#777777", "#DDDDDD"

TARGET_LABELS = {
    "electronic": r"electronic, $\varepsilon^\infty$",
    "ionic": r"ionic, $\varepsilon^0$",
    "total": r"total, $\varepsilon$",
}
METRIC_LABELS = {
    "mae_ten": r"MAE$_\mathrm{ten}$",
    "mae_mean_diag": r"MAE$_\mathrm{mean‐diag}$",
    "mae_diag": r"MAE$_\mathrm{diag}$",
    "mae_off_diag": r"MAE$_\mathrm{off‐diag}$",
    "mae_eig": "eigenvalue MAE",
    "mae_scalar": "scalar MAE",
    "rmse_ten": r"RMSE$_\mathrm{ten}$",
    "correlation": "correlation of the scalar",
    "median_frobenius": "median Frobenius error",
}

_RC = {
    "figure.dpi": 120,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "figure.facecolor": "white",  # opaque, whatever page it is on: black text stays legible in a dark theme
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.bottom": True,
    "ytick.left": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # embed TrueType: text stays text
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "dtnet",
}


@contextmanager
def style() -> Iterator[None]:
    """Context in which figures get the project's look; nothing outside it changes."""
    with sns.axes_style("ticks"), plt.rc_context(_RC), sns.color_palette(PALETTE):
        yield


def figure(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator of the plot functions: draw under `style`, and hand out a figure that pyplot does not hold and that can say what it shows.

    A notebook then shows the figure once, where it is returned, and no figure outlives its use.
    """

    @functools.wraps(draw)
    def styled(*args, **kwargs) -> Figure:
        before = set(plt.get_fignums())
        try:
            with style():
                drawn = draw(*args, **kwargs)
                drawn.__class__ = Drawn
                return drawn
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)

    return styled


def letter_panels(axes: Sequence[Axes]) -> None:
    """Write a, b, c, ... in bold at the upper left of each of `axes`."""
    for letter, ax in zip(string.ascii_lowercase, axes, strict=False):
        ax.set_title(letter, loc="left", fontweight="bold", fontsize=9)


def plain_log(ax: Axes, *axes: str) -> None:
    """Make the "x" or "y" axis of `ax` logarithmic, with plain numbers as labels, for its present limits."""
    for name in axes:
        axis = getattr(ax, f"{name}axis")
        ax.set(**{f"{name}scale": "log"})
        low, high = getattr(ax, f"get_{name}lim")()
        decades = np.log10(high / low)
        labelled = (1, 2, 3, 4, 6, 8) if decades < 0.8 else (1, 2, 5) if decades < 2.2 else (1,)
        axis.set_major_locator(LogLocator(subs=labelled))
        axis.set_minor_locator(LogLocator(subs=range(1, 10)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def save(fig: Figure, path: str | Path) -> tuple[Path, Path]:
    """Write a figure as PNG (200 dpi) and PDF, atomically and without timestamps: same figure, same bytes.

    Parameters
    ----------
    fig : matplotlib Figure
    path : path
        With or without a suffix; missing folders are made.

    Returns
    -------
    tuple of Path
        The PNG and the PDF file.
    """
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (".png", ".pdf") else path
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    written = []
    for kind, fields in metadata.items():
        target = stem.with_name(f"{stem.name}.{kind}")
        with style(), io.BytesIO() as drawn:
            fig.savefig(drawn, format=kind, dpi=200, metadata=fields)
            write_atomic(target, drawn.getvalue())
        written.append(target)
    return tuple(written)


def kept(drawn: Figure, name: str, folder: str | Path | None = None) -> Figure:
    """The figure itself; with a folder it is saved there first."""
    if folder is not None:
        save(drawn, Path(folder) / name)
    return drawn
