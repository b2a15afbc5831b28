"""Quantum ESPRESSO as a DFPT engine: the inputs it reads and the outputs it writes.

pw.x computes forces and stresses for the relaxation, band edges and ground state, ph.x the response to atomic displacements and to an
electric field at Gamma (Baroni et al., Rev. Mod. Phys. 73, 515, 2001), dynmat.x sums the ionic part. It works on the
irreducible k-points only, which makes it the faster engine for symmetric crystals. Rydberg inside.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import units
from pymatgen.core import Element, Structure

from .inputs import DFPTError, Pseudo, Settings, irreducible, point_rotations, valence_bands
from .relax import relax as relax_structure
from .upf import psp8_to_upf

PROGRAMS = {"pw": "pw.x", "ph": "ph.x", "dynmat": "dynmat.x"}
PACKAGES = "`apt-get install quantum-espresso libopenblas0` (Debian, Ubuntu) or `conda install -c conda-forge qe`"
STAGES = {"ground": "pw", "response": "ph", "dynmat": "dynmat"}
SUFFIX = ".out"
HEAVY = ("tmp*", "*.upf")
RELAX_CUTOFF = 1.1  # stresses converge more slowly with the cutoff than responses do
_NUMBER = r"[-+]?\d+\.\d*(?:[EeDd][-+]?\d+)?"


def input_name(stage: str) -> str:
    """Name of a stage's input file."""
    return f"{stage}.in"


def state_folder(stage: str, folder: Path) -> Path | None:
    """Where a killed ph.x left what it had done of the response to the present ground state; None when there is nothing."""
    state, ground = folder / "tmp/_ph0/x.phsave/status_run.xml", folder / "ground.out"
    newer = stage == "response" and state.exists() and ground.exists() and state.stat().st_mtime > ground.stat().st_mtime
    return folder / "tmp/_ph0" if newer else None


def forget(stage: str, folder: Path) -> None:
    """Remove what is left of the response to another ground state: ph.x would take it for its own when it is killed and goes on."""
    if stage == "response":
        shutil.rmtree(folder / "tmp/_ph0", ignore_errors=True)


def arguments(stage: str) -> list[str]:
    """Command-line arguments of a stage."""
    return ["-in", f"{stage}.in"]


def _kpoints(structure: Structure, ngkpt, shifts) -> str:
    points, weights = irreducible(structure, ngkpt, shifts)
    rows = "\n".join(" ".join(f"{x:.12f}" for x in k) + f" {w}" for k, w in zip(points, weights, strict=True))
    return f"K_POINTS crystal\n{len(points)}\n{rows}\n"


def _geometry(structure: Structure) -> str:
    symbols = dict.fromkeys(site.specie.symbol for site in structure)
    kinds = "\n".join(f"{s} {float(Element(s).atomic_mass):.5f} {s}.upf" for s in symbols)
    cell = "\n".join(" ".join(f"{x:.12f}" for x in row) for row in structure.lattice.matrix)
    atoms = "\n".join(f"{t.specie.symbol} " + " ".join(f"{x:.12f}" for x in t.frac_coords) for t in structure)
    return f"ATOMIC_SPECIES\n{kinds}\nCELL_PARAMETERS angstrom\n{cell}\nATOMIC_POSITIONS crystal\n{atoms}\n"


def write_input(stage: str, structure: Structure, pseudos: dict[str, Pseudo], settings: Settings, folder: Path) -> str:
    """Text of a stage's input; writes the UPF files beside it. `gap` starts from the charge of the last `relax_*`."""
    if stage == "dynmat":
        return "&input\nfildyn='dyn' asr='simple' lperm=.true. filout='modes' filmol='' filxsf='' fileig=''\n/\n"
    if stage == "response":
        goes_on = str(state_folder(stage, folder) is not None).lower()
        return ("response\n&inputph\nprefix='x' outdir='./tmp' fildyn='dyn' tr2_ph=1e-14 epsil=.true. trans=.true.\n"
                f"search_sym=.false. reduce_io=.true. recover=.{goes_on}.\n/\n0 0 0\n")
    occupied = valence_bands(structure, pseudos)
    calculation, outdir, nbnd, threshold = {
        "relax": ("scf", "tmp_relax", occupied + 1, 1e-8),
        "gap": ("nscf", "tmp_relax", occupied + 2, 1e-8),
        "ground": ("scf", "tmp", occupied, 1e-13),
    }[stage.split("_")[0]]
    ngkpt, shifts, ecut = settings.ngkpt, settings.shifts, 2 * settings.ecut
    if outdir == "tmp_relax":
        ngkpt, shifts, ecut = settings.relax_ngkpt, settings.relax_shifts, ecut * RELAX_CUTOFF
    if calculation == "nscf":
        ngkpt, shifts = [max(2, 2 * round(n / 2)) for n in ngkpt], [[0, 0, 0]]
    for symbol, pseudo in pseudos.items():
        if not (folder / f"{symbol}.upf").exists():
            psp8_to_upf(symbol, pseudo.path, folder / f"{symbol}.upf")
    return (
        f"&control\ncalculation='{calculation}' prefix='x' outdir='./{outdir}' pseudo_dir='.' disk_io='low'\n"
        f"tprnfor=.true. tstress=.{str(outdir == 'tmp_relax').lower()}. "
        f"verbosity='{'high' if calculation == 'nscf' else 'low'}'\n/\n"
        f"&system\nibrav=0 nat={len(structure)} ntyp={len(pseudos)} ecutwfc={ecut:.2f} occupations='fixed' nbnd={nbnd}\n/\n"
        f"&electrons\nconv_thr={threshold:g} startingwfc='random' electron_maxstep=80\n/\n"
        + _geometry(structure) + _kpoints(structure, ngkpt, shifts)
    )


def relax(structure: Structure, pseudos: dict[str, Pseudo], settings: Settings, folder: Path,
          launch: Callable[[str, str], str]) -> tuple[Structure, float, bool]:
    """Relax cell and atoms; `launch(stage, input)` returns the output of one pw.x run.

    Returns
    -------
    structure, smallest gap [eV] on the relaxation's mesh and on a Gamma-centred one, whether the relaxation converged.
    """
    outputs: list[str] = []

    def evaluate(step: int, at: Structure):
        name = f"relax_{step:02d}"
        outputs.append(launch(name, write_input(name, at, pseudos, settings, folder)))
        return read_forces(outputs[-1], len(at))

    if settings.relax:
        final, done = relax_structure(structure, evaluate)
    else:
        final, done = structure, True
        evaluate(0, structure)
    outputs.append(launch("gap", write_input("gap", final, pseudos, settings, folder)))
    gap = min(read_gap(text) for text in outputs[-2:])
    return final, gap, done and all(converged(t) for t in outputs)


def read_forces(text: str, natom: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy [eV], forces [natom, 3] [eV/A] and stress [3, 3] [eV/A^3, positive: wants to shrink] of a pw.x output."""
    energy = re.findall(rf"^!\s+total energy\s+=\s+({_NUMBER}) Ry", text, re.M)
    forces = re.findall(rf"atom\s+\d+ type\s+\d+\s+force =\s+({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})", text)[:natom]
    rows = re.search(r"total\s+stress\s+\(Ry/bohr\*\*3\).*\n((?:.*\n){3})", text)
    if not energy or len(forces) != natom or not rows:
        raise DFPTError("no energy, forces or stress in the output of pw.x: the self-consistent cycle did not end.")
    stress = np.array([_floats(line)[:3] for line in rows.group(1).splitlines()])
    return (float(energy[-1]) * units.Ry, np.array(forces, float) * units.Ry / units.Bohr,
            -stress * units.Ry / units.Bohr**3)


def completed(text: str) -> bool:
    """Has the program written its closing words?"""
    return "JOB DONE." in text[-1500:]


def converged(text: str) -> bool:
    """Did every self-consistent cycle reach its tolerance?"""
    return not re.search("convergence NOT achieved|No convergence has been achieved", text)


def _floats(text: str) -> list[float]:
    return [float(x.replace("D", "E")) for x in re.findall(_NUMBER, text)]


def read_gap(text: str) -> float:
    """Gap [eV] on the k-points of the last calculation in an output; negative when bands overlap."""
    found = re.findall(rf"highest occupied, lowest unoccupied level \(ev\):\s+({_NUMBER})\s+({_NUMBER})", text)
    if not found:
        raise DFPTError("no band edges in the output: the run did not end, or no empty bands were computed.")
    return float(found[-1][1]) - float(found[-1][0])


def read_response(text: str, natom: int) -> tuple[np.ndarray, np.ndarray]:
    """Electronic tensor [3, 3] and raw Born charges [natom, 3, 3] (atom, field, displacement) of ph.x."""
    pieces = text.split("Dielectric constant in cartesian axis")
    if len(pieces) < 2 or "Effective charges (d Force / dE)" not in pieces[-1]:
        raise DFPTError("no dielectric tensor or effective charges in the response output: the run did not end.")
    tensor_text, charge_text = pieces[-1].split("Effective charges (d Force / dE)")[:2]
    charges = _floats(" ".join(re.findall(r"E[xyz]\s+\((.*?)\)", charge_text)))[: 9 * natom]
    return np.reshape(_floats(tensor_text)[:9], (3, 3)), np.reshape(charges, (natom, 3, 3))


def read_dynmat(text: str) -> dict:
    """Electronic and total tensors [3, 3], Gamma frequencies [cm^-1] and infrared activities of dynmat.x."""
    rows = r"\s*\n((?:\s+" + _NUMBER + r"){9})"
    electronic = re.search(r"Electronic dielectric permittivity tensor[^\n]*" + rows, text)
    total = re.search(r"with zone-center polar mode contributions" + rows, text)
    modes = re.findall(rf"^\s+\d+\s+({_NUMBER})\s+{_NUMBER}\s+({_NUMBER})", text, re.M)
    if not electronic or not total or not modes:
        raise DFPTError("no dielectric tensors in the dynmat output: the run did not end.")
    return {
        "eps_electronic": np.reshape(_floats(electronic.group(1)), (3, 3)),
        "eps_total": np.reshape(_floats(total.group(1)), (3, 3)),
        "frequencies": [float(m[0]) for m in modes],
        "strengths": [float(m[1]) for m in modes],
    }


def read(structure: Structure, folder: Path, texts: dict[str, str], occupied: int) -> dict:
    """Everything a record needs from the outputs of a finished run (`texts`: stage -> output)."""
    eps, born = read_response(texts["response"], len(structure))
    static = read_dynmat(texts["dynmat"])
    found = re.search(r"(\d+) Sym\. Ops\.", texts["ground"])
    operations = int(found.group(1)) if found else 1
    if operations != len(point_rotations(structure)):
        raise DFPTError(f"{folder}: pw.x found {operations} symmetry operations, the k-points assume "
                        f"{len(point_rotations(structure))}: the result would not have the crystal's symmetry.")
    if np.abs(static["eps_electronic"] - eps).max() > 1e-3 * np.abs(eps).max():
        raise DFPTError(f"{folder}: the electronic tensors of ph.x and dynmat.x differ: remove the folder, run again.")
    release = re.search(r"Program PHONON v\.?\s*(\S+)", texts["response"])
    return {
        "eps_electronic": eps, "eps_total": static["eps_total"], "born": born,
        "frequencies": static["frequencies"], "strengths": static["strengths"],
        "raw_frequencies": [float(x) for x in re.findall(rf"freq \(\s*\d+\).*=\s*({_NUMBER}) \[cm-1\]", texts["response"])],
        "version": f"Quantum ESPRESSO {release.group(1) if release else 'unknown'}",
    }
