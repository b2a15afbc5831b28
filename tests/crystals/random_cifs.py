"""Random crystals of any space group in any setting, and the CIF files that different programs make of them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import gemmi
import numpy as np
from ase.io import write
from pymatgen.core import Element, Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from pymatgen.symmetry.groups import SpaceGroup

ELEMENTS = ("Mg", "O", "Ti", "Cl", "Si")
SPARSE = 1.25  # growth of a cell whose atoms are too close
CLOSEST = 0.7  # shortest distance over the sum of covalent radii


@dataclass(frozen=True)
class Crystal:
    """A crystal: its setting, the listed sites (element, fractional position), and all its atoms."""

    group: gemmi.SpaceGroup
    sites: list[tuple[str, np.ndarray]]
    structure: Structure


def matrices(group: gemmi.SpaceGroup) -> tuple[np.ndarray, np.ndarray]:
    """Rotations [G, 3, 3] and translations [G, 3]."""
    seitz = np.array([op.float_seitz() for op in group.operations()])
    return seitz[:, :3, :3], seitz[:, :3, 3]


def images(point: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Each image of a point once, [M, 3] in the cell."""
    points = (rotations @ point + translations) % 1.0
    offsets = points[:, None] - points[None]
    same = np.abs(offsets - np.round(offsets)).max(2) < 1e-5
    return points[[not same[i, :i].any() for i in range(len(points))]]


def site(rng: np.random.Generator, rotations: np.ndarray, translations: np.ndarray, special: int) -> np.ndarray:
    """A random point [3], on what `special` random operations keep."""
    point = rng.uniform(0, 1, 3)
    for _ in range(special):
        k = rng.integers(len(rotations))
        for _ in range(40):
            move = rotations[k] @ point + translations[k] - point
            point = point + (move - np.round(move)) / 2
    return np.round(point % 1.0, 9)


def cell(rng: np.random.Generator, rotations: np.ndarray) -> Lattice:
    """A random lattice that the rotations keep, of volume 1, in the frame that CIF readers give."""
    lengths, angles = rng.uniform(1, 1.7, 3), rng.uniform(78, 102, 3)
    matrix = Lattice.from_parameters(*lengths, *angles).matrix
    metric = np.einsum("gki,kl,glj->ij", rotations, matrix @ matrix.T, rotations) / len(rotations)
    a, b, c = np.sqrt(np.diag(metric))
    alpha, beta, gamma = (np.degrees(np.arccos(metric[i, j] / np.sqrt(metric[i, i] * metric[j, j]))) for i, j in ((1, 2), (0, 2), (0, 1)))
    return Lattice.from_parameters(*(np.array([a, b, c]) / np.linalg.det(metric) ** (1 / 6)), alpha, beta, gamma)


def random_crystal(group: gemmi.SpaceGroup, seed: int) -> Crystal:
    """A crystal of one to three sites, general and special, whose atoms keep apart."""
    from dtnet_core.crystals.orbits import shortest_contact

    rng = np.random.default_rng(seed)
    rotations, translations = matrices(group)
    lattice = cell(rng, rotations)
    for _ in range(200):
        most = 1 if len(rotations) > 48 else 3
        points = [site(rng, rotations, translations, int(rng.integers(0, 3)) + (len(rotations) > 48)) for _ in range(rng.integers(1, most + 2))]
        names = [str(e) for e in rng.permutation(ELEMENTS)[: len(points)]]
        atoms = [images(p, rotations, translations) for p in points]
        if sum(map(len, atoms)) > 220:
            continue
        species = [name for name, some in zip(names, atoms, strict=True) for _ in some]
        for growth in range(8):
            structure = Structure(lattice.scale(14 * len(species) * SPARSE**growth), species, np.concatenate(atoms))
            if shortest_contact(structure) > CLOSEST:
                parameters = (*np.round(structure.lattice.abc, 5), *np.round(structure.lattice.angles, 4))
                structure = Structure(Lattice.from_parameters(*parameters), species, structure.frac_coords)
                return Crystal(group, list(zip(names, points, strict=True)), structure)
    raise RuntimeError(f"no sane crystal of {group.xhm()} with seed {seed}")


def block(crystal: Crystal, form: str, evidence: str, digits: int) -> str:
    """The crystal's asymmetric unit written by gemmi, with its symmetry in one form and more or less of what it says of itself."""
    group, structure = crystal.group, crystal.structure
    small = gemmi.SmallStructure()
    small.cell.set(*structure.lattice.abc, *structure.lattice.angles)
    for i, (element, point) in enumerate(crystal.sites):
        one = gemmi.SmallStructure.Site()
        one.label, one.element = f"{element}{i + 1}", gemmi.Element(element)
        one.fract = gemmi.Fractional(*np.round(point, digits))
        small.add_site(one)
    out = small.make_cif_block()
    out.name = "random"
    out.find_pair_item("_symmetry_space_group_name_H-M").erase() if out.find_pair_item("_symmetry_space_group_name_H-M") else None
    if form in ("operations", "operations only"):
        out.init_loop("_space_group_symop_", ["operation_xyz"]).set_all_values([[gemmi.cif.quote(op.triplet()) for op in group.operations()]])
    symbol = {"operations": group.xhm(), "extended symbol": group.xhm(), "plain symbol": group.hm, "short symbol": group.short_name(), "full symbol": full(group)}
    if form in symbol:
        out.set_pair("_space_group_name_H-M_alt", gemmi.cif.quote(symbol[form]))
    if form == "Hall symbol":
        out.set_pair("_space_group_name_Hall", gemmi.cif.quote(group.hall))
    if form in ("number", "operations", "plain symbol"):
        out.set_pair("_space_group_IT_number", str(group.number))
    counts = {e: int(n) for e, n in structure.composition.get_el_amt_dict().items()}
    common = int(np.gcd.reduce(list(counts.values())))
    if evidence in ("formula", "formula and Z"):
        out.set_pair("_chemical_formula_sum", gemmi.cif.quote(" ".join(f"{e}{n // common}" for e, n in counts.items())))
    if evidence == "formula and Z":
        out.set_pair("_cell_formula_units_Z", str(common))
    return out.as_string()


def full(group: gemmi.SpaceGroup) -> str:
    """The full symbol of a standard setting, as pymatgen knows it; of others the usual one."""
    if not group.is_reference_setting():
        return group.xhm()
    found = SpaceGroup.from_int_number(group.number)
    return f"{found.full_symbol}{':' + group.ext if group.ext != chr(0) else ''}" if len(found.symmetry_ops) == len(list(group.operations())) else group.xhm()


FORMS = ("operations", "operations only", "extended symbol", "plain symbol", "short symbol", "full symbol", "Hall symbol", "number")
EVIDENCE = ("nothing", "formula", "formula and Z")


def written(crystal: Crystal, seed: int, forms=FORMS, evidence=EVIDENCE) -> Iterator[tuple[str, str, Structure]]:
    """(how, text, what was written) of the crystal as pymatgen, ASE and gemmi write it; pymatgen's symmetry comes with a cell of its own."""
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refined = SpacegroupAnalyzer(crystal.structure, symprec=0.01).get_refined_structure()
        texts = str(CifWriter(crystal.structure)), str(CifWriter(crystal.structure, symprec=0.01))
        write(buffer := io.BytesIO(), AseAtomsAdaptor.get_atoms(crystal.structure), format="cif")
    yield "pymatgen, all atoms", texts[0], crystal.structure
    yield "pymatgen, symmetry", texts[1], Structure(Lattice.from_parameters(*refined.lattice.parameters), refined.species, refined.frac_coords)
    yield "ASE, all atoms", buffer.getvalue().decode(), crystal.structure
    for form in forms:
        if form != "number" or crystal.group.is_reference_setting():
            for said in evidence:
                yield f"gemmi, {form}, {said}", block(crystal, form, said, int(rng.integers(4, 8))), crystal.structure


def is_same(read: Structure, truth: Structure) -> bool:
    """Whether a reader gave back the crystal, in its cell and frame, atom by atom."""
    if read.composition != truth.composition or not np.allclose(read.lattice.matrix, truth.lattice.matrix, atol=2e-3):
        return False
    for element in truth.composition:
        ours, theirs = (np.array([s.frac_coords for s in some if s.specie == Element(element.symbol)]) for some in (read, truth))
        offsets = ours[:, None] - theirs[None]
        distances = np.linalg.norm((offsets - np.round(offsets)) @ truth.lattice.matrix, axis=2)
        if distances.min(1).max() > 0.05 or len(set(distances.argmin(1))) != len(ours):
            return False
    return True
