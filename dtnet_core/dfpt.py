"""Dielectric tensors from first principles with free software: run a crystal, restart, queue, regenerate.

    from dtnet_core import dfpt
    record = dfpt.run(structure, Path("runs/mgo"), record_id="mgo-rocksalt")

Two engines do it: Quantum ESPRESSO (`qe`) and ABINIT (`abinit`). A run is a folder and a list of stages (relax, ground,
response, ...), each an input and an output. A stage whose output has its closing words is never repeated, so a
killed run goes on where it stopped. The set that ships
with the kit is made and extended by ``python -m dtnet_core.dfpt build``; see ``data/open_dfpt.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from tqdm import tqdm

from . import dfpt_inputs as inputs
from .dfpt_inputs import DFPTError, Settings
from .dfpt_parse import ENGINES, judge, parse
from .dfpt_set import (
    SEED_FILE,
    SET_FILE,
    build_seed,
    load_set,
    locked,
    merge_record,
    read_seeds,
    write_atomic,
)

__all__ = ["DFPTError", "build_seed", "judge", "load_set", "merge_record", "parse", "run", "run_many"]


def programs(engine: str) -> dict[str, str]:
    """Paths of an engine's programs: environment variable (DTNET_PW, DTNET_PH, DTNET_ABINIT, ...) or search path.

    Raises
    ------
    DFPTError : one is missing; the message names the package.
    """
    found = {}
    for key, name in ENGINES[engine].PROGRAMS.items():
        path = shutil.which(os.environ.get(f"DTNET_{key.upper()}", name))
        if path is None:
            raise DFPTError(f"program '{name}' is not installed: {ENGINES[engine].PACKAGES}, or set "
                            f"DTNET_{key.upper()} to its path.")
        found[key] = path
    return found


def run_stage(folder: Path, stage: str, engine: str, program: str, text: str | Callable[[], str],
              timeout: float | None = None) -> float:
    """Run one program on one input unless its output is complete; returns the wall time of the stage in seconds.

    Raises
    ------
    DFPTError : the program ended without its closing words; the message has the last lines it wrote.
    """
    module = ENGINES[engine]
    output, seconds_file = folder / f"{stage}{module.SUFFIX}", folder / f"{stage}.seconds"
    if output.is_file() and module.completed(output.read_text(errors="replace")):
        return float(seconds_file.read_text()) if seconds_file.exists() else 0.0
    for old in folder.glob(f"{stage}{module.SUFFIX}*"):
        old.unlink()
    write_atomic(folder / module.input_name(stage), text() if callable(text) else text)
    log_path = output if module.SUFFIX == ".out" else folder / f"{stage}.log"
    env = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    start = time.monotonic()
    with open(log_path, "w") as log:
        try:
            subprocess.run([program, *module.arguments(stage)], cwd=folder, stdout=log, stderr=subprocess.STDOUT,
                           env=env, stdin=subprocess.DEVNULL, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise DFPTError(f"stage '{stage}' in {folder} ran over {timeout} s; allow more or use a smaller cell.") \
                from error
    seconds = time.monotonic() - start
    if not output.is_file() or not module.completed(output.read_text(errors="replace")):
        tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-25:])
        raise DFPTError(f"stage '{stage}' in {folder} did not end. Last lines of its output:\n{tail}")
    write_atomic(seconds_file, f"{seconds:.1f}")
    return seconds


def run(structure: Structure, folder: Path, record_id: str, engine: str = "qe", timeout: float | None = None,
        spacing: float | None = None, ecut: float | None = None, keep_files: bool = False) -> dict:
    """Relax a crystal with PBE and compute its dielectric tensors at the relaxed geometry.

    Parameters
    ----------
    structure : any setting; the standard primitive cell of it is what is computed and stored.
    folder : run folder; what is finished there is not computed again (its settings stay those it began with).
    engine : `qe` or `abinit`.
    timeout : limit for one stage, seconds.
    spacing, ecut : override the k-point spacing of the response part [1/angstrom] and the cutoff [hartree].

    Returns
    -------
    dict : one record of the set (schema in `data/open_dfpt.md`), `flags` filled by `judge`.

    Raises
    ------
    DFPTError : program or pseudopotentials missing, odd electron number, a metal, or a stage that did not end.
    """
    tools, folder = programs(engine), Path(folder)
    start = SpacegroupAnalyzer(structure, symprec=1e-3).get_primitive_standard_structure()
    pseudos = inputs.pseudos_of(start)
    occupied = inputs.valence_bands(start, pseudos)
    with locked(folder / "lock", wait=False):
        settings, seconds = _run_stages(start, pseudos, occupied, folder, tools, engine, timeout, spacing, ecut)
        used = {**settings.as_dict(), "pseudopotentials": {s: p.path.name for s, p in pseudos.items()},
                "pseudopotential_table": "SPMS (sparc-x-api 1.1.0)", "geometry": "PBE-relaxed cell and atoms"}
        record = {"id": record_id, **parse(folder, used, occupied), "wall_s": round(seconds, 1)}
        for path in () if keep_files else (p for pattern in ENGINES[engine].HEAVY for p in folder.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return record


def _run_stages(start: Structure, pseudos: dict, occupied: int, folder: Path, tools: dict, engine: str,
                timeout: float | None, spacing: float | None, ecut: float | None) -> tuple[Settings, float]:
    """All stages that are not finished yet; returns the settings and the seconds of all stages."""
    module, store = ENGINES[engine], folder / "settings.json"
    settings = Settings(**json.loads(store.read_text())) if store.exists() else \
        inputs.settings_for(start, pseudos, engine)
    if settings.engine != engine or (ecut and ecut != settings.ecut and store.exists()):
        raise DFPTError(f"{folder} holds a run with engine {settings.engine}, ecut {settings.ecut}: use another folder.")
    settings = replace(settings, ecut=ecut or settings.ecut)
    write_atomic(store, json.dumps(settings.as_dict()))
    first = next(iter(module.PROGRAMS))
    seconds: list[float] = []

    def launch(stage: str, text: str | Callable[[], str], program: str = first) -> str:
        seconds.append(run_stage(folder, stage, engine, tools[program], text, timeout))
        return (folder / f"{stage}{module.SUFFIX}").read_text(errors="replace")

    structure, gap, done = module.relax(start, pseudos, settings, folder, launch)
    relaxed = {"structure": structure.as_dict(), "gap": gap, "converged": done}
    write_atomic(folder / "relaxed.json", json.dumps(relaxed))
    if gap < 0.05:
        raise DFPTError(f"{start.formula} has a gap of {gap:.2f} eV after relaxation: a metal in PBE, refused.")
    if settings.ngkpt is None:
        settings = settings.with_mesh(*inputs.mesh(structure, spacing or inputs.response_spacing(gap)))
        write_atomic(store, json.dumps(settings.as_dict()))
    for stage, program in module.STAGES.items():
        launch(stage, partial(module.write_input, stage, structure, pseudos, settings, folder), program)
    return settings, sum(seconds)


def run_many(jobs: Iterable[tuple[str, Structure | Callable[[], Structure]]], root: Path, workers: int = 1, set_path: Path | None = None,
             timeout: float | None = None, engine: str = "qe", runner: Callable[..., dict] = run) -> dict[str, dict | str]:
    """Run a queue, one job a core, with a progress bar; each finished record is merged into `set_path` at once.

    A structure may be given as a function that makes it when its turn comes. A job that fails does not stop the others: its message is returned in place of the record and written to
    `<root>/<id>/error.txt`.
    """
    results: dict[str, dict | str] = {}
    with ThreadPoolExecutor(workers) as pool, tqdm(desc="DFPT", unit="crystal") as bar:
        futures = {
            pool.submit(lambda s, key: runner(s() if callable(s) else s, Path(root) / key, key, engine=engine, timeout=timeout), s, key):
            key for key, s in jobs
        }
        bar.reset(total=len(futures))
        for future in as_completed(futures):
            key = futures[future]
            try:
                record = future.result()
                record["command"] = f"python -m dtnet_core.dfpt run {key} --engine {engine}"
                write_atomic(Path(root) / key / "record.json", json.dumps(record))
                (Path(root) / key / "error.txt").unlink(missing_ok=True)
                if set_path:
                    merge_record(record, set_path)
                results[key] = record
            except DFPTError as error:
                results[key] = str(error)
                write_atomic(Path(root) / key / "error.txt", str(error))
            bar.update()
            bar.set_postfix_str(f"{key}: {'failed' if isinstance(results[key], str) else results[key]['flags'] or 'ok'}")
    return results


def _describe(record: dict) -> str:
    rows = [f"{record['id']}: gap {record['gap_ev']} eV, flags {record['flags'] or 'none'}, {record['wall_s']} s"]
    for name in ("eps_electronic", "eps_ionic", "eps_total"):
        rows.append(f"  {name}: " + np.array2string(np.array(record[name]), precision=3).replace("\n", ""))
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> None:
    """Command line: `run ID...` regenerates records of the set, `build` computes the missing ones, `list` shows all."""
    parser = argparse.ArgumentParser(prog="python -m dtnet_core.dfpt", description=main.__doc__)
    parser.add_argument("action", choices=["run", "build", "list"])
    parser.add_argument("ids", nargs="*", help="ids of seeds (run), or a limit of ids for build")
    parser.add_argument("--root", type=Path, default=Path("dfpt_runs"), help="folder of the run folders")
    parser.add_argument("--set", type=Path, default=SET_FILE, help="set file to merge into")
    parser.add_argument("--seeds", type=Path, default=SEED_FILE)
    parser.add_argument("--engine", choices=sorted(ENGINES), default="qe")
    parser.add_argument("--workers", type=int, default=1, help="jobs at a time, one core each")
    parser.add_argument("--timeout", type=float, default=None, help="limit of one stage, seconds")
    parser.add_argument("--dry", action="store_true", help="print the records, leave the set file alone")
    options = parser.parse_intermixed_args(argv)
    seeds = read_seeds(options.seeds)
    known = {r["id"]: r for r in load_set(options.set)}
    unknown = [key for key in options.ids if key not in seeds]
    if unknown:
        parser.error(f"no seed named {unknown}; `list` shows them")
    if options.action == "list":
        for key in seeds:
            print(key, "-" if key not in known else known[key]["flags"] or "ok")
        return
    wanted = options.ids or [k for k in seeds if k not in known]
    if options.action == "run" and not options.ids:
        parser.error("run needs at least one id")
    jobs = [(key, partial(build_seed, seeds[key])) for key in wanted]
    results = run_many(jobs, options.root, options.workers, None if options.dry else options.set,
                       options.timeout, options.engine)
    for key, result in results.items():
        print(f"{key}: {result}" if isinstance(result, str) else _describe(result))


if __name__ == "__main__":
    main()
