"""One crystal through an engine: run the stages that are not finished, relax, choose the response mesh, make a record.

A run is a folder and a list of stages (relax, ground, response, ...), each an input and an output. A stage whose output
has its closing words is never repeated, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from ..base.files import locked, write_atomic
from ..crystals.structures import structure_from_dict, structure_to_dict
from . import inputs
from .inputs import DFPTError, DFPTStopped, Settings
from .parse import ENGINES, parse

REFINEMENT = 0.8
"""Factor on the k-point spacing when the Born charges show that the response mesh is too coarse."""


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

    Where the engine can, a killed program goes on from what it left behind; the time that it took before is counted, too.

    Raises
    ------
    DFPTError : the program ended without its closing words (`DFPTStopped`: it was killed); the message has the last lines it wrote. What a program left behind
        is removed when it failed to go on from it, so that the next try starts anew; when it was killed, it is kept.
    """
    module = ENGINES[engine]
    output, seconds_file = folder / f"{stage}{module.SUFFIX}", folder / f"{stage}.seconds"
    if output.is_file() and module.completed(output.read_text(errors="replace")):
        return float(seconds_file.read_text()) if seconds_file.exists() else 0.0
    left, spent_file, input_file = module.state_folder(stage, folder), folder / f"{stage}.spent", folder / module.input_name(stage)
    spent = float(spent_file.read_text()) if left and spent_file.exists() else 0.0
    if left and output.exists() and input_file.exists():
        spent += max(0.0, output.stat().st_mtime - input_file.stat().st_mtime)
        write_atomic(spent_file, f"{spent:.1f}")
    for old in folder.glob(f"{stage}{module.SUFFIX}*"):
        old.unlink()
    if left is None:
        module.forget(stage, folder)
    write_atomic(input_file, text() if callable(text) else text)
    log_path = output if module.SUFFIX == ".out" else folder / f"{stage}.log"
    env = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    start = time.monotonic()
    with open(log_path, "w") as log:
        try:
            ended = subprocess.run([program, *module.arguments(stage)], cwd=folder, stdout=log, stderr=subprocess.STDOUT,
                                   env=env, stdin=subprocess.DEVNULL, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise DFPTError(f"stage '{stage}' in {folder} ran over {timeout} s; allow more or use a smaller cell.") \
                from error
    seconds = spent + time.monotonic() - start
    if not output.is_file() or not module.completed(output.read_text(errors="replace")):
        killed = ended.returncode < 0  # and is not to blame
        if left and not killed:
            shutil.rmtree(left)
        tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-25:])
        raise (DFPTStopped if killed else DFPTError)(f"stage '{stage}' in {folder} did not end. Last lines of its output:\n{tail}")
    write_atomic(seconds_file, f"{seconds:.1f}")
    spent_file.unlink(missing_ok=True)
    return seconds


def run(structure: Structure, folder: Path, record_id: str, engine: str = "qe", timeout: float | None = None,
        spacing: float | None = None, ecut: float | None = None, relax: bool = True, keep_files: bool = False) -> dict:
    """Relax a crystal with PBE and compute its dielectric tensors at the relaxed geometry (or at the given one).

    Parameters
    ----------
    structure : any setting; the standard primitive cell of it is what is computed and stored.
    folder : run folder; what is finished there is not computed again (its settings stay those it began with).
    engine : `qe` or `abinit`.
    timeout : limit for one stage, seconds.
    spacing, ecut : override the k-point spacing of the response part [1/angstrom] and the cutoff [hartree].
    relax : False keeps cell and atoms as they are.
    keep_files : keep wavefunctions and densities.

    Returns
    -------
    dict : one record of the set (schema in `data/open_dfpt.md`), `flags` filled by `judge`.

    Raises
    ------
    DFPTError : program or pseudopotentials missing, odd electron number, a metal, or a stage that did not end.
    """
    tools, folder = programs(engine), Path(folder)
    start = inputs.standard_cell(structure)
    pseudos = inputs.pseudos_of(start)
    occupied = inputs.valence_bands(start, pseudos)
    with locked(folder / "run", wait=False):
        _refuse_other_crystal(start, folder)
        wanted = replace(inputs.settings_for(start, pseudos, engine), relax=relax)
        wanted = replace(wanted, ecut=ecut or wanted.ecut)
        seconds = 0.0
        while True:
            settings, more = _run_stages(start, pseudos, folder, tools, wanted, timeout, spacing)
            seconds += more
            used = {**settings.as_dict(), "pseudopotentials": {s: p.path.name for s, p in pseudos.items()},
                    "pseudopotential_table": "SPMS (sparc-x-api 1.1.0)", "geometry": "PBE-relaxed cell and atoms" if relax else "as given"}
            record = {"id": record_id, **parse(folder, used, occupied), "wall_s": round(seconds, 1)}
            if spacing or "charge-not-neutral" not in record["flags"] or not _refine(record, settings, folder):
                break
        for path in () if keep_files else (p for pattern in ENGINES[engine].HEAVY for p in folder.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return record


def _refine(record: dict, settings: Settings, folder: Path) -> bool:
    """Give a run folder a response mesh a fifth denser and take its response away; False where it is the densest already."""
    structure = structure_from_dict(record["structure"])
    spacing = REFINEMENT * inputs.mesh_spacing(structure, settings.ngkpt, settings.shifts)
    if spacing < inputs.DENSEST * REFINEMENT:
        return False
    denser = inputs.mesh(structure, spacing)
    for stage in ENGINES[settings.engine].STAGES:
        for path in folder.glob(f"{stage}.*"):
            path.unlink()
    write_atomic(folder / "settings.json", json.dumps(settings.with_mesh(*denser).as_dict()))
    return True


def _refuse_other_crystal(start: Structure, folder: Path) -> None:
    """Keep the crystal a run folder began with; another one must not go on from its outputs."""
    path, now = folder / "start.json", structure_to_dict(start)
    before = json.loads(path.read_text()) if path.exists() else now
    same = before["species"] == now["species"] and all(np.allclose(before[k], now[k], atol=1e-5) for k in ("lattice", "frac_coords"))
    if not same:
        raise DFPTError(f"{folder} holds a run of another crystal or geometry: use another folder.")
    write_atomic(path, json.dumps(before))


def _run_stages(start: Structure, pseudos: dict, folder: Path, tools: dict, wanted: Settings, timeout: float | None,
                spacing: float | None) -> tuple[Settings, float]:
    """All stages that are not finished yet; returns the settings and the seconds of all stages."""
    engine, module, store = wanted.engine, ENGINES[wanted.engine], folder / "settings.json"
    settings = Settings(**json.loads(store.read_text())) if store.exists() else wanted
    for name in ("engine", "ecut", "relax"):
        if getattr(settings, name) != getattr(wanted, name):
            raise DFPTError(f"{folder} holds a run with {name} = {getattr(settings, name)}, not {getattr(wanted, name)}: "
                            "use another folder.")
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
        settings = settings.with_mesh(*inputs.mesh(structure, spacing or inputs.response_spacing(gap, structure)))
        write_atomic(store, json.dumps(settings.as_dict()))
    for stage, program in module.STAGES.items():
        launch(stage, partial(module.write_input, stage, structure, pseudos, settings, folder), program)
    return settings, sum(seconds)
