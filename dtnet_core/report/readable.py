"""Tables for readers: few rows, words and units for column names, a caption."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

WORDS = {
    "mae_ten": "MAE of the tensor",
    "mae_mean_diag": "MAE of the diagonal's mean",
    "mae_diag": "MAE of the diagonal",
    "mae_off_diag": "MAE off the diagonal",
    "mae_eig": "MAE of the eigenvalues",
    "mae_scalar": "MAE of the constant",
    "median_frobenius": "median error (Frobenius norm)",
    "within_25": "within 25 %",
    "within_10": "within 10 %",
    "within_5": "within 5 %",
    "rmse_ten": "RMSE of the tensor",
    "correlation": "correlation of the constant",
    "n_train": "training crystals",
    "gap_ev": "band gap (eV)",
    "n_atoms": "atoms",
    "eps": "constant",
    "eps_electronic": "electronic constant",
    "eps_ionic": "ionic constant",
    "spacegroup": "space group",
    "runs": "splits",
    "paper": "the paper",
    "wall_s": "seconds",
    "best_epoch": "best epoch",
}
"""What the keys of results are called in a table."""


class Table(Styler):
    """A styled table whose text form is the plain one."""

    digits = 2

    def __repr__(self) -> str:
        return self.data.to_string(float_format=f"{{:.{self.digits}f}}".format, na_rep="–")


def matrix(tensor: np.ndarray, digits: int = 2) -> str:
    """A tensor [3, 3] as three lines of text, without signs on zeros."""
    return "\n".join("  ".join(f"{value + 0.0:8.{digits}f}" for value in row) for row in np.round(np.asarray(tensor, float), digits))


def readable(table: pd.DataFrame | Mapping | Sequence, caption: str, digits: int = 2, rows: int | None = 10, index: bool = False,
             lowest: Sequence[str] = ()) -> Table:  # fmt: skip
    """A table as a reader wants it.

    Parameters
    ----------
    table : DataFrame, or what makes one
    caption : str
        What it says, with the unit where all numbers share one.
    digits : int
        Behind the point.
    rows : int, optional
        At most so many; the caption then says how many there are. None: all.
    index : bool
        Whether the index is shown.
    lowest : sequence of str
        Columns whose lowest value is in bold.

    Returns
    -------
    Table
        With the same ids each time it is made.
    """
    table = pd.DataFrame(table)
    if rows is not None and len(table) > rows:
        caption, table = f"{caption} (first {rows} of {len(table)})", table.head(rows)
    table = table.rename(columns=WORDS, index=WORDS)
    styled = table.style.format(precision=digits, na_rep="–", thousands=",").set_caption(caption).set_uuid(f"{zlib.crc32(caption.encode()):08x}")
    styled = styled.set_table_styles([{"selector": "caption", "props": "text-align: left; font-weight: bold; padding-bottom: 0.4em"}])
    if lowest:
        styled = styled.highlight_min([WORDS.get(name, name) for name in lowest], props="font-weight: bold")
    styled.__class__ = Table
    styled.digits = digits
    return styled if index else styled.hide(axis="index")
