"""`dtnet predict`: tensors of your own crystals, with how certain they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import TARGETS, Variant, among, imitated

SOFT = "Where a crystal has soft vibrations, as many oxides with high constants do, its ionic part can be several times larger than said here."
ANY = 90
"""Degrees: an axis that may be any, `trust.principal.UNDETERMINED`."""


def predict(
    paths: Annotated[list[Path], typer.Argument(metavar="FILES_OR_FOLDERS...", help="CIF, POSCAR, what ASE reads, folders of them, or files of many crystals (JSON, CSV, parquet, ASE .db)")],
    target: Annotated[str, typer.Option(metavar=TARGETS, callback=among("crystals.record", "TARGETS"), help="which dielectric tensor")] = "total",
    variant: Variant = "default",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="write the answers, too: .parquet, .csv or .json")] = None,
) -> None:
    """Predict dielectric tensors of your crystals, with intervals.

    Tensors are in the Cartesian frame of each structure as it was read. The intervals of the dielectric constant (mean of the diagonal)
    hold the true one for 68 and for 90 of 100 crystals like those of the tests; those of the eigenvalues and the angles of their axes are for 68.
    Off: the chance that the constant is off by more than 25 %. An axis of 90° may point anywhere. What the networks imitate are calculations (DFPT with PBE), not measurements. A crystal that fails is listed with its reason; the exit
    code is then 1.
    """
    from ..prediction import check_ending, predict_rows, write_rows

    if output is not None:
        check_ending(output)
    from ...ensemble import load_ensemble

    rows = list(predict_rows(load_ensemble(target, variant), paths))
    show(rows, target, variant)
    if output is not None:
        write_rows(rows, output, target=target, variant=variant)
        print(f"written: {output}")
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


def show(rows: list[dict], target: str, variant: str) -> None:
    """Print rows of `prediction.predict_rows` as a table, and what failed below it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..prediction import reason_of

    console = Console()
    good, failed = [r for r in rows if not r["error"]], [r for r in rows if r["error"]]
    if good:
        tensors = [(matrix(r["tensor"]), f"{r['constant']:.2f}", f"± {r['half_width_68']:.2f}", f"± {r['half_width_90']:.2f}", chance(r)) for r in good]
        axes = [eigenvalues(r) for r in good]
        for title, names, rows_of in ((f"{target} dielectric tensors ({variant})", ("tensor", "constant", "68 %", "90 %", "off"), tensors),
                                      ("eigenvalues (68 %), how far their axes may be off, and the axes (x y z)", ("lowest", "middle", "highest"), axes)):  # fmt: skip
            table = Table(title=title, box=box.SIMPLE, title_justify="left", padding=(0, 1, 0, 0))
            table.add_column("crystal", overflow="fold")
            table.add_column("formula", overflow="fold")
            for name in names:
                table.add_column(name, justify="right", no_wrap=True)
            for row, cells in zip(good, rows_of, strict=True):
                table.add_row(Text(row["id"]), row["formula"], *cells)
            console.print(table)
    if any(row["axes_angle"] and max(row["axes_angle"]) >= ANY for row in good):
        console.print(Text(f"0°: symmetry fixes the axis. {ANY}° and a dash: any axis will do, of the plane of two equal eigenvalues, or of all space."), soft_wrap=True)
    if any(row.get("off_25") is not None for row in good):
        console.print(Text("off: the chance that the constant is off by more than 25 %."), soft_wrap=True)
    if good:
        console.print(Text(imitated("PBE") + ("" if target == "electronic" else f" {SOFT}")), soft_wrap=True)
    for row in good:
        for words in (likeness(row), row["warnings"]):
            if words:
                console.print(Text(f"{row['id']}: {words}"), soft_wrap=True)
    for row in failed:
        console.print(Text(f"failed: {row['id']}: {reason_of(row['id'], row['error'])}"), soft_wrap=True)


def chance(row: dict) -> str:
    """That the constant is off by more than a quarter, in whole percent; "-" where it is not known."""
    return "-" if row.get("off_25") is None else "< 1 %" if row["off_25"] < 0.01 else f"{100 * row['off_25']:.0f} %"


def likeness(row: dict) -> str:
    """That a crystal is like the training crystals, in words; "" where it is not, of which its warnings tell, or where that is not known."""
    if not row["in_domain"] or row["distance"] is None:
        return ""
    return f"like the training crystals (distance {row['distance']:.1f}; nearest: {row['nearest']})"


def eigenvalues(row: dict) -> list[str]:
    """Three cells, each with the half width of its 68 % interval, the angle of its axis, and below the axis, or - where it may be any; as far as they are known."""
    if not (row["eigenvalues_68"] and row["axes_angle"]):
        return [f"{value:.2f}" for value in row["eigenvalues"] or ()]
    return [f"{value:.2f} ± {half:.2f}, {angle:.0f}°\n{'-' if angle >= ANY else direction(axis)}"
            for value, half, angle, axis in zip(row["eigenvalues"], row["eigenvalues_68"], row["axes_angle"], row["axes"], strict=True)]  # fmt: skip


def direction(axis: list[float]) -> str:
    """A unit vector with two decimals; of both signs the one whose largest part is positive."""
    sign = 1 if max(axis, key=abs) > 0 else -1
    return " ".join(f"{round(sign * x, 2) + 0.0:.2f}" for x in axis)


def matrix(tensor: list[list[float]]) -> str:
    """Three lines of three numbers with two decimals, without negative zeros."""
    return "\n".join(" ".join(f"{round(value, 2) + 0.0:6.2f}" for value in row) for row in tensor)
