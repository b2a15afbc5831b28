"""For VASP users: the inputs of the paper's DFPT validation (Section 5.5), and finished runs as records.

POTCAR files are licensed and never needed here: their names are written to POTCAR.spec.
"""

from __future__ import annotations

import re
import warnings
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from ase import units
from pymatgen.core import Structure

from ..crystals.record import Record, record_from_dict
from ..crystals.sources import read_structure
from ..crystals.structures import structure_to_dict, validate_structure
from ..crystals.symmetry import point_group_rotations, symmetry_violation
from .functional import functional_name
from .inputs import DFPTError, DFPTStopped
from .parse import judge, unchecked

INCAR = {"ENCUT": 600, "ISMEAR": 0, "SIGMA": 0.05, "EDIFF": 1e-7, "ALGO": "Fast", "PREC": "Accurate"}
"""Section 5.5 of the paper; what it leaves open (DFPT switches, Hubbard U, MAGMOM, POTCAR) is the Materials Project's."""

K_POINTS_PER_RECIPROCAL_ATOM = 3000
FRACTIONAL = 0.01
"""How far from empty and from full an occupied band of an insulator may be."""
_BROKEN = (OSError, EOFError, zlib.error, ValueError, TypeError, AttributeError, KeyError, IndexError)
_ROOT_TO_CM1 = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm  # sqrt(eV / (angstrom^2 u)) in 1/cm


def write_vasp_inputs(structure: Structure, folder: Path | str, **incar) -> Path:
    """Write INCAR, KPOINTS, POSCAR and POTCAR.spec of a DFPT run with VASP, in the frame of `structure`.

    Parameters
    ----------
    structure : pymatgen Structure
        Computed as it is: Section 5.5 names no relaxation.
    folder : path
        Made when missing. Inputs of the same crystal are replaced, those of another one never.
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
        An element without POTCAR in the Materials Project's choice; a folder with inputs of another crystal.
    """
    from pymatgen.io.vasp.inputs import Kpoints
    from pymatgen.io.vasp.sets import MPStaticSet

    validate_structure(structure)
    refuse_other_inputs(structure, folder)
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


def refuse_other_inputs(structure: Structure, folder: Path | str) -> None:
    """Keep the POSCAR that a folder has, unless it is that of `structure`.

    Raises
    ------
    DFPTError
        Naming the folder and both formulas.
    """
    path = Path(folder) / "POSCAR"
    if not path.exists():
        return
    try:
        there = read_structure(path, validate=False)
        same = _same_crystal(there, structure)
    except ValueError as error:
        raise DFPTError(f"{folder} has a POSCAR that cannot be read ({error}): use another folder") from error
    if not same:
        raise DFPTError(f"{folder} has the inputs of another crystal or geometry ({there.formula}; now {structure.formula}): use another folder")


def _same_crystal(one: Structure, other: Structure) -> bool:
    """Whether two structures are the same but for rounding and for atoms sorted by element, as POSCAR files are."""
    if len(one) != len(other) or one.composition != other.composition or not np.allclose(one.lattice.matrix, other.lattice.matrix, atol=1e-4):
        return False
    apart = one.lattice.get_all_distances(one.frac_coords, other.frac_coords)  # [N, N]
    alike = np.equal.outer([s.specie.Z for s in one], [s.specie.Z for s in other])
    return bool((np.where(alike, apart, np.inf).min(1) < 1e-3).all())


def read_vasprun(path: Path | str, record_id: str | None = None) -> Record:
    """The record of a finished DFPT run with VASP (LEPSILON, IBRION 7 or 8), judged like the kit's own runs.

    Parameters
    ----------
    path : path of vasprun.xml, also compressed (.gz).
    record_id : default: the name of the run's folder.

    Returns
    -------
    Record
        Tensors in the frame of the structure in the file; `functional` as the run had it (`functional.functional_name`);
        `meta["unchecked"]` names the flags that the file has no
        numbers for. A run without lattice response gives the electronic tensor and the flag "incomplete"; one with fractional
        occupations has no gap and the flags "metal" and "small-gap".

    Raises
    ------
    DFPTError
        The file is missing, cut off (`DFPTStopped`: while VASP runs, it is), holds no dielectric tensor, or one with
        ``****`` or NaN in it; file and tensor are named.
    structures.InvalidStructureError
        The structure is none that can be.
    """
    from monty.io import zopen
    from pymatgen.io.vasp.outputs import Vasprun

    path = Path(path)
    if not path.is_file():
        raise DFPTError(f"{path}: no such file; give the vasprun.xml of a finished run.")
    try:
        with zopen(path, "rb") as stream:
            arrays = _response(stream)
    except (SyntaxError, *_BROKEN) as error:  # XML errors are SyntaxErrors
        raise DFPTStopped(f"{path} is not a whole vasprun.xml ({type(error).__name__}: {error}): did the run end?") from error
    electronic, ionic = (_tensor(arrays.get(name), f"{path}: {name}") for name in ("epsilon", "epsilon_ion"))
    if electronic is None:
        raise DFPTError(f"{path} holds no dielectric tensor: the run needs LEPSILON = .TRUE.")
    born = _numbers(arrays.get("born_charges"), (None, 3, 3), f"{path}: born_charges")
    squares = _numbers(arrays.get("eigenvalues"), (None,), f"{path}: eigenvalues of the dynamical matrix")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = Vasprun(path, parse_dos=False, parse_potcar_file=False)
        (gap, metal), structure = _gap(run), run.final_structure
    except (SyntaxError, *_BROKEN) as error:
        raise DFPTStopped(f"{path} is not a whole vasprun.xml ({type(error).__name__}: {error}): did the run end?") from error
    validate_structure(structure, name=str(path))
    total = None if ionic is None else electronic + ionic
    rotations = point_group_rotations(structure, symprec=1e-3)
    worst = max(symmetry_violation(t, rotations) for t in (electronic, total) if t is not None)
    item = {
        "id": record_id or path.resolve().parent.name,
        "formula": structure.composition.reduced_formula,
        "structure": structure_to_dict(structure),
        "eps_electronic": electronic, "eps_ionic": ionic, "eps_total": total,
        "symmetry_violation": worst,
        "born_charges": None if born is None else born.tolist(),
        "gamma_frequencies_cm1": None if squares is None else _frequencies(squares),
        "gap_ev": gap,
        "settings": {"engine": "vasp", **{k: run.parameters.get(k) for k in ("ENMAX", "EDIFF", "ISMEAR", "SIGMA", "PREC")},
                     "k_points": [list(map(int, k)) for k in run.kpoints.kpts], "potcar": list(run.potcar_symbols)},
        "flags": [*([] if run.converged_electronic else ["not-converged"]), *(["metal"] if metal else [])],
        "functional": functional_name(run.parameters, run.incar, run.potcar_symbols), "code": f"VASP {run.vasp_version}", "source": "vasp",
    }  # fmt: skip
    item["flags"], item["unchecked"] = judge(item), unchecked(item)
    return record_from_dict(item, file=path.name)


def _response(stream) -> dict[str, list[str] | list]:
    """Texts of the last epsilon, epsilon_ion, eigenvalues of the dynamical matrix and Born charges of a vasprun.xml."""
    found: dict[str, list] = {}
    inside = 0
    for event, element in ElementTree.iterparse(stream, ("start", "end")):
        name = element.get("name")
        if element.tag == "dynmat":
            inside += 1 if event == "start" else -1
        if event == "start":
            continue
        if element.tag == "varray" and name in ("epsilon", "epsilon_ion"):
            found[name] = [v.text or "" for v in element]
        elif element.tag == "array" and name == "born_charges":
            found[name] = [[v.text or "" for v in atom] for atom in element.findall("set")]
        elif element.tag == "v" and name == "eigenvalues" and inside:
            found[name] = element.text or ""
    return found


def _numbers(texts, shape: tuple[int | None, ...], what: str) -> np.ndarray | None:
    """Texts of a file as finite numbers of a shape, None for no texts."""
    if not texts:
        return None

    def split(value):
        return value.split() if isinstance(value, str) else [split(v) for v in value]

    words = split(texts)
    try:
        numbers = np.array(words, dtype=float)
    except ValueError:
        flat = " ".join(re.findall(r"[^\s\[\]',]+", str(words)))
        bad = next((w for w in flat.split() if not _is_number(w)), flat[:60])
        raise DFPTError(f"{what} has {bad!r} where numbers should be, which VASP writes when they overflow or run together: not a usable run") from None
    if len(numbers.shape) != len(shape) or any(n not in (None, m) for m, n in zip(numbers.shape, shape, strict=True)):
        raise DFPTError(f"{what} has the shape {list(numbers.shape)}, not {[n or 'any' for n in shape]}: the file is damaged or the run did not end")
    if not np.isfinite(numbers).all():
        raise DFPTError(f"{what} has {numbers[~np.isfinite(numbers)][0]} among its numbers: the run failed")
    return numbers


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False


def _tensor(texts, what: str) -> np.ndarray | None:
    """Symmetric part [3, 3] of what the file has, None for nothing."""
    tensor = _numbers(texts, (3, 3), what)
    return None if tensor is None else (tensor + tensor.T) / 2


def _gap(run) -> tuple[float, bool]:
    """Gap in eV, and whether some band is occupied in part at some k-point: then there is none."""
    occupations = np.concatenate([np.ravel(bands[..., 1]) for bands in run.eigenvalues.values()])
    metal = bool(((occupations > FRACTIONAL) & (occupations < 1 - FRACTIONAL)).any())
    return (0.0 if metal else float(run.eigenvalue_band_properties[0])), metal


def _frequencies(squares: np.ndarray) -> list[float]:
    """Frequencies at Gamma in 1/cm, ascending, negative = imaginary; VASP prints -omega^2 in eV / (angstrom^2 u)."""
    return np.sort(-np.sign(squares) * np.sqrt(np.abs(squares)) * _ROOT_TO_CM1).round(3).tolist()
