"""For VASP users: the inputs of the paper's DFPT validation (Section 5.5), and finished runs as records.

POTCAR files are licensed and never needed here: their names are written to POTCAR.spec.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from ase import units
from pymatgen.core import Structure

from ..crystals.record import Record, record_from_dict
from ..crystals.structures import structure_to_dict, validate_structure
from ..crystals.symmetry import point_group_rotations, symmetry_violation
from .inputs import DFPTError, DFPTStopped
from .parse import judge, unchecked

INCAR = {"ENCUT": 600, "ISMEAR": 0, "SIGMA": 0.05, "EDIFF": 1e-7, "ALGO": "Fast", "PREC": "Accurate"}
"""Section 5.5 of the paper; what it leaves open (DFPT switches, Hubbard U, MAGMOM, POTCAR) is the Materials Project's."""

K_POINTS_PER_RECIPROCAL_ATOM = 3000
_FUNCTIONALS = {"PE": "PBE", "--": "PBE", "PS": "PBEsol", "RP": "RPBE", "91": "PW91"}
_ROOT_TO_CM1 = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm  # sqrt(eV / (angstrom^2 u)) in 1/cm


def write_vasp_inputs(structure: Structure, folder: Path | str, **incar) -> Path:
    """Write INCAR, KPOINTS, POSCAR and POTCAR.spec of a DFPT run with VASP, in the frame of `structure`.

    Parameters
    ----------
    structure : pymatgen Structure
        Computed as it is: Section 5.5 names no relaxation.
    folder : path
        Made when missing; files of those names are replaced.
    **incar
        INCAR tags that override the paper's.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    structures.InvalidStructureError
        Partial occupancies, atoms on top of each other and the like.
    DFPTError
        An element without POTCAR in the Materials Project's choice.
    """
    from pymatgen.io.vasp.inputs import Kpoints
    from pymatgen.io.vasp.sets import MPStaticSet

    validate_structure(structure)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on POTCAR files, which nobody needs here
        inputs = MPStaticSet(
            structure, lepsilon=True, user_incar_settings=INCAR | incar,
            user_kpoints_settings=Kpoints.automatic_density(structure, K_POINTS_PER_RECIPROCAL_ATOM),
        )  # fmt: skip
        try:
            inputs.write_input(str(folder), potcar_spec=True)
        except (KeyError, ValueError) as error:
            raise DFPTError(f"no VASP inputs for {structure.composition.reduced_formula}: {error}") from error
    return Path(folder)


def read_vasprun(path: Path | str, record_id: str | None = None) -> Record:
    """The record of a finished DFPT run with VASP (LEPSILON, IBRION 7 or 8), judged like the kit's own runs.

    Parameters
    ----------
    path : path of vasprun.xml, also compressed (.gz).
    record_id : default: the name of the run's folder.

    Returns
    -------
    Record
        Tensors in the frame of the structure in the file; `meta["unchecked"]` names the flags that the file has no
        numbers for. A run without lattice response gives the electronic tensor and the flag "incomplete".

    Raises
    ------
    DFPTError
        The file is missing, cut off (`DFPTStopped`: while VASP runs, it is), or holds no dielectric tensor.
    """
    from monty.io import zopen
    from pymatgen.io.vasp.outputs import Vasprun

    path = Path(path)
    if not path.is_file():
        raise DFPTError(f"{path}: no such file; give the vasprun.xml of a finished run.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = Vasprun(path, parse_dos=False, parse_potcar_file=False)
        with zopen(path, "rb") as stream:
            born = _born_charges(stream)
    except (SyntaxError, OSError, ValueError, AttributeError, KeyError, IndexError) as error:  # XML errors are SyntaxErrors
        raise DFPTStopped(f"{path} is not a whole vasprun.xml ({error}): did the run end?") from error
    electronic, ionic = (_tensor(t) for t in (run.epsilon_static, run.epsilon_ionic))
    if electronic is None:
        raise DFPTError(f"{path} holds no dielectric tensor: the run needs LEPSILON = .TRUE.")
    structure, total = run.final_structure, None if ionic is None else electronic + ionic
    rotations = point_group_rotations(structure, symprec=1e-3)
    worst = max(symmetry_violation(t, rotations) for t in (electronic, total) if t is not None)
    item = {
        "id": record_id or path.resolve().parent.name,
        "formula": structure.composition.reduced_formula,
        "structure": structure_to_dict(structure),
        "eps_electronic": electronic, "eps_ionic": ionic, "eps_total": total,
        "symmetry_violation": worst,
        "born_charges": None if born is None else born.tolist(),
        "gamma_frequencies_cm1": _frequencies(run),
        "gap_ev": float(run.eigenvalue_band_properties[0]),
        "settings": {"engine": "vasp", **{k: run.parameters.get(k) for k in ("ENMAX", "EDIFF", "ISMEAR", "SIGMA", "PREC")},
                     "k_points": [list(map(int, k)) for k in run.kpoints.kpts], "potcar": list(run.potcar_symbols)},
        "flags": [] if run.converged_electronic else ["not-converged"],
        "functional": _functional(run.parameters), "code": f"VASP {run.vasp_version}", "source": "vasp",
    }  # fmt: skip
    item["flags"], item["unchecked"] = judge(item), unchecked(item)
    return record_from_dict(item, file=path.name)


def _tensor(rows) -> np.ndarray | None:
    """Symmetric part [3, 3] of what the file has, None for nothing."""
    tensor = np.array(rows, dtype=float)
    return (tensor + tensor.T) / 2 if tensor.shape == (3, 3) else None


def _born_charges(stream) -> np.ndarray | None:
    """Born charges [N, 3, 3] in e (atom, field, displacement) of a vasprun.xml, or None."""
    for _, element in ElementTree.iterparse(stream):
        if element.tag == "array" and element.get("name") == "born_charges":
            return np.array([[[float(x) for x in v.text.split()] for v in atom] for atom in element.findall("set")])
    return None


def _frequencies(run) -> list[float] | None:
    """Frequencies at Gamma in 1/cm, ascending, negative = imaginary; VASP prints -omega^2 in eV / (angstrom^2 u)."""
    squares = getattr(run, "normalmode_eigenvals", None)
    if squares is None:
        return None
    squares = -np.array(squares, dtype=float)
    return np.sort(np.sign(squares) * np.sqrt(np.abs(squares)) * _ROOT_TO_CM1).round(3).tolist()


def _functional(parameters) -> str:
    name = parameters.get("METAGGA")
    if name in (None, "", "--", "None"):
        name = _FUNCTIONALS.get(str(parameters.get("GGA", "PE")).strip().upper(), f"GGA {parameters.get('GGA')}")
    return f"{name}+U" if parameters.get("LDAU") else name
