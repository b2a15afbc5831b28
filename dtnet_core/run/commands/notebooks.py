"""`dtnet notebooks`: run the kit's notebooks, one by one or as a matrix, or refresh what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Command, Profile, Scheduler, Workers, group

app = group("Run the kit's notebooks, or refresh what they show.")

Notebooks = Annotated[list[Path], typer.Argument(metavar="NOTEBOOK...", help="such as notebooks/*.ipynb")]


@app.command(cls=Command)
def run(
    notebooks: Notebooks,
    profile: Profile = "mini",
    output: Annotated[Path, typer.Option(help="folder of the executed copies and their figures")] = Path("build/reproduce"),
) -> None:
    """Execute notebooks, each into a copy of its own."""
    from ...run import batch

    figures, rows = output.resolve() / "figures", []
    for notebook in notebooks:
        print(f"running {notebook} (profile {profile})", flush=True)
        rows.append(batch.run_notebook(notebook, output / notebook.name, {"profile": profile, "figures_dir": str(figures)}))
        print(f"  {rows[-1]['status']} after {rows[-1]['seconds']} s {rows[-1]['reason']}", flush=True)
    _finish(rows, output)


@app.command(cls=Command)
def refresh(notebooks: Notebooks) -> None:
    """Execute notebooks where they stand and store their outputs (profile mini)."""
    from ...run import batch

    for notebook in notebooks:
        print(f"refreshing {notebook}", flush=True)
        batch.refresh_notebook(notebook)


@app.command(cls=Command)
def pages(
    notebooks: Notebooks,
    output: Annotated[Path, typer.Option(help="folder of the pages")] = Path("build/pages"),
) -> None:
    """Write stored notebooks as HTML pages, every figure with its words."""
    from ...run.pages import write_page

    for notebook in notebooks:
        print(write_page(notebook, output))


@app.command(cls=Command)
def matrix(
    file: Annotated[Path, typer.Argument(metavar="MATRIX", help="such as notebooks/paper.yaml")],
    notebooks: Annotated[list[Path] | None, typer.Argument(metavar="[NOTEBOOK]...", help="only runs of these")] = None,
    output: Annotated[Path | None, typer.Option(help="default build/ and the matrix's name")] = None,
    scheduler: Scheduler = None,
    workers: Workers = None,
    record: Annotated[Path | None, typer.Option(help="a JSON file to keep the table in, with hardware and commit")] = None,
) -> None:
    """Execute every run of a matrix, on cores, SLURM or Dask; what ran is skipped."""
    from ...base.results import provenance, write_json
    from ...run import batch

    tasks, chosen = batch.read_matrix(file), {notebook.stem for notebook in notebooks or ()}
    known = {t.notebook.stem for t in tasks}
    if chosen - known:
        raise ValueError(f"{file} has no run of {', '.join(sorted(chosen - known))}; it has {', '.join(sorted(known))}")
    tasks = [t for t in tasks if not chosen or t.notebook.stem in chosen]
    output = output or Path("build") / file.stem
    rows = batch.run_matrix(tasks, output, scheduler, workers, lambda text: print(text, flush=True)).to_dict("records")
    if record is not None:
        write_json(record, {"workers": workers or 1, "runs": rows} | provenance())
    _finish(rows, output)


def _finish(rows: list[dict], output: Path) -> None:
    """Show what ran and end with an error where something failed."""
    import pandas as pd

    print(f"\n{pd.DataFrame(rows).to_string(index=False)}\n\nexecuted notebooks and figures: {output}")
    if any(row["status"] == "failed" for row in rows):
        raise typer.Exit(1)
