"""Run the notebooks: by papermill with parameters, each into a copy of its own, or in place to refresh what they show.

Command line: ``python -m dtnet_core.batch --help``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from .files import write_atomic

_UNSTABLE = ("execution", "papermill", "widgets")


def run_notebook(notebook: str | Path, output: str | Path, parameters: Mapping[str, object]) -> dict:
    """Execute one notebook by papermill, in the notebook's own folder.

    Parameters
    ----------
    notebook : path
        With a cell tagged "parameters".
    output : path
        The executed copy; written as it goes, so that a failure can be read in it.
    parameters : mapping
        Values that replace those of the parameters cell; names the notebook does not have are left out.

    Returns
    -------
    dict
        notebook, status ("ran" or "failed"), seconds, reason.
    """
    import papermill

    notebook, output = Path(notebook), Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    known = papermill.inspect_notebook(str(notebook))
    try:
        papermill.execute_notebook(
            str(notebook), str(output), {k: v for k, v in parameters.items() if k in known}, cwd=str(notebook.parent),
            kernel_name="python3", log_output=False, progress_bar=sys.stderr.isatty(),
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        status, reason = "failed", f"{error.ename}: {error.evalue} (see {output})"
    else:
        status, reason = "ran", ""
    return {
        "notebook": notebook.stem,
        "status": status,
        "seconds": round(time.monotonic() - started),
        "reason": reason,
    }


def refresh_notebook(notebook: str | Path) -> None:
    """Execute a notebook where it stands and store its outputs, without timestamps, atomically.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        When a cell fails; the file is then left as it was.
    """
    import nbformat
    from nbclient import NotebookClient

    path = Path(notebook)
    content = nbformat.read(path, as_version=4)
    client = NotebookClient(content, kernel_name="python3", timeout=None, record_timing=False,
                            resources={"metadata": {"path": str(path.parent)}})  # fmt: skip
    client.execute()
    for part in (content, *content.cells):
        for key in _UNSTABLE:
            part.metadata.pop(key, None)
    for cell in content.cells:  # progress bars and warnings are for the one who waits, not for the stored copy
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    write_atomic(path, nbformat.writes(content) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the notebooks named on the command line; gives the number that failed."""
    parser = argparse.ArgumentParser(description="Execute the kit's notebooks with papermill.")
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--profile", default="mini", choices=("mini", "full"))
    parser.add_argument(
        "--output", default="build/reproduce", type=Path, help="folder of the executed copies"
    )
    parser.add_argument(
        "--in-place", action="store_true", help="refresh the stored outputs instead (profile mini)"
    )
    options = parser.parse_args(arguments)
    if options.in_place:
        for notebook in options.notebooks:
            print(f"refreshing {notebook}", flush=True)
            refresh_notebook(notebook)
        return 0
    figures = options.output.resolve() / "figures"
    rows = []
    for notebook in options.notebooks:
        print(f"running {notebook} (profile {options.profile})", flush=True)
        rows.append(
            run_notebook(
                notebook,
                options.output / notebook.name,
                {"profile": options.profile, "figures_dir": str(figures)},
            )
        )
        print(f"  {rows[-1]['status']} after {rows[-1]['seconds']} s {rows[-1]['reason']}", flush=True)
    print(
        f"\n{pd.DataFrame(rows).to_string(index=False)}\n\nexecuted notebooks: {options.output}, figures: {options.output / 'figures'}"
    )
    return sum(row["status"] == "failed" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
