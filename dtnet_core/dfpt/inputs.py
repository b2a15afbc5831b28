"""What every open DFPT run needs whatever the engine: pseudopotentials, cutoff, k-points, number of bands.

Cutoffs are in hartree, lengths in angstrom. The pseudopotentials are the SPMS table (Shojaei et al., Comput. Phys.
Commun. 283, 108594, 2023) as the Python package `sparc-x-api` carries it; its files also hint at the cutoffs.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

BOHR = 0.529177210903  # angstrom
PSEUDO_ENV = "DTNET_PSEUDO_DIR"
SYMPREC = 1e-4  # angstrom
DENSEST = 0.16  # 1/angstrom, k-point spacing of the response for the smallest gaps
SHIFTS = {  # candidates in order of preference: many special points for few irreducible ones
    "fcc": [[0.5, 0.5, 0.5], [0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]],
    "bcc": [[0.25, 0.25, 0.25], [-0.25, -0.25, -0.25]],
    "half": [[0.5, 0.5, 0.5]],
    "axis": [[0.0, 0.0, 0.5]],
    "gamma": [[0.0, 0.0, 0.0]],
}
_CENTRING_SHIFT = {"F": "fcc", "I": "bcc"}


class DFPTError(RuntimeError):
    """A DFPT calculation cannot start or did not end; the message says what to do."""


class DFPTStopped(DFPTError):
    """A run that has not ended, or was stopped from outside: asked again, it may go on."""


@dataclass(frozen=True)
class Pseudo:
    """One psp8 file: `path`, number of valence electrons, cutoff hints [loose, tight] in hartree."""

    path: Path
    valence: int
    hints: tuple[float, float]


@dataclass(frozen=True)
class Settings:
    """Convergence settings of one crystal.

    Attributes
    ----------
    engine : `qe` (Quantum ESPRESSO) or `abinit`.
    ecut : plane-wave cutoff, hartree.
    ngkpt, shifts : k-point mesh of the response part (`shifts` in units of one mesh step).
    relax_ngkpt, relax_shifts : the same for the relaxation and for the first guess of the gap.
    relax : False keeps the geometry as it was given.
    """

    engine: str
    ecut: float
    relax_ngkpt: tuple[int, int, int]
    relax_shifts: tuple[tuple[float, float, float], ...]
    relax: bool = True
    ngkpt: tuple[int, int, int] | None = None
    shifts: tuple[tuple[float, float, float], ...] | None = None

    def as_dict(self) -> dict:
        """JSON-ready dictionary."""
        return asdict(self)

    def with_mesh(self, ngkpt, shifts) -> Settings:
        """The same settings with the response mesh filled in."""
        return replace(self, ngkpt=tuple(ngkpt), shifts=tuple(map(tuple, shifts)))


def pseudo_folder() -> Path:
    """Folder of the psp8 files: `$DTNET_PSEUDO_DIR`, else the installed package `sparc`.

    Raises
    ------
    DFPTError : neither is there; the message names the package to install.
    """
    named = os.environ.get(PSEUDO_ENV)
    if named:
        found = [p for p in (Path(named), Path(named) / "sparc" / "psp") if any(p.glob("*.psp8"))]
        if not found:
            raise DFPTError(f"{PSEUDO_ENV}={named} holds no *.psp8 file; point it at the folder that has them.")
        return found[0]
    spec = importlib.util.find_spec("sparc")
    for root in (spec.submodule_search_locations or []) if spec else []:
        if any((Path(root) / "psp").glob("*.psp8")):
            return Path(root) / "psp"
    raise DFPTError(
        "No psp8 pseudopotentials found. Install them with `pip install --no-deps sparc-x-api==1.1.0`, or name a "
        f"folder that holds them in {PSEUDO_ENV}."
    )


def find_pseudo(symbol: str, folder: Path | None = None) -> Pseudo:
    """Read the header and the cutoff hints of the pseudopotential of one element.

    Raises
    ------
    DFPTError : the table has no file for `symbol`, or more than one.
    """
    folder = folder or pseudo_folder()
    files = sorted(folder.glob(f"*_{symbol}_*.psp8"))
    if len(files) != 1:
        raise DFPTError(f"{len(files)} psp8 files for element {symbol} in {folder}: need exactly one.")
    text = files[0].read_text()
    valence = float(text.splitlines()[1].split()[1])
    hints = tuple(float(x) for x in re.findall(r"Ecut \(1e-[34] Ha/atom accuracy\):\s*([\d.]+)", text))
    if len(hints) != 2:
        raise DFPTError(f"{files[0].name} carries cutoff hints {hints}: two are needed (1e-3 and 1e-4 Ha/atom).")
    return Pseudo(files[0], round(valence), hints)


def pseudos_of(structure: Structure, folder: Path | None = None) -> dict[str, Pseudo]:
    """Pseudopotentials of all elements of `structure`, in the order of first appearance."""
    folder = folder or pseudo_folder()
    return {s: find_pseudo(s, folder) for s in dict.fromkeys(site.specie.symbol for site in structure)}


def cutoff(pseudos: dict[str, Pseudo], floor: float = 16.0) -> float:
    """Plane-wave cutoff [hartree]: tight hint (1e-4 Ha/atom) of the hardest element, not below `floor`."""
    return max(floor, *(p.hints[1] for p in pseudos.values()))


def standard_cell(structure: Structure) -> Structure:
    """Standard primitive cell of a crystal (Setyawan and Curtarolo, Comput. Mater. Sci. 49, 299, 2010).

    A rhombohedral cell is turned so that its threefold axis is z: pw.x knows only the rotations about the axes of
    cubic and hexagonal crystals, and would take it for a monoclinic one.
    """
    analyzer = SpacegroupAnalyzer(structure, symprec=1e-3)
    cell = analyzer.get_primitive_standard_structure()
    if analyzer.get_lattice_type() != "rhombohedral":
        return cell
    inward, upward = 2 * np.sin(np.deg2rad(cell.lattice.alpha) / 2) / 3**0.5, np.array([0.0, 0.0, 1.0])
    angles = np.deg2rad([-30.0, 90.0, 210.0])
    flat = inward * np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)  # [3, 3]
    rows = cell.lattice.a * (flat + (1 - inward**2) ** 0.5 * upward)
    return Structure(rows, cell.species, cell.frac_coords)


def point_rotations(structure: Structure) -> np.ndarray:
    """Rotations [G, 3, 3] of the crystal that act on fractional reciprocal coordinates from the left."""
    operations = SpacegroupAnalyzer(structure, symprec=SYMPREC).get_symmetry_operations()
    return np.unique([op.rotation_matrix.T for op in operations], axis=0)


def mesh(structure: Structure, spacing: float) -> tuple[tuple[int, int, int], tuple]:
    """Special k-points that keep the crystal's symmetry, one in every `spacing` cubed of the Brillouin zone.

    Parameters
    ----------
    spacing : mean distance of the points, 1/angstrom (2 pi included).

    Returns
    -------
    ngkpt, shifts : divisions along the reciprocal axes, and the offsets of the interleaved grids.
    """
    rotations = point_rotations(structure)
    centring = SpacegroupAnalyzer(structure, symprec=SYMPREC).get_space_group_symbol()[0]
    for name in dict.fromkeys([_CENTRING_SHIFT.get(centring, "half"), "half", "axis", "gamma"]):
        ngkpt = _divisions(structure, spacing, len(SHIFTS[name]), rotations)
        grid = {tuple(k) for k in _keys(grid_points(ngkpt, SHIFTS[name]))}
        if all({tuple(k) for k in _keys(grid_points(ngkpt, SHIFTS[name]) @ r.T)} == grid for r in rotations):
            return ngkpt, _as_tuples(name)
    equal = int(np.ceil((structure.lattice.reciprocal_lattice.volume / spacing**3) ** (1 / 3)))
    return (equal,) * 3, ((0.0, 0.0, 0.0),)  # unusual choice of axes: this one always fits


def mesh_spacing(structure: Structure, ngkpt, shifts) -> float:
    """Mean distance of a mesh's points, 1/angstrom: the inverse of `mesh`."""
    points = np.prod(ngkpt) * len(shifts)
    return float((structure.lattice.reciprocal_lattice.volume / points) ** (1 / 3))


def grid_points(ngkpt, shifts) -> np.ndarray:
    """All points [K, 3] of the interleaved grids, fractional."""
    grid = np.stack(np.meshgrid(*map(np.arange, ngkpt), indexing="ij"), -1).reshape(-1, 3)
    return ((grid[None] + np.array(shifts, float)[:, None]) / np.array(ngkpt)).reshape(-1, 3)


def _keys(points: np.ndarray) -> np.ndarray:
    """Integers that are equal for k-points that differ by a reciprocal vector."""
    return np.round((points % 1.0) * 1e6).astype(np.int64) % 1_000_000


def irreducible(structure: Structure, ngkpt, shifts) -> tuple[np.ndarray, np.ndarray]:
    """Irreducible points [I, 3] and weights [I] (sum: all points) under the point group and time reversal."""
    points, rotations = grid_points(ngkpt, shifts), point_rotations(structure)
    images = np.stack([points @ r.T for r in rotations] + [-points @ r.T for r in rotations])  # [2G, K, 3]
    codes = _keys(images) @ np.array([10**12, 10**6, 1])  # [2G, K]
    _, index, counts = np.unique(codes.min(0), return_index=True, return_counts=True)
    return points[index], counts


def _divisions(structure: Structure, spacing: float, grids: int, rotations: np.ndarray) -> tuple[int, int, int]:
    """Divisions proportional to the reciprocal lengths, equal along axes that symmetry exchanges."""
    reciprocal = structure.lattice.reciprocal_lattice
    wanted = reciprocal.volume / spacing**3 / grids  # points of one grid
    coupled = np.abs(rotations).sum(0) > 0  # [3, 3]
    lengths = np.array([np.array(reciprocal.abc)[row].mean() for row in coupled])
    step = (lengths.prod() / wanted) ** (1 / 3)
    while True:
        ngkpt = np.maximum(2 if grids == 1 else 1, np.ceil(lengths / step - 0.25)).astype(int)
        if ngkpt.prod() >= 0.9 * wanted:
            return tuple(int(n) for n in ngkpt)
        step *= 0.98


def response_spacing(gap_ev: float, structure: Structure) -> float:
    """k-point spacing [1/angstrom] of the response part: a small gap needs a dense mesh.

    The error of eps_electronic falls off with the mesh at a rate set by the gap, so the gap of the relaxed ground
    state chooses among four spacings. Where symmetry allows no shift within a plane (hexagonal cells), a mesh is worth
    less: below the first limit of the gap it is made denser by a fifth.
    """
    limits = ((4.0, 0.37), (2.2, 0.30), (1.2, 0.24))
    spacing = next((spacing for gap, spacing in limits if gap_ev > gap), DENSEST)
    unshifted = mesh(structure, spacing)[1] in (_as_tuples("axis"), _as_tuples("gamma"))
    return 0.8 * spacing if unshifted and gap_ev <= limits[0][0] else spacing


def _as_tuples(name: str) -> tuple:
    return tuple(map(tuple, SHIFTS[name]))


def settings_for(structure: Structure, pseudos: dict[str, Pseudo], engine: str, spacing: float = 0.37) -> Settings:
    """Settings before the gap is known; `Settings.with_mesh` adds the response mesh."""
    ngkpt, shifts = mesh(structure, spacing)
    return Settings(engine=engine, ecut=cutoff(pseudos), relax_ngkpt=ngkpt, relax_shifts=shifts)


def valence_bands(structure: Structure, pseudos: dict[str, Pseudo]) -> int:
    """Number of doubly occupied bands.

    Raises
    ------
    DFPTError : odd number of electrons, which this non-magnetic insulator set-up cannot treat.
    """
    electrons = sum(pseudos[site.specie.symbol].valence for site in structure)
    if electrons % 2:
        raise DFPTError(f"{structure.formula} has {electrons} valence electrons: an odd number is no insulator here.")
    return electrons // 2
