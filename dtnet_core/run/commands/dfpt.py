"""`dtnet dfpt`: dielectric tensors from first principles with free software."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Command, among, group

app = group("Compute tensors from first principles, with free software.")

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="of the set; `dtnet dfpt list` shows them")]
SomeIds = Annotated[list[str], typer.Argument(metavar="ID...", help="of the set; `dtnet dfpt list` shows them")]
Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="structures: CIF, POSCAR, JSON, or any other file of one crystal; file#name of one with several")]
Root = Annotated[Path, typer.Option(help="folder of the run folders")]
SetFile = Annotated[Path | None, typer.Option("--set", help="set file to merge into")]
Engine = Annotated[str, typer.Option(metavar="qe|abinit", callback=among("dfpt.parse", "ENGINES"), help="Quantum ESPRESSO or ABINIT")]
Jobs = Annotated[int, typer.Option("--workers", help="jobs at a time, one core each")]
Timeout = Annotated[float | None, typer.Option(help="limit of one stage, seconds")]
Dry = Annotated[bool, typer.Option("--dry", help="print the records, leave the set file alone")]
RUNS = Path("dfpt_runs")


@app.command("list", cls=Command)
def list_seeds(set_file: SetFile = None) -> None:
    """Every seed of the set: ok, its flags, or - (not computed yet)."""
    from ...dfpt.seeds import SET_FILE, load_set, read_seeds

    known = {r["id"]: r["flags"] or "ok" for r in load_set(set_file or SET_FILE)}
    for key in read_seeds():
        print(key, known.get(key, "-"))


@app.command(cls=Command)
def run(ids: SomeIds, root: Root = RUNS, set_file: SetFile = None, engine: Engine = "qe", workers: Jobs = 1, timeout: Timeout = None, dry: Dry = False) -> None:
    """Compute records of the set again, by their ids."""
    _compute_seeds(ids, (), root, set_file, engine, workers, timeout, dry)


@app.command(cls=Command)
def build(ids: Ids = None, root: Root = RUNS, set_file: SetFile = None, engine: Engine = "qe", workers: Jobs = 1, timeout: Timeout = None, dry: Dry = False) -> None:
    """Compute the seeds that the set does not have (all, or the ids given)."""
    from ...dfpt.seeds import SET_FILE, load_set

    _compute_seeds(ids, {r["id"] for r in load_set(set_file or SET_FILE)}, root, set_file, engine, workers, timeout, dry)


@app.command(cls=Command)
def compute(
    files: Files,
    root: Root = RUNS,
    set_file: SetFile = None,
    engine: Engine = "qe",
    workers: Jobs = 1,
    timeout: Timeout = None,
    ecut: Annotated[float | None, typer.Option(help="cutoff, hartree; default: the pseudopotentials' hint")] = None,
    no_relax: Annotated[bool, typer.Option("--no-relax", help="keep the geometry as it is given")] = False,
) -> None:
    """Relax crystals from structure files and compute their tensors."""
    from ...crystals.sources import read_structure
    from ...dfpt.names import file_names, refuse_other_records
    from ...dfpt.queue import run_many

    words = [f"--engine {engine}", *([f"--ecut {ecut}"] if ecut else []), *(["--no-relax"] if no_relax else [])]
    names = file_names(files)
    refuse_other_records(_readable(names), set_file)
    jobs = [(key, partial(read_structure, name)) for name, key in names.items()]
    again = {key: Path(name).name for name, key in names.items()}
    _show(run_many(jobs, root, workers, set_file, engine=engine, timeout=timeout, ecut=ecut, relax=not no_relax,
                   command=lambda key: " ".join(["dtnet dfpt compute", again[key], *words])))  # fmt: skip


@app.command(cls=Command)
def converge(ids: SomeIds, root: Root = RUNS, workers: Jobs = 1) -> None:
    """Convergence study of records of the set."""
    _study("converge", ids, root, workers)


@app.command(cls=Command)
def recompute(ids: Ids = None, root: Root = RUNS, workers: Jobs = 1) -> None:
    """Compute records from scratch and compare (the ids given, or five drawn at random)."""
    _study("recompute", ids, root, workers)


@app.command(cls=Command)
def engines(ids: SomeIds, root: Root = RUNS, workers: Jobs = 1) -> None:
    """Compute records with ABINIT, too, and compare."""
    _study("engines", ids, root, workers)


@app.command(cls=Command)
def compare() -> None:
    """Hold the set against the Materials Project (data folder) and measured values."""
    from ...dfpt import studies

    print(studies.compare()["median_percent"])


@app.command(cls=Command)
def document() -> None:
    """Rewrite the tables of data/open_dfpt.md from the set and the stored studies."""
    from ...report import dfpt as report

    report.document()


@app.command("write-vasp", cls=Command)
def write_vasp(files: Files, root: Root = RUNS) -> None:
    """Write VASP inputs for structure files, a folder each under --root; files of one name get their folders' names, too."""
    from ...dfpt.vasp_files import write_many

    _report(write_many(files, root), str)


@app.command("read-vasp", cls=Command)
def read_vasp(files: Annotated[list[str], typer.Argument(metavar="FILE...", help="finished vasprun.xml files")], set_file: SetFile = None) -> None:
    """Read finished vasprun.xml files; with --set, merge them into a set file. One that is bad is listed, and the exit code is 1."""
    from ...dfpt.vasp_files import read_many

    _report(read_many(files, set_file), _describe)


def _report(results: Iterable[tuple[str, Any]], describe: Callable[[Any], str]) -> None:
    """Print what was done, then what failed; the exit code is 1 where anything did."""
    failed = []
    for name, result in results:
        if isinstance(result, Exception):
            failed.append(str(result) if name in str(result) else f"{name}: {result}")
        else:
            print(describe(result), flush=True)
    if failed:
        print("\n".join([f"{len(failed)} failed:", *failed]), file=sys.stderr)
        raise typer.Exit(1)


def _readable(names: Mapping[str, str]) -> dict:
    """Crystals by name of the files that can be read; the others are told when their turn comes."""
    from ...crystals.sources import read_structure
    from ...crystals.structures import InvalidStructureError

    found = {}
    for path, key in names.items():
        with suppress(InvalidStructureError, OSError):
            found[key] = read_structure(path)
    return found


def _compute_seeds(ids, known, root: Path, set_file: Path | None, engine: str, workers: int, timeout: float | None, dry: bool) -> None:
    from ...dfpt.queue import run_many
    from ...dfpt.seeds import SET_FILE, read_seeds, seed_jobs

    seeds = read_seeds()
    if unknown := [key for key in ids or () if key not in seeds]:
        raise ValueError(f"no seed named {', '.join(unknown)}; `dtnet dfpt list` shows them")
    _show(run_many(seed_jobs(key for key in ids or seeds if key not in known), root, workers, None if dry else set_file or SET_FILE, engine=engine, timeout=timeout,
                   command=lambda key: f"dtnet dfpt run {key} --engine {engine}"))  # fmt: skip


def _study(name: str, ids: list[str] | None, root: Path, workers: int) -> None:
    from ...dfpt import studies

    for row in getattr(studies, name)(ids or None, root, workers):
        print(row)


def _show(results: dict[str, dict | str]) -> None:
    for key, result in results.items():
        print(f"{key}: {result}" if isinstance(result, str) else _describe(result))
    if any(isinstance(result, str) for result in results.values()):  # the reason why there is no record
        raise typer.Exit(1)


def _describe(record: dict) -> str:
    import numpy as np

    rows = [f"{record['id']}: {record.get('functional') or 'functional unknown'}, gap {record['gap_ev']} eV, flags {record['flags'] or 'none'}, {record.get('wall_s', '?')} s"]
    for name in ("eps_electronic", "eps_ionic", "eps_total"):
        if record[name] is not None:
            rows.append(f"  {name}: " + np.array2string(np.array(record[name]), precision=3).replace("\n", ""))
    return "\n".join(rows)
