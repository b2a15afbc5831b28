"""Relax cell and atoms with forces and stresses of any program: quasi-Newton steps of ASE, few evaluations.

The cell moves as an ASE filter (log of the deformation gradient beside the atoms), scaled so that a cell of ordinary
stiffness is as stiff as an ordinary bond; that is what makes a handful of steps enough. Symmetry is kept by
constraint: between layers rounding alone would make a crystal slide out of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import units
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

STIFFNESS = 60 * units.GPa  # eV/angstrom^3, of an ordinary crystal
BOND = 70.0  # eV/angstrom^2, of an ordinary bond


class StepCalculator(Calculator):
    """ASE calculator around `evaluate(step, structure) -> (energy eV, forces [N, 3] eV/A, stress [3, 3] eV/A^3)`."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, evaluate: Callable, template: Structure):
        super().__init__()
        self.evaluate, self.template, self.steps = evaluate, template, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """One evaluation."""
        super().calculate(atoms, properties, system_changes)
        structure = Structure(atoms.cell[:], self.template.species, atoms.get_scaled_positions(wrap=False))
        energy, forces, stress = self.evaluate(self.steps, structure)
        self.steps += 1
        voigt = [stress[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
        self.results = {"energy": energy, "forces": np.array(forces), "stress": np.array(voigt)}


def relax(structure: Structure, evaluate: Callable, fmax: float = 3e-3, smax: float = 0.05 * units.GPa,
          steps: int = 25) -> tuple[Structure, bool]:
    """Relaxed structure, and whether forces [eV/A] and stresses [eV/A^3] fell below their limits.

    Parameters
    ----------
    evaluate : function of (number of the evaluation, structure); see `StepCalculator`.
    steps : largest number of evaluations.
    """
    atoms = AseAtomsAdaptor.get_atoms(structure)
    atoms.calc = StepCalculator(evaluate, structure)
    atoms.set_constraint(FixSymmetry(atoms, symprec=1e-3))
    scale = float(np.sqrt(STIFFNESS * structure.volume / BOND))
    optimizer = BFGS(FrechetCellFilter(atoms, exp_cell_factor=scale), logfile=None, maxstep=min(0.15, 0.2 * scale), alpha=BOND)
    for _ in optimizer.irun(fmax=1e-9, steps=steps - 1):
        done = np.abs(atoms.get_forces()).max() < fmax and np.abs(atoms.get_stress()).max() < smax
        if done:
            break
    return Structure(atoms.cell[:], structure.species, atoms.get_scaled_positions(wrap=False)), bool(done)
