"""Command line of the DFPT module: ``python -m dtnet_core.dfpt --help``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from ..base.files import DataFileError
from ..crystals.record import record_to_dict
from ..crystals.structures import InvalidStructureError, read_structure
from ..report import dfpt as report
from . import studies
from .inputs import DFPTError
from .parse import ENGINES
from .queue import run_many
from .seeds import SEED_FILE, SET_FILE, build_seed, load_set, merge_record, read_seeds
from .vasp import read_vasprun, write_vasp_inputs

ACTIONS = {
    "list": "every seed of the set: ok, its flags, or - (not computed yet)",
    "run": "compute records of the set again, by their ids",
    "build": "compute the seeds that the set does not have (all, or the ids given)",
    "compute": "compute crystals from structure files",
    "converge": "convergence study of records of the set (ids)",
    "recompute": "compute records from scratch and compare (ids, or five drawn at random)",
    "engines": "compute records (ids) with ABINIT, too, and compare",
    "compare": "hold the set against the Materials Project (data folder) and measured values",
    "document": "rewrite the tables of data/open_dfpt.md from the set and the stored studies",
    "write-vasp": "write VASP inputs for structure files, a folder each under --root",
    "read-vasp": "read finished vasprun.xml files; with --set, merge them into a set file",
}


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(
        prog="python -m dtnet_core.dfpt", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Dielectric tensors from first principles with free software.\n\n"
        + "\n".join(f"  {name:12s}{text}" for name, text in ACTIONS.items()),
    )  # fmt: skip
    parser.add_argument("action", choices=list(ACTIONS))
    parser.add_argument("names", nargs="*", help="ids of the set, or files")
    parser.add_argument("--root", type=Path, default=Path("dfpt_runs"), help="folder of the run folders")
    parser.add_argument("--set", type=Path, default=None, help="set file to merge into")
    parser.add_argument("--engine", choices=sorted(ENGINES), default="qe")
    parser.add_argument("--workers", type=int, default=1, help="jobs at a time, one core each")
    parser.add_argument("--timeout", type=float, default=None, help="limit of one stage, seconds")
    parser.add_argument("--ecut", type=float, default=None, help="cutoff, hartree; default: the pseudopotentials' hint")
    parser.add_argument("--no-relax", action="store_true", help="keep the geometry as it is given")
    parser.add_argument("--dry", action="store_true", help="print the records, leave the set file alone")
    options = parser.parse_intermixed_args(argv)
    try:
        _act(options, parser)
    except (DFPTError, InvalidStructureError, DataFileError, OSError) as error:
        parser.exit(1, f"{error}\n")


def _act(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    if options.action == "list":
        known = {r["id"]: r["flags"] or "ok" for r in load_set(options.set or SET_FILE)}
        for key in read_seeds():
            print(key, known.get(key, "-"))
    elif options.action in ("run", "build"):
        _compute_seeds(options, parser)
    elif options.action == "compute":
        jobs = [(Path(name).stem, partial(read_structure, name)) for name in options.names]
        _show(run_many(jobs, options.root, options.workers, options.set, engine=options.engine, timeout=options.timeout,
                       ecut=options.ecut, relax=not options.no_relax, command=partial(_compute_command, options)))  # fmt: skip
    elif options.action in ("converge", "recompute", "engines"):
        if not options.names and options.action != "recompute":
            parser.error(f"{options.action} needs at least one id")
        for row in getattr(studies, options.action)(options.names or None, options.root, options.workers):
            print(row)
    elif options.action == "compare":
        print(studies.compare()["median_percent"])
    elif options.action == "document":
        report.document()
    elif options.action == "write-vasp":
        for name in options.names:
            print(write_vasp_inputs(read_structure(name), options.root / Path(name).stem))
    else:
        for name in options.names:
            record = record_to_dict(read_vasprun(name))
            if options.set is not None:
                merge_record(record, options.set)
            print(_describe(record))


def _compute_seeds(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    target, seeds = options.set or SET_FILE, read_seeds(SEED_FILE)
    unknown = [key for key in options.names if key not in seeds]
    if unknown or (options.action == "run" and not options.names):
        parser.error(f"no seed named {unknown}; `list` shows them" if unknown else "run needs at least one id")
    known = {r["id"] for r in load_set(target)} if options.action == "build" else ()
    wanted = [k for k in options.names or seeds if k not in known]
    _show(run_many([(key, partial(build_seed, seeds[key])) for key in wanted], options.root, options.workers,
                   None if options.dry else target, engine=options.engine, timeout=options.timeout,
                   command=lambda key: f"python -m dtnet_core.dfpt run {key} --engine {options.engine}"))  # fmt: skip


def _compute_command(options: argparse.Namespace, key: str) -> str:
    """The command line that computes one of the files again, wherever its folder was."""
    [name] = [Path(name).name for name in options.names if Path(name).stem == key]
    words = [f"--engine {options.engine}", *([f"--ecut {options.ecut}"] if options.ecut else []), *(["--no-relax"] if options.no_relax else [])]
    return " ".join(["python -m dtnet_core.dfpt compute", name, *words])


def _show(results: dict[str, dict | str]) -> None:
    for key, result in results.items():
        print(f"{key}: {result}" if isinstance(result, str) else _describe(result))


def _describe(record: dict) -> str:
    rows = [f"{record['id']}: gap {record['gap_ev']} eV, flags {record['flags'] or 'none'}, {record.get('wall_s', '?')} s"]
    for name in ("eps_electronic", "eps_ionic", "eps_total"):
        if record[name] is not None:
            rows.append(f"  {name}: " + np.array2string(np.array(record[name]), precision=3).replace("\n", ""))
    return "\n".join(rows)


if __name__ == "__main__":
    main()
