"""Run the notebooks: by papermill with parameters, each into a copy of its own, or in place to refresh what they show.

A run matrix (`notebooks/paper.yaml`) is many such runs, on this machine's cores, on SLURM or on a Dask scheduler that runs
already. What finished is never run again. Command line: ``dtnet notebooks --help``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pandas as pd

from ..base.cluster import connect, on_cluster
from ..base.files import locked, write_atomic

_ENTRY = ("notebook", "parameters", "over")
_UNSTABLE = ("execution", "papermill", "widgets")
_LINK = re.compile(r"\]\((\.\./[^)#\s]+)")
_WIDGET = "application/vnd.jupyter.widget-view+json"


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
    os.environ.setdefault("TQDM_MININTERVAL", "10")  # of the kernel's bars: each time one moves is a line of the executed notebook
    status, reason = "ran", ""
    try:
        known = papermill.inspect_notebook(str(notebook))
        papermill.execute_notebook(
            str(notebook), str(output), {k: v for k, v in parameters.items() if k in known}, cwd=str(notebook.parent),
            kernel_name="python3", log_output=False, progress_bar=sys.stderr.isatty(),
        )  # fmt: skip
        keep_links(output, notebook.parent)
    except papermill.PapermillExecutionError as error:
        status, reason = "failed", f"{error.ename}: {error.evalue} (see {output})"
    except Exception as error:  # no such notebook, a damaged one, a kernel that died, a full disk
        status, reason = "failed", f"{notebook}: {type(error).__name__}: {str(error).strip()[:500]}"
    return {"notebook": notebook.stem, "status": status, "seconds": round(time.monotonic() - started), "reason": reason}


def keep_links(copy: str | Path, folder: str | Path) -> None:
    """Make images and links of a notebook's texts that leave its `folder` ("../...") lead from the copy to the same files."""
    import nbformat

    copy, folder = Path(copy), Path(folder)

    def moved(link: re.Match) -> str:
        return "](" + Path(os.path.relpath((folder / link[1]).resolve(), copy.parent.resolve())).as_posix()

    content = nbformat.read(copy, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(moved, cell.source)
    write_atomic(copy, nbformat.writes(content) + "\n")


@dataclass(frozen=True)
class Task:
    """One run of a matrix: a notebook and its parameters."""

    notebook: Path
    parameters: dict = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Notebook, and what its code and the parameters hash to: another notebook or other parameters are another run."""
        try:
            code = [c["source"] for c in json.loads(self.notebook.read_text(encoding="utf-8"))["cells"]]
        except (OSError, ValueError, LookupError, TypeError):  # missing or damaged: its run fails, and says so
            code = []
        text = json.dumps([code, {k: v for k, v in self.parameters.items() if k != "figures_dir"}], sort_keys=True)
        return f"{self.notebook.stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_matrix(path: str | Path) -> list[Task]:
    """Tasks of a run matrix.

    The file is a YAML list; each entry has a `notebook` (file name beside the matrix, without suffix), `parameters` that are
    the same for all its runs, and `over`: lists of values, of which every combination is a run.

    Raises
    ------
    ValueError
        For what is no YAML list, an entry of another form, or a value that a notebook cannot be given; names file and entry.
    """
    import yaml

    path, tasks = Path(path).resolve(), []
    try:
        with path.open("rb") as file:  # its errors name the file then
            entries = yaml.safe_load(file)
    except (yaml.YAMLError, ValueError) as error:  # the latter for the 45th of a month
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path} is no list of runs; give entries with notebook, parameters and over")
    for number, entry in enumerate(entries, 1):
        notebook, parameters, over = (entry.get(k) for k in _ENTRY) if isinstance(entry, dict) else (None,) * 3
        parameters, over = ({} if given is None else given for given in (parameters, over))
        if (not isinstance(notebook, str) or set(entry) - set(_ENTRY) or not isinstance(parameters, dict) or not isinstance(over, dict)
                or not all(isinstance(v, list) and v for v in over.values())):  # fmt: skip
            raise ValueError(f"{path}, entry {number}: {entry!r} is no run; give notebook, and if need be parameters (values) and over (lists of values)")
        for key, value in [*parameters.items(), *over.items()]:
            try:
                json.dumps(value, sort_keys=True)
                if not isinstance(key, str):
                    raise TypeError("a name is text")
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}, entry {number} ({notebook}): {key} is {value!r}: {error}; put text in quotes, dates too") from error
        for values in product(*over.values()):
            tasks.append(Task(path.parent / f"{notebook}.ipynb", {**parameters, **dict(zip(over, values, strict=True))}))
    return tasks


def run_task(task: Task, output: str | Path) -> dict:
    """Run a task into ``<output>/<name>.ipynb``, unless ``<name>.json`` says that it ran; one process at a time.

    Returns
    -------
    dict
        task, and what `run_notebook` gives; with the status "skipped" when it ran before.
    """
    output, record = Path(output), Path(output) / f"{task.name}.json"
    with locked(output / task.name):
        before = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        if before.get("status") == "ran":
            return before | {"status": "skipped", "reason": "ran before"}
        parameters = {"figures_dir": str(output.resolve() / task.name)} | task.parameters
        row = {"task": task.name, "parameters": task.parameters} | run_notebook(task.notebook, output / f"{task.name}.ipynb", parameters)
        write_atomic(record, json.dumps(row, indent=1) + "\n")
        return row


def run_matrix(tasks: Sequence[Task], output: str | Path, client=None, workers: int | None = None, say=print) -> pd.DataFrame:
    """Run tasks, one a worker at a time; started again, it goes on with what did not run.

    Parameters
    ----------
    tasks : sequence of Task
    output : path
        Of executed notebooks, their figures and records, and ``table.csv``; all workers must see it under the same path.
    client, workers
        See `streaming.predict_stream`.
    say : callable
        Told of each run that ends.

    Returns
    -------
    pandas.DataFrame
        One row a task, in their order: task, notebook, parameters, status ("ran", "failed", "skipped"), seconds, reason.
    """
    found: dict[str, dict] = {}
    output = Path(output).resolve()

    def write(rows: list[dict]) -> None:
        found.update({row["task"]: row for row in rows})
        for row in rows:
            say(f"{row['status']:8s}{row['task']} {row['seconds']} s {row['reason']}")

    chunks = [[(task.name, task)] for task in {t.name: t for t in tasks}.values()]
    with connect(client, workers) as dask:
        if dask is None:
            for one in chunks:
                write(_run_chunk(one, str(output)))
            lost = {}
        else:
            lost = on_cluster(dask, _run_chunk, str(output), chunks, write, ahead=1)
    for [(name, task)] in chunks:
        if name in lost:
            write([{"task": name, "parameters": task.parameters, "notebook": task.notebook.stem, "status": "failed", "seconds": 0, "reason": lost[name]}])
    columns = ["task", "notebook", "parameters", "status", "seconds", "reason"]
    table = pd.DataFrame([found[name] for [(name, _)] in chunks], columns=columns)
    write_atomic(output / "table.csv", table.to_csv(index=False))
    return table


def _run_chunk(chunk: Sequence[tuple[str, Task]], output: str) -> list[dict]:
    return [run_task(task, output) for _, task in chunk]


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
    for cell in content.cells:  # progress bars and warnings are for the one who waits; what needs a kernel is dead in the stored copy
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr" and _WIDGET not in o.get("data", {})]
    write_atomic(path, nbformat.writes(content) + "\n")
