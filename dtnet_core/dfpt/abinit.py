"""ABINIT as a DFPT engine: the inputs it reads and the outputs it writes.

Two inputs describe one crystal: the relaxation (cell and atoms to zero stress and force), and one whose four
datasets are the ground state, the band edges, d/dk and the response to atomic displacements and to an electric field
at Gamma (Gonze and Lee, Phys. Rev. B 55, 10355, 1997); anaddb sums the ionic part. Bohr and hartree inside.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pymatgen.core import Element, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from .inputs import BOHR, SHIFTS, SYMPREC, DFPTError, Pseudo, Settings, valence_bands

PROGRAMS = {"abinit": "abinit", "anaddb": "anaddb"}
PACKAGES = "`apt-get install abinit libopenblas0` (Debian, Ubuntu) or `conda install -c conda-forge abinit`"
STAGES = {"ground": "abinit", "bands": "abinit", "ddk": "abinit", "response": "abinit",
          "anaddb": "anaddb"}
DATASETS = {"ground": 1, "bands": 2, "ddk": 3, "response": 4}
SUFFIX = ".abo"
HEAVY = ("*_WFK", "*_1WF*", "*_DEN*", "*_POT*", "*.nc", "*.agr", "*_DS3_*", "*_DDB.nc", "*.abo0*")
HARTREE_EV = 27.211386245988
THZ_CM1 = 33.35640951981521
_NUMBER = r"[-+]?\d+\.?\d*(?:[EeDd][-+]?\d+)?"
# residuals of the response potential, of the wavefunctions and of their k-derivatives; FFT box over the exact one / 2
_TOLVRS, _TOLWFR, _TOLWFR_DDK, _BOXCUTMIN = 1e-8, 1e-16, 1e-11, 1.5


def state_folder(stage: str, folder: Path) -> Path | None:
    """None: a killed stage starts anew, and only that one."""
    return None


def forget(stage: str, folder: Path) -> None:
    """Nothing: there is no state."""


def arguments(stage: str) -> list[str]:
    """Command-line arguments of a stage."""
    return [f"{stage}.abi"]


def input_name(stage: str) -> str:
    """Name of a stage's input file."""
    return f"{stage}.abi"


def write_input(stage: str, structure: Structure, pseudos: dict[str, Pseudo], settings: Settings, folder: Path) -> str:
    """Text of a stage's input."""
    if stage == "anaddb":
        return anaddb_input()
    return response_input(structure, pseudos, settings, stage)


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
        + (f"ionmov 22\noptcell {1 if cubic and _fixed_by_symmetry(structure) else 2}\nntime 30\n"
           "tolmxf 2.0e-5\nstrfact 100\n" if settings.relax else "")
        + "tolvrs 1.0e-9\nnstep 80\niomode 0\nprtden 0\nprtwf 0\nprteig 1\n"
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


def response_input(structure: Structure, pseudos: dict[str, Pseudo], settings: Settings, stage: str) -> str:
    """Input of one stage (`ground`, `bands`, `ddk` or `response`); all four share everything but `jdtset`."""
    if settings.ngkpt is None:
        raise ValueError("settings have no response mesh: call Settings.with_mesh first")
    bands = valence_bands(structure, pseudos)
    gamma_mesh = [max(2, 2 * round(n * len(settings.relax_shifts) ** (1 / 3) / 2)) for n in settings.relax_ngkpt]
    return (
        'outdata_prefix "run_o"\nindata_prefix "run_i"\ntmpdata_prefix "run_t"\n'
        f"ndtset 1\njdtset {DATASETS[stage]}\n" + geometry_text(structure, pseudos)
        + _kpoint_text(settings.ngkpt, settings.shifts)
        + f"ecut {settings.ecut}\nboxcutmin {_BOXCUTMIN}\nnband {bands}\nnstep 100\nnline 8\niomode 0\ndiemac 6.0\n"
        + f"tolwfr1 {_TOLWFR}\nprtden1 1\n"
        + f"iscf2 -2\ngetden2 1\nnband2 {bands + 5}\nnbdbuf2 3\ntolwfr2 1.0e-10\nprtwf2 0\n"
        + _kpoint_text(gamma_mesh, SHIFTS["gamma"], "2")
        + f"getwfk3 1\nkptopt3 2\nrfelfd3 2\nrfdir3 1 1 1\nnqpt3 1\nqpt3 0 0 0\niscf3 -3\ntolwfr3 {_TOLWFR_DDK}\n"
        + "getwfk4 1\ngetddk4 3\nkptopt4 2\nrfphon4 1\nrfatpol4 1 "
        + f"{len(structure)}\nrfelfd4 3\nrfdir4 1 1 1\nnqpt4 1\nqpt4 0 0 0\ntolvrs4 {_TOLVRS}\nprtwf4 0\nprtden4 0\n"
    )


def anaddb_input() -> str:
    """Static response from the derivative database: neutral charges and the acoustic sum rule are imposed here."""
    return (
        'ddb_filepath "run_o_DS4_DDB"\noutput_file "anaddb.abo"\n'
        "dieflag 3\nnph2l 1\nqph2l 1.0 0.0 0.0 0.0\nnph1l 1\nqph1l 0.0 0.0 0.0 1.0\nifcflag 0\n"
        "chneut 1\nasr 1\nnfreq 1\nfrmin 0.0\nfrmax 0.0\nramansr 0\nenunit 1\n"
    )


def completed(text: str) -> bool:
    """Has the program written its closing words?"""
    return "Calculation completed" in text[-3000:] or "the run completed succesfully" in text[-3000:]


def converged(text: str) -> bool:
    """Did every self-consistent cycle, and the relaxation if there is one, reach its tolerance?"""
    relaxed = "Broyd/MD step" not in text or "gradients are converged" in text
    return relaxed and not re.search(r"was not enough (\S+ ){0,2}(cycles|iterations|steps) to converge", text)


def _floats(text: str) -> list[float]:
    return [float(x.replace("D", "E").replace("d", "e")) for x in re.findall(_NUMBER, text)]


def read_structure(text: str) -> Structure:
    """Final cell and atoms: the variables that ABINIT echoes after the computation.

    Raises
    ------
    DFPTError : the echo is missing (a run that did not end).
    """
    parts = text.split("-outvars: echo values of variables after computation")
    if len(parts) < 2:
        raise DFPTError("no 'echo values of variables after computation' in the output: the run did not end.")
    echo = parts[-1]

    def values(name: str, default: list[float] | None = None) -> list[float]:
        found = re.search(rf"^[-P ]*{name}\s+((?:{_NUMBER}[ \t\n]*)+)", echo, re.M)
        if not found and default is None:
            raise DFPTError(f"variable {name} is not in the echo of the output")
        return _floats(found.group(1)) if found else default

    scale = values("acell")[:3]
    lattice = np.reshape(values("rprim", list(np.eye(3).ravel()))[:9], (3, 3)) * np.reshape(scale, (3, 1)) * BOHR
    kinds = [int(i) for i in values("typat", [1] * int(values("natom", [1])[0]))]
    species = [Element.from_Z(round(values("znucl")[i - 1])).symbol for i in kinds]
    coords = np.reshape(values("xred", [0.0] * 3)[: 3 * len(kinds)], (-1, 3))
    return Structure(lattice, species, coords)


def read_gap(eig_text: str, occupied: int) -> float:
    """Fundamental gap [eV] on the k-points of an eigenvalue file; negative when bands overlap."""
    blocks = re.split(r"kpt#.*?\n", eig_text)[1:]
    bands = np.array([_floats(b)[: occupied + 1] for b in blocks])  # [K, occupied + 1]
    unit = HARTREE_EV if "(hartree)" in eig_text.split("kpt#")[0].lower() else 1.0
    return float((bands[:, occupied].min() - bands[:, occupied - 1].max()) * unit)


def _matrix_elements(block: str) -> list[tuple[list[int], float]]:
    rows = re.findall(r"^\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(" + _NUMBER + r")\s+" + _NUMBER, block, re.M)
    return [([int(i) for i in r[:4]], float(r[4])) for r in rows]


def read_response(text: str, natom: int) -> tuple[np.ndarray, np.ndarray]:
    """Electronic tensor [3, 3] and raw Born charges [natom, 3, 3] of the linear-response output.

    The charges are those of the electric-field response, before neutrality is imposed.
    """
    pieces = text.split("Dielectric tensor, in cartesian coordinates")
    if len(pieces) < 2 or "Effective charges, in cartesian coordinates" not in pieces[-1]:
        raise DFPTError("no dielectric tensor or effective charges in the response output: the run did not end.")
    tensor_text, charge_text = pieces[-1].split("Effective charges, in cartesian coordinates")[:2]
    eps = np.full((3, 3), np.nan)
    for (i, _, j, _), value in _matrix_elements(tensor_text):
        eps[i - 1, j - 1] = value
    born = np.full((natom, 3, 3), np.nan)
    for (direction, atom, field, _), value in _matrix_elements(charge_text):
        if atom <= natom:
            born[atom - 1, field - 1, direction - 1] = value
    return eps, born


def read_anaddb(text: str) -> dict:
    """Electronic and relaxed-ion tensors [3, 3] and the Gamma frequencies [cm^-1] of an anaddb output."""
    def tensor(title: str) -> np.ndarray:
        found = re.search(title + rf"\s*\n((?:\s+{_NUMBER}){{9}})", text)
        if not found:
            raise DFPTError(f"'{title}' is missing in the anaddb output: the run did not end.")
        return np.reshape(_floats(found.group(1)), (3, 3))

    found = re.search(r"Phonon frequencies in Thz\s*:\s*\n((?:-[^\n]*\n)+)", text)
    frequencies = [x for line in found.group(1).splitlines() for x in _floats(line[1:])] if found else []
    strength = [float(x) for x in re.findall(r"^[-;]\s+\d+\s+Real.*?(\S+)\s*$", text, re.M)]  # ";": a mode without degenerate ones
    return {
        "eps_electronic": tensor("Electronic dielectric tensor"),
        "eps_total": tensor("Relaxed ion dielectric tensor"),
        "frequencies": [x * THZ_CM1 for x in frequencies],
        "strengths": strength,
    }


def read_raw_frequencies(text: str) -> list[float]:
    """Gamma frequencies [cm^-1] of the response output, before the acoustic sum rule is imposed."""
    found = re.search(r"Phonon frequencies in cm-1\s*:\s*\n((?:-[^\n]*\n)+)", text)
    return [x for line in found.group(1).splitlines() for x in _floats(line[1:])] if found else []


def version(text: str) -> str:
    """Version of the program that wrote an output."""
    found = re.search(r"\.Version\s+(\S+)\s+of\s+(\w+)", text)
    return f"{found.group(2)} {found.group(1)}" if found else "unknown"


def relax(structure: Structure, pseudos: dict[str, Pseudo], settings: Settings, folder: Path,
          launch: Callable[[str, str], str]) -> tuple[Structure, float, bool]:
    """Relax cell and atoms; `launch(stage, input)` returns the output of one run.

    Returns
    -------
    structure, gap [eV] on the relaxation's mesh, whether the relaxation converged.
    """
    text = launch("relax", relax_input(structure, pseudos, settings))
    gap = read_gap((folder / "relaxo_EIG").read_text(), valence_bands(structure, pseudos))
    return read_structure(text), gap, converged(text)


def read(structure: Structure, folder: Path, texts: dict[str, str], occupied: int) -> dict:
    """Everything a record needs from the outputs of a finished run (`texts`: stage -> output)."""
    eps, born = read_response(texts["response"], len(structure))
    static = read_anaddb(texts["anaddb"])
    if np.abs(static["eps_electronic"] - eps).max() > 1e-3 * np.abs(eps).max():
        raise DFPTError(f"{folder}: the electronic tensors of abinit and anaddb differ: remove the folder, run again.")
    return {
        "eps_electronic": eps, "eps_total": static["eps_total"], "born": born,
        "frequencies": static["frequencies"], "strengths": static["strengths"],
        "raw_frequencies": read_raw_frequencies(texts["response"]),
        "gap": read_gap((folder / "run_o_DS2_EIG").read_text(), occupied),
        "version": version(texts["response"]),
    }
