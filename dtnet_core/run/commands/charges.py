"""`dtnet charges`: Born effective charges of your own crystals, and the files that other programs read them from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Variant, imitated


def charges(
    paths: Annotated[list[Path], typer.Argument(metavar="FILES_OR_FOLDERS...", help="as for `dtnet predict`")],
    variant: Variant = "default",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="write them, too: .json, .csv (a row an atom), .xyz (extended, for ASE), or BORN (for phonopy, one crystal)")] = None,
) -> None:
    """Predict Born effective charges of your crystals, with intervals.

    Charges are symmetric 3x3 tensors in e, in the Cartesian frame of each structure as it was read; cell and order of atoms are kept. The interval of
    the mean diagonal element holds the computed one for 68 of 100 atoms of formulas that the model did not see. A BORN file has the
    electronic tensor of the same variant, too. A crystal that fails is listed with its reason; the exit code is then 1.
    """
    from ..charges import charges_of, kind_of, write_charges

    if output is not None:
        kind_of(output)
    found = list(charges_of(paths, variant))
    show(found, variant)
    if output is not None:

        def electronic(one):
            from ...ensemble import load_ensemble

            return load_ensemble("electronic", variant).predict(one.structure, progress=False).tensors[0]

        write_charges(found, output, electronic)
        print(f"written: {output}")
    if any(isinstance(one, Exception) for _, one in found):
        raise typer.Exit(1)


def show(found: list, variant: str) -> None:
    """Print charges as a table, alike atoms of an element together, and what failed below it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..prediction import reason_of

    console = Console()
    table = Table(title=f"Born effective charges in e ({variant})", box=box.SIMPLE, title_justify="left", padding=(0, 1, 0, 0))
    for name in ("crystal", "atoms"):
        table.add_column(name, overflow="fold")
    for name in ("charge", "68 %", "eigenvalues"):
        table.add_column(name, justify="right", no_wrap=True)
    failed = [(name, one) for name, one in found if isinstance(one, Exception)]
    for name, one in found:
        if not isinstance(one, Exception):
            for cells in alike(one):
                table.add_row(Text(name), *cells)
                name = ""
    if table.row_count:
        console.print(table)
        console.print(Text(imitated("PBEsol")), soft_wrap=True)
    for name, error in failed:
        console.print(Text(f"failed: {name}: {reason_of(name, str(error))}"), soft_wrap=True)


def alike(found) -> list[tuple[str, str, str, str]]:
    """Cells of a table for the atoms of a crystal: element and number, charge, half width, eigenvalues; atoms with the same cells are counted together."""
    from collections import Counter

    import numpy as np

    def number(x: float) -> str:
        return f"{round(x, 2) + 0.0:.2f}"

    cells = Counter(
        (site.specie.symbol, number(value), f"± {number(width)}", " ".join(number(x) for x in np.linalg.eigvalsh(tensor)))
        for site, value, width, tensor in zip(found.structure, found.isotropic, found.half_width, found.charges, strict=True)
    )
    return [(f"{element} × {count}", *rest) for (element, *rest), count in cells.items()]
