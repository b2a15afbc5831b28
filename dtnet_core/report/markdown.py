"""Tables in Markdown, and blocks of Markdown files that are made from results."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from ..base.files import write_atomic


def markdown_table(table: pd.DataFrame) -> str:
    """A table in Markdown: column names, then one line a row, values as they print."""
    rows = [list(map(str, table)), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def percent(share: float | None, digits: int = 0) -> str:
    """0.123 as "12 %"; "-" for None."""
    return "-" if share is None else f"{round(100 * share, digits):g} %"


def update_block(path: str | os.PathLike, mark: str, text: str) -> None:
    """Rewrite what stands between ``<!-- mark -->`` and ``<!-- end of mark -->`` in a Markdown file, atomically.

    Raises
    ------
    ValueError
        When the file has no such marks.
    """
    path, marks = Path(path), (f"<!-- {mark} -->", f"<!-- end of {mark} -->")
    before, first, rest = path.read_text(encoding="utf-8").partition(marks[0])
    _, last, after = rest.partition(marks[1])
    if not (first and last):
        raise ValueError(f"{path} has no part between {marks[0]} and {marks[1]}")
    write_atomic(path, f"{before}{first}\n{text}\n{last}{after}")
