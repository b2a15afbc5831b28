"""phonopy's BORN file: the electronic dielectric tensor and the Born charges of the atoms that symmetry does not make equal."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Structure

from ..crystals.symmetry import orbits

SYMPREC = 1e-5
"""In angstrom: phonopy's own default, as it must find the same atoms."""


def born_text(structure: Structure, charges: np.ndarray, electronic: np.ndarray, symprec: float = SYMPREC) -> str:
    """Content of a BORN file for this cell.

    phonopy is to be given the same atoms in the same order (its unit cell; it finds the primitive one itself). As it does, the file lists the first atom of each set of equivalent
    ones, in the order of the cell. Each line has the nine elements of a tensor by rows: xx, xy, xz, yx, ... In a line of charges phonopy's rows are the displacement's
    or the field's axis; for the symmetric charges of `born.predict_charges` that is the same.

    Parameters
    ----------
    structure : pymatgen Structure
        N atoms.
    charges : np.ndarray, [N, 3, 3]
        In e.
    electronic : np.ndarray, [3, 3]
        Electronic dielectric tensor, dimensionless.
    symprec : float
        In angstrom; the same as phonopy's.

    Raises
    ------
    ValueError
        When no symmetry is found.
    """
    atoms = np.unique(orbits(structure, symprec)[0])
    lines = ["# epsilon and Z* of atoms " + " ".join(str(i + 1) for i in atoms)]
    return "\n".join([*lines, *(" ".join(f"{x + 0.0:13.8f}" for x in np.ravel(t)) for t in (electronic, *np.asarray(charges)[atoms]))]) + "\n"
