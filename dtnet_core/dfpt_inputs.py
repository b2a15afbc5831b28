"""Inputs of the open DFPT runs: pseudopotentials, convergence settings and the text that ABINIT reads.

Nothing here starts a program. Lengths are in angstrom outside and in bohr inside the input text; cutoffs are in
hartree. Two inputs describe one crystal: `relax_input` (cell and atoms to zero stress and force) and
`response_input`, whose four datasets are the ground state, the band edges, d/dk and the response to atomic
displacements and to an electric field at Gamma (Gonze and Lee, Phys. Rev. B 55, 10355, 1997).
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
_SHIFTS = {  # candidates in order of preference: many special points for few irreducible ones
    "fcc": [[0.5, 0.5, 0.5], [0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]],
    "bcc": [[0.25, 0.25, 0.25], [-0.25, -0.25, -0.25]],
    "half": [[0.5, 0.5, 0.5]],
    "axis": [[0.0, 0.0, 0.5]],
    "gamma": [[0.0, 0.0, 0.0]],
}
_CENTRING_SHIFT = {"F": "fcc", "I": "bcc"}


class DFPTError(RuntimeError):
    """A DFPT calculation cannot start or did not end; the message says what to do."""


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
    ecut : plane-wave cutoff, hartree.
    ngkpt, shifts : k-point mesh of the response part (`shifts` in units of one mesh step).
    relax_ngkpt, relax_shifts : the same for the relaxation and for the first guess of the gap.
    tolvrs, tolwfr, tolwfr_ddk : residuals at which the response potential, the ground-state wavefunctions and
        their derivatives count as converged.
    boxcutmin : FFT box of the response part over the wavefunctions' sphere (2 would be exact).
    """

    ecut: float
    relax_ngkpt: tuple[int, int, int]
    relax_shifts: tuple[tuple[float, float, float], ...]
    ngkpt: tuple[int, int, int] | None = None
    shifts: tuple[tuple[float, float, float], ...] | None = None
    tolvrs: float = 1e-8
    tolwfr: float = 1e-16
    tolwfr_ddk: float = 1e-11
    boxcutmin: float = 1.5

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


def mesh(structure: Structure, spacing: float) -> tuple[tuple[int, int, int], tuple]:
    """Special k-points that keep the crystal's symmetry, one in every `spacing`^3 of the Brillouin zone.

    Parameters
    ----------
    spacing : mean distance of the points, 1/angstrom (2 pi included).

    Returns
    -------
    ngkpt, shifts : divisions along the reciprocal axes, and the offsets of the interleaved grids.
    """
    analyzer = SpacegroupAnalyzer(structure, symprec=SYMPREC)
    rotations = np.unique([op.rotation_matrix.T for op in analyzer.get_symmetry_operations()], axis=0)
    first = _CENTRING_SHIFT.get(analyzer.get_space_group_symbol()[0], "half")
    for name in dict.fromkeys([first, "half", "axis", "gamma"]):
        ngkpt = _divisions(structure, spacing, len(_SHIFTS[name]), rotations)
        if _keeps_symmetry(np.array(ngkpt), np.array(_SHIFTS[name]), rotations):
            return ngkpt, tuple(map(tuple, _SHIFTS[name]))
    raise DFPTError(f"no k-point mesh of spacing {spacing} 1/A keeps the symmetry of {structure.formula}")


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


def _keeps_symmetry(ngkpt: np.ndarray, shifts: np.ndarray, rotations: np.ndarray) -> bool:
    """Does every rotation (reciprocal, fractional) map the mesh onto itself, up to reciprocal vectors?"""
    grid = np.stack(np.meshgrid(*map(np.arange, ngkpt), indexing="ij"), -1).reshape(-1, 3)
    points = ((grid[None] + shifts[:, None]) / ngkpt).reshape(-1, 3)  # [K, 3]

    def keys(k):
        return set(map(tuple, np.round((k % 1.0) * 1e6).astype(np.int64) % 1_000_000))

    reference = keys(points)
    return all(keys(points @ r.T) == reference for r in rotations)


def response_spacing(gap_ev: float) -> float:
    """k-point spacing [1/angstrom] of the response part: a small gap needs a dense mesh.

    The error of eps_electronic falls off with the mesh at a rate set by the gap, so the gap of the relaxed ground
    state chooses among four spacings.
    """
    limits = ((4.5, 0.37), (2.5, 0.30), (1.2, 0.24))
    return next((spacing for gap, spacing in limits if gap_ev > gap), 0.16)


def settings_for(structure: Structure, pseudos: dict[str, Pseudo], spacing: float = 0.37) -> Settings:
    """Settings before the gap is known; `Settings.with_mesh` adds the response mesh."""
    ngkpt, shifts = mesh(structure, spacing)
    return Settings(ecut=cutoff(pseudos), relax_ngkpt=ngkpt, relax_shifts=shifts)


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


def geometry_text(structure: Structure, pseudos: dict[str, Pseudo]) -> str:
    """Lattice, atoms and pseudopotentials in ABINIT's words."""
    symbols = list(pseudos)
    numbers = [structure[[s.specie.symbol for s in structure].index(x)].specie.Z for x in symbols]
    rows = "\n  ".join(" ".join(f"{x / BOHR:.14f}" for x in row) for row in structure.lattice.matrix)
    coords = "\n  ".join(" ".join(f"{x:.14f}" for x in site.frac_coords) for site in structure)
    return "\n".join([
        "acell 3*1.0", f"rprim\n  {rows}",
        f"natom {len(structure)}", f"ntypat {len(symbols)}", "znucl " + " ".join(map(str, numbers)),
        "typat " + " ".join(str(symbols.index(site.specie.symbol) + 1) for site in structure),
        f"xred\n  {coords}",
        f'pp_dirpath "{next(iter(pseudos.values())).path.parent}"',
        'pseudos "' + ", ".join(p.path.name for p in pseudos.values()) + '"', "",
    ])


def _kpoint_text(ngkpt, shifts, suffix: str = "") -> str:
    rows = "  ".join(" ".join(map(str, s)) for s in shifts)
    return f"ngkpt{suffix} {' '.join(map(str, ngkpt))}\nnshiftk{suffix} {len(shifts)}\nshiftk{suffix} {rows}\n"


def relax_input(structure: Structure, pseudos: dict[str, Pseudo], settings: Settings) -> str:
    """Variable-cell relaxation; four empty bands serve the first estimate of the gap."""
    cubic = SpacegroupAnalyzer(structure, symprec=SYMPREC).get_crystal_system() == "cubic"
    nband = valence_bands(structure, pseudos) + 4
    return geometry_text(structure, pseudos) + _kpoint_text(settings.relax_ngkpt, settings.relax_shifts) + (
        f"ecut {settings.ecut}\necutsm 0.5\ndilatmx 1.06\nchkdilatmx 0\nnband {nband}\nnbdbuf 2\n"
        f"ionmov 22\noptcell {1 if cubic and _fixed_by_symmetry(structure) else 2}\nntime 30\n"
        "tolmxf 2.0e-5\nstrfact 100\ntolvrs 1.0e-9\nnstep 80\niomode 0\nprtden 0\nprtwf 0\nprteig 1\n"
    )


def _fixed_by_symmetry(structure: Structure) -> bool:
    """Is every atom held by its site symmetry, so that only the cell can change?"""
    ops = SpacegroupAnalyzer(structure, symprec=SYMPREC).get_symmetry_operations()
    for site in structure:
        stabiliser = [
            op.rotation_matrix for op in ops
            if structure.lattice.get_distance_and_image(op.operate(site.frac_coords), site.frac_coords)[0] < 1e-2
        ]
        if np.abs(np.mean(stabiliser, 0)).max() > 1e-8:
            return False
    return True


DATASETS = {"ground": 1, "bands": 2, "ddk": 3, "response": 4}


def response_input(structure: Structure, pseudos: dict[str, Pseudo], settings: Settings, stage: str) -> str:
    """Input of one stage (`ground`, `bands`, `ddk` or `response`); all four share everything but `jdtset`."""
    if settings.ngkpt is None:
        raise ValueError("settings have no response mesh: call Settings.with_mesh first")
    bands = valence_bands(structure, pseudos)
    gamma_mesh = [max(2, 2 * round(n * len(settings.relax_shifts) ** (1 / 3) / 2)) for n in settings.relax_ngkpt]
    return (
        f"ndtset 1\njdtset {DATASETS[stage]}\n" + geometry_text(structure, pseudos)
        + _kpoint_text(settings.ngkpt, settings.shifts)
        + f"ecut {settings.ecut}\nboxcutmin {settings.boxcutmin}\nnband {bands}\nnstep 100\nnline 8\niomode 0\ndiemac 6.0\n"
        + f"tolwfr1 {settings.tolwfr}\nprtden1 1\n"
        + f"iscf2 -2\ngetden2 1\nnband2 {bands + 5}\nnbdbuf2 3\ntolwfr2 1.0e-10\nprtwf2 0\n"
        + _kpoint_text(gamma_mesh, _SHIFTS["gamma"], "2")
        + f"getwfk3 1\nkptopt3 2\nrfelfd3 2\nrfdir3 1 1 1\nnqpt3 1\nqpt3 0 0 0\niscf3 -3\ntolwfr3 {settings.tolwfr_ddk}\n"
        + "getwfk4 1\ngetddk4 3\nkptopt4 2\nrfphon4 1\nrfatpol4 1 "
        + f"{len(structure)}\nrfelfd4 3\nrfdir4 1 1 1\nnqpt4 1\nqpt4 0 0 0\ntolvrs4 {settings.tolvrs}\nprtwf4 0\nprtden4 0\n"
    )


def anaddb_input(natom: int) -> str:
    """Static response from the derivative database: neutral charges and the acoustic sum rule are imposed here."""
    return (
        "dieflag 3\nnph2l 1\nqph2l 1.0 0.0 0.0 0.0\nnph1l 1\nqph1l 0.0 0.0 0.0 1.0\nifcflag 0\n"
        "chneut 1\nasr 1\nnfreq 1\nfrmin 0.0\nfrmax 0.0\nramansr 0\nenunit 1\n"
    )
