"""Which of the best candidates the kit's own DFPT can check, and what each will cost.

Costs are read off the crystals that the kit has computed: they are proportional to the number of orbitals whose response is
solved for. ``dtnet screen shortlist`` writes structures of the stored ranking's best as files; ``dtnet dfpt
compute`` does the rest (`data/open_dfpt.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymatgen.core import Structure
from pymatgen.io.vasp import Poscar
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from ..base.files import write_atomic
from ..base.results import load_results
from ..crystals.record import Record
from ..data.loading import load_records
from ..dfpt import DFPTError, inputs
from .selection import band_gap

MAGNETIC = frozenset(("V", "Cr", "Mn", "Fe", "Co", "Ni"))
"""Elements that are left out: the kit's DFPT is not spin-polarised."""
MIN_GAP = 0.5
"""Smallest PBE gap in eV: below, meshes get dense and a change of the cell may close it."""


@dataclass(frozen=True)
class Job:
    """What a calculation of a crystal's standard primitive cell works on.

    Attributes
    ----------
    n_atoms, electrons, k_points : int
        Valence electrons; irreducible points of the response mesh.
    ecut : float
        Cutoff in hartree.
    box : float
        Product of the cell's lengths in cubic angstrom: what the grid grows with that functions are transformed on. A skewed cell has
        more of it than volume.
    spacegroup : str
    """

    n_atoms: int
    electrons: int
    k_points: int
    ecut: float
    box: float
    spacegroup: str

    @classmethod
    def of(cls, structure: Structure, gap_ev: float) -> Job:
        """Settings as `dfpt.run` will choose them for that gap.

        Raises
        ------
        dfpt.DFPTError
            No pseudopotential for an element, or an odd number of electrons.
        """
        cell = inputs.standard_cell(structure)
        pseudos = inputs.pseudos_of(cell)
        points, _ = inputs.irreducible(cell, *inputs.mesh(cell, inputs.response_spacing(gap_ev, cell)))
        return cls(len(cell), 2 * inputs.valence_bands(cell, pseudos), len(points), inputs.cutoff(pseudos), float(np.prod(cell.lattice.abc)),
                   SpacegroupAnalyzer(cell, symprec=1e-3).get_space_group_symbol())  # fmt: skip

    def work(self) -> float:
        """What the cost is proportional to: orbitals at all k-points, the grid they are on, and the three components of the field and
        of each atom's displacement to which they respond.
        """
        return self.electrons * self.k_points * self.box * self.ecut**1.5 * (3 + 3 * self.n_atoms)


def fit_cost(records: Sequence[Record]) -> float:
    """Seconds for a unit of `Job.work`: median of the records that say how long they took."""
    return float(np.median([r.meta["wall_s"] / Job.of(r.structure, r.meta["gap_ev"]).work() for r in records if r.meta.get("wall_s")]))


def affordable(candidates: Sequence[Record], computed: Sequence[Record], max_atoms: int = 10, max_minutes: float = 75,
               min_gap: float = MIN_GAP) -> dict[str, dict]:  # fmt: skip
    """Jobs, by id, of the candidates that the kit's DFPT can compute.

    Parameters
    ----------
    candidates : sequence of Record
        With gaps.
    computed : sequence of Record
        Of the kit's own set, for the cost.
    max_atoms : int
        In the primitive cell.
    max_minutes : float
        Of one core, estimated.
    min_gap : float
        eV.

    Returns
    -------
    dict of id to dict
        The fields of `Job`, and `minutes`.
    """
    rate, found = fit_cost(computed), {}
    for record in candidates:
        elements = {e.symbol for e in record.structure.composition}
        if len(record.structure) > 2 * max_atoms or elements & MAGNETIC or not (band_gap(record) or 0) >= min_gap:
            continue
        try:
            job = Job.of(record.structure, band_gap(record))
        except DFPTError:
            continue
        minutes = rate * job.work() / 60
        if job.n_atoms <= max_atoms and minutes <= max_minutes:
            found[record.id] = vars(job) | {"minutes": round(minutes, 1)}
    return found


def write_inputs(records: Sequence[Record], folder: str | Path) -> list[Path]:
    """Structures as `<folder>/<id>.vasp`, for ``dtnet dfpt compute``."""
    paths = [Path(folder) / f"{r.id}.vasp" for r in records]
    for record, path in zip(records, paths, strict=True):
        write_atomic(path, Poscar(record.structure).get_str(significant_figures=12))
    return paths


def stored_shortlist(task: str | None, number: int, results: str | Path, in_domain_only: bool = False) -> list[tuple[dict, Record]]:
    """The best small candidates of the stored rankings, cheapest first, with their structures.

    Parameters
    ----------
    task : str, optional
        One of `TASKS`; None: both.
    number : int
        Candidates a task.
    results : path
        `data/results/screening.json`, or one like it.
    in_domain_only : bool
        Leave out those outside of what the networks learned from.

    Raises
    ------
    ValueError
        When no ranking is stored, or for `in_domain_only` with one that does not say it.
    """
    rankings = [r for r in load_results(results) if r["study"] == "ranking" and task in (None, r["task"])]
    if in_domain_only and any(row.get("in_domain") is None for r in rankings for row in r["shortlist"]):
        raise ValueError(f"{results} does not say which candidates are in the domain; run `dtnet screen rank` again")
    rows = {row["id"]: row for r in rankings for row in [row for row in r["shortlist"] if row.get("in_domain") or not in_domain_only][:number]}
    if not rows:
        raise ValueError(f"{results} has no ranking; run `dtnet screen rank` first")
    pool = {r.id: r for r in load_records("full", "screening_pool")}
    return [(row, pool[row["id"]]) for row in sorted(rows.values(), key=lambda row: row["minutes"])]
