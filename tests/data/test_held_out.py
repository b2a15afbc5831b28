"""What may train for given test crystals: materials, formulas, near twins."""

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals.record import Record
from dtnet_core.data import held_out as module
from dtnet_core.data.held_out import (
    TWIN_FEATURES,
    held_out,
    material_groups,
    near_twins,
    with_twin,
    without_relatives,
)
from dtnet_core.features import Features
from tests.conftest import CRYSTALS, random_rotation, turn


def halite(a: float) -> Structure:
    return Structure.from_spacegroup(225, Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def cesium_type(a: float) -> Structure:
    return Structure(Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def record(name: str, structure: Structure, mp_id: str | None = None) -> Record:
    return Record(name, structure, structure.composition.reduced_formula, mp_id=mp_id)


def test_same_material_in_any_cell_by_any_functional_or_by_its_id():
    other_functional = turn(halite(5.7).get_primitive_structure(), random_rotation(1))
    magnesia, quartz = CRYSTALS["cubic"](), CRYSTALS["chiral"]()
    records = [record("a", halite(5.64)), record("b", cesium_type(3.5)), record("c", other_functional), record("d", magnesia, "mp-1"),
               record("e", quartz, "mp-1"), record("f", magnesia * (1, 1, 2), "mp-2"), record("g", cesium_type(4.5), "mp-2")]  # fmt: skip
    group = material_groups(records)
    same = group[:, None] == group[None]
    expected = np.eye(7, dtype=bool)
    for one in ((0, 2), (1, 3, 4, 5, 6)):  # b matches g, whose id f has, whose structure d has, whose id e has
        expected[np.ix_(one, one)] = True
    assert (same == expected).all()
    assert without_relatives(np.array([2, 3, 4, 5]), np.array([0]), group).tolist() == [3, 4, 5]


def test_structures_that_match_in_one_order_only_are_one_material(monkeypatch):
    """The matcher is not symmetric: of some pairs it finds one order only."""
    a, b = cesium_type(3.5), cesium_type(3.6)
    longer = lambda self, x, y, **_: x.volume > y.volume  # noqa: E731
    monkeypatch.setattr(StructureMatcher, "fit", longer)
    for pair in ((a, b), (b, a)):
        assert len(set(material_groups([record(str(i), s) for i, s in enumerate(pair)]))) == 1


def test_a_split_keeps_materials_and_formulas_apart():
    """Positions 0-4 were split; 5-8 are further records: a relative and a polymorph of the test crystal, one of the validation's, a stranger."""
    zincite = CRYSTALS["hexagonal"]()
    records = [
        record("test", halite(5.64)), record("val", CRYSTALS["chiral"]()), record("val too", halite(5.7) * (1, 1, 2)), record("train", CRYSTALS["triclinic"]()),
        record("train too", cesium_type(3.5)), record("test's relative", halite(5.6)), record("test's polymorph", cesium_type(3.9)),
        record("val's relative", CRYSTALS["chiral"]()), record("stranger", zincite),
    ]  # fmt: skip
    group = material_groups(records)
    drawn = {"train": np.array([4, 3]), "val": np.array([1, 2]), "test": np.array([0])}
    found = {kind: {part: rows.tolist() for part, rows in held_out(drawn, records, group, kind).items()} for kind in ("record", "group")}
    assert found["record"] == {"train": [4, 3, 6, 8], "val": [1], "test": [0]}
    assert found["group"] == {"train": [3, 8], "val": [1], "test": [0]}


def test_near_twins_are_found_by_a_looser_rule_or_by_their_features(tmp_path):
    """Zinc oxide distorted beyond the matcher's default tolerances, and in another polytype; rocksalt is neither."""
    wurtzite = CRYSTALS["hexagonal"]()
    stretched = Structure(wurtzite.lattice, wurtzite.species, wurtzite.frac_coords + np.array([[0.2, 0, 0], [0, 0, 0], [0, 0, -0.2], [0, 0, 0]]))
    blende = Structure.from_spacegroup(216, Lattice.cubic(4.58), ["Zn", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    rocksalt = Structure.from_spacegroup(225, Lattice.cubic(4.28), ["Zn", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    records = [record(str(i), s) for i, s in enumerate([wurtzite, stretched, blende, rocksalt, CRYSTALS["cubic"]()])]
    assert len(set(material_groups(records))) == 5
    twins = near_twins(records, tmp_path, False)
    assert (1, 0) in twins and not any(3 in pair or 4 in pair for pair in twins)
    assert with_twin(np.array([0, 3]), np.array([1, 4]), twins).tolist() == [True, False]
    assert with_twin(np.array([1]), np.array([0]), np.array(twins)).tolist() == [True]


def test_twins_count_when_one_is_on_each_side():
    rows, others = np.array([0, 3, 8]), np.array([2, 9])
    assert with_twin(rows, others, [(0, 3), (1, 0), (5, 2), (9, 2)]).tolist() == [False] * 3  # both on one side, or on none
    for pair in ((2, 3), (3, 2)):
        assert with_twin(rows, others, [(0, 3), pair]).tolist() == [False, True, False]
    assert with_twin(rows, others, np.zeros((0, 2), dtype=int)).tolist() == [False] * 3


TYPES = {"rocksalt": halite(5.64), "cesium": cesium_type(3.5), "blende": Structure.from_spacegroup(216, Lattice.cubic(6.1), ["Na", "Cl"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
         "other formula": CRYSTALS["cubic"]()}  # fmt: skip


@pytest.mark.parametrize(("distance", "near"), [(0.0695, True), (-0.0695, True), (0.0705, False), (-0.0705, False)])
def test_twins_by_features_end_at_seven_hundredths(monkeypatch, distance, near):
    """Mean scalars of crystals, each channel in units of its deviation over all crystals; atoms are averaged first."""
    values = np.array([0.0, 0.0, 9.0, 0.0])
    for _ in range(60):
        values[1] = values[0] + distance * values.std()
    structures = list(TYPES.values())

    def features(text, given, *_):
        assert text == TWIN_FEATURES == "7net-0:1-5" and given == structures
        found = []
        for s, value in zip(given, values, strict=True):
            scalars = torch.tensor([[value, 20 * value + 7]] * len(s), dtype=torch.float64) + torch.linspace(-1, 1, len(s))[:, None] * torch.tensor([1.0, 3])
            found.append(Features(scalars, torch.zeros(len(s), 1, 3), torch.zeros(len(s), 1, 3, 3), torch.tensor([len(s)])))
        return found

    monkeypatch.setattr(module, "compute_features", features)
    assert near_twins([record(name, s) for name, s in TYPES.items()], progress=False) == ([(1, 0)] if near else [])
