"""Can this be a crystal? Judged from distances and volume, before anything is encoded.

The limits come from tables and from 26,409 crystals: those with tensors or constants of the Materials Project, of two PBEsol sets, of
JARVIS and of two further electronic sets, the kit's own, and the screening pool. None of them is refused.

- `CLOSEST`: of the crystals that are known to exist, uranyl salts have the shortest distance for their covalent radii (Cordero, Dalton
  Trans. 2832, 2008): 0.66 of the sum. Below it are only four entries whose metal atoms are 1.7 angstrom apart, 0.59.
- `SMALLEST`: the volume of a cell over the sum of its elements' volumes in these crystals (`VOLUMES`, a fit) has the median 1.02 and
  the minimum 0.62 (FeS2). So every one of them passes when it is compressed to 70 % of its volume, as real crystals are at some tens
  of GPa; of cells with half their lattice constant (12.5 % of the volume) 0.05 % pass, of those with 0.7 of it (34 %) 7 %.
- `REACH`: the largest distance of an atom to its nearest one is 4.5 angstrom.
"""

from __future__ import annotations

import numpy as np
from ase.data import covalent_radii
from pymatgen.core import Structure
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

CLOSEST = 0.58
"""Smallest distance of two atoms, in sums of their covalent radii."""
SMALLEST = 0.43
"""Smallest volume of a cell, in sums of `VOLUMES`."""
REACH = 5.0
"""In angstrom: an atom without another one so near is alone. It is the cutoff of the default encoders."""
MOLECULE = 8.0
"""In angstrom: atoms that meet none of their images over such gaps are a molecule in a box."""
VACUUM = 6.0
"""In angstrom: a wider gap through a crystal makes it a slab or a wire; 50 of the crystals above have one."""
UNBONDED = 2.0
"""Distance of the nearest atom, in sums of covalent radii, beyond which an atom is bonded to none: 5 crystals above, of H and of N."""

VOLUMES = {
    "He": 8, "Ne": 12, "Ar": 20, "Kr": 15, "Xe": 20,
    "H": 7.7, "Li": 9, "Be": 5.5, "B": 8.6, "C": 6.5, "N": 8.5, "O": 8.3, "F": 11.4, "Na": 18.4, "Mg": 12, "Al": 12, "Si": 17.6,
    "P": 22.7, "S": 25, "Cl": 30.3, "K": 31.6, "Ca": 21.7, "Sc": 15.7, "Ti": 15.6, "V": 20.7, "Cr": 13.6, "Mn": 15.9, "Fe": 12.3, "Co": 10.4,
    "Ni": 9.9, "Cu": 12.3, "Zn": 15, "Ga": 17.5, "Ge": 21.3, "As": 27.8, "Se": 30.7, "Br": 37.6, "Rb": 39.1, "Sr": 27.4, "Y": 21.1, "Zr": 18.4,
    "Nb": 20.9, "Mo": 27.2, "Tc": 11, "Ru": 7.5, "Rh": 10.8, "Pd": 15.9, "Ag": 20, "Cd": 21.9, "In": 23.5, "Sn": 26.3, "Sb": 28.4, "Te": 37.7,
    "I": 47.6, "Cs": 48.7, "Ba": 34.9, "La": 26.4, "Ce": 25.1, "Pr": 24.6, "Nd": 23.6, "Pm": 4.6, "Sm": 22.2, "Eu": 23.8, "Gd": 21.4, "Tb": 20.4,
    "Dy": 20.5, "Ho": 19.7, "Er": 19.2, "Tm": 19.1, "Yb": 17.8, "Lu": 18.6, "Hf": 17.2, "Ta": 20.5, "W": 23.3, "Re": 20.3, "Os": 9.3, "Ir": 6.7,
    "Pt": 15.6, "Au": 25.3, "Hg": 27.9, "Tl": 32.8, "Pb": 29.6, "Bi": 28.6, "Ac": 24.2, "Th": 25.1, "Pa": 21.1, "U": 30.4, "Np": 15.3, "Pu": 8.4,
}
"""Volume of an atom in angstrom^3, by element: a robust fit to the volumes of the crystals above (carbon: for diamond; noble gases:
well below their solids, which are soft)."""
_OTHER = 10.0  # of elements that are in none of these crystals


def impossible(structure: Structure) -> str | None:
    """Why a structure cannot be a crystal, in words, or None.

    Parameters
    ----------
    structure : pymatgen Structure
        Ordered, with a cell of finite volume.

    Returns
    -------
    str or None
        Periodic along fewer than three vectors; a volume or a distance (angstrom) that no crystal has; an atom without a neighbour
        within `REACH`; a molecule in a box.
    """
    if not all(structure.lattice.pbc):
        return f"periodic along {[bool(p) for p in structure.lattice.pbc]} only: a crystal is periodic along all three vectors"
    usual = sum(VOLUMES.get(symbol, _OTHER) for symbol in _symbols(structure))
    if structure.volume < SMALLEST * usual:
        return (f"the cell has {structure.volume:.4g} angstrom^3 for {structure.formula}, {structure.volume / usual:.2f} of what these atoms take in known crystals "
                f"(least: {SMALLEST}); is a lattice constant or its unit (angstrom) wrong?")  # fmt: skip
    centre, neighbour, image, distance = structure.get_neighbor_list(REACH)
    ratio = distance / _radii(structure, centre, neighbour)
    if len(ratio) and ratio.min() < CLOSEST:
        k = int(ratio.argmin())
        return (f"site {centre[k]} ({structure[int(centre[k])].species_string}) and site {neighbour[k]} ({structure[int(neighbour[k])].species_string}) are {distance[k]:.3f} angstrom apart, "
                f"{ratio[k]:.2f} of the sum of their covalent radii (least: {CLOSEST}); look for a wrong cell, setting or unit")  # fmt: skip
    alone = np.setdiff1d(np.arange(len(structure)), centre)
    if len(alone):
        return f"site {alone[0]} ({structure[int(alone[0])].species_string}) has no other atom within {REACH:g} angstrom: an atom alone in a box is no crystal"
    if _directions(len(structure), centre, neighbour, image) == 0 and directions(structure, MOLECULE) == 0:
        return f"its atoms have none of their periodic images within {MOLECULE:g} angstrom: a molecule in a box is no crystal"
    return None


def doubtful(structure: Structure) -> str | None:
    """Why a structure that is not impossible is an unusual crystal, in words, or None."""
    centre, neighbour, image, distance = structure.get_neighbor_list(VACUUM)
    nearest = np.full(len(structure), np.inf)  # [N]
    np.minimum.at(nearest, centre, distance / _radii(structure, centre, neighbour))
    if nearest.max() > UNBONDED:
        k = int(nearest.argmax())
        return (f"site {k} ({structure[k].species_string}) is bonded to nothing: its nearest atom is {nearest[k]:.1f} times the sum of their covalent radii away; "
                "is a lattice constant too large?")  # fmt: skip
    found = _directions(len(structure), centre, neighbour, image)
    if found < 3:
        return f"gaps of more than {VACUUM:g} angstrom leave it connected along {found} of three directions: a slab, wire or molecule, for which the constant depends on the gap"
    return None


def directions(structure: Structure, reach: float) -> int:
    """Along how many independent directions steps of at most `reach` (angstrom) from atom to atom lead on for ever: 0 to 3."""
    return _directions(len(structure), *structure.get_neighbor_list(reach)[:3])


def _directions(n: int, centre: np.ndarray, neighbour: np.ndarray, image: np.ndarray) -> int:
    """`directions` of n atoms with bonds from `centre` to `neighbour` in the cell `image`, [E], [E] and [E, 3].

    Each atom is given the cell in which it is reached from the first of its piece; every bond then closes a loop, and the loops'
    translations span the directions.
    """
    if not len(centre):
        return 0
    codes, first = np.unique(centre * n + neighbour, return_index=True)
    graph = coo_matrix((np.ones(len(codes)), (codes // n, codes % n)), shape=(n, n)).tocsr()
    pieces, piece = connected_components(graph, directed=False)
    cell = np.zeros((n, 3))
    for root in [int(np.argmax(piece == p)) for p in range(pieces)]:
        order, before = breadth_first_order(graph, root, directed=True)
        for atom in order[1:]:
            step = image[first[np.searchsorted(codes, before[atom] * n + atom)]]
            cell[atom] = cell[before[atom]] + step
    loops = cell[centre] + image - cell[neighbour]
    return max(int(np.linalg.matrix_rank(np.unique(loops[piece[centre] == p], axis=0))) if (piece[centre] == p).any() else 0 for p in range(pieces))


def _radii(structure: Structure, centre: np.ndarray, neighbour: np.ndarray) -> np.ndarray:
    """Sum [E] of the covalent radii of the atoms of each bond in angstrom."""
    radii = covalent_radii[[getattr(site.specie, "Z", 0) for site in structure]]
    return radii[centre] + radii[neighbour]


def _symbols(structure: Structure) -> list[str]:
    symbols = [getattr(site.specie, "symbol", str(site.specie)) for site in structure]
    return ["H" if symbol in ("D", "T") else symbol for symbol in symbols]
