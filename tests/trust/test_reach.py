"""Distances to the training crystals: by hand, whatever the cell or frame, in words, and back from a file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.domain.known import known_crystals
from dtnet_core.ensemble import load_ensemble
from dtnet_core.potentials.store import compute_features
from dtnet_core.trust.reach import FEATURES, NEIGHBOURS, Reach, fit_reach, invariants_of, load_reach
from dtnet_core.trust.verdict import COVERAGES

from ..conftest import CRYSTALS


def flat(points, formulas=(), **about) -> Reach:
    """Points as they are given."""
    points = np.asarray(points, dtype=float)
    d = points.shape[1]
    names = tuple(f"c{i}" for i in range(len(points)))
    return Reach(np.zeros(d), np.ones(d), np.eye(d), points, names, tuple(formulas) or ("MgO",) * len(points), **about)


def test_distance_is_the_mean_to_the_nearest_in_units():
    reach = flat([[0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [9, 0]], unit=0.5)
    distance, rows = reach.nearest(np.array([[0.1, 0.0]]))
    assert rows.tolist() == [[0, 1, 2, 3, 4]]
    assert distance == pytest.approx(np.mean([0.1, 0.9, 1.9, 2.9, 3.9]) / 0.5)
    np.testing.assert_allclose(reach.place(np.array([[3.0, -1000.0]])), [[3.0, -10.0]])  # what is far off counts as ten deviations


def test_intervals_grow_beyond_the_typical_distance_only():
    reach = flat(np.zeros((6, 2)), typical=2.0)
    np.testing.assert_allclose(reach.wider(np.array([0.0, 2.0, 4.0, 6.0]), 1.5), [1, 1, 2**1.5, 3**1.5])
    np.testing.assert_array_equal(reach.wider(np.array([0.0, 9.0]), 0.0), [1, 1])


def test_pairs_that_no_training_crystal_has():
    reach = flat(np.zeros((6, 2)), ["MoSe2", "TiTe2", "MgO", "MgO", "Si", "HfO2"])
    assert reach.new_pairs(CRYSTALS["cubic"]()) == []
    telluride = Structure(Lattice.cubic(4), ["Mo", "Te"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert reach.new_pairs(telluride) == ["Mo with Te"]
    copper = Structure(Lattice.cubic(3), ["Cu"], [[0, 0, 0]])
    assert reach.new_pairs(copper) == ["Cu"]
    assert reach.new_pairs(Structure(Lattice.cubic(5), ["Si"], [[0, 0, 0]])) == []


def test_space_is_fitted_to_the_training_crystals_and_comes_back_from_a_file(tmp_path):
    g = np.random.default_rng(0)
    invariants = g.normal(size=(80, 7)) * [1, 10, 0.1, 1, 1, 1, 0]  # the last never varies
    reach = fit_reach(invariants, [f"c{i}" for i in range(80)], ["MgO"] * 80)
    own = reach.nearest(reach.place(invariants))[0]
    assert np.isfinite(own).all() and reach.place(invariants)[:, 0].std() > 0
    scaled = reach.place(invariants[:3]) - reach.place(invariants[3:6])
    truly = ((invariants[:3] - invariants[3:6]) / np.where(invariants.std(0) > 0, invariants.std(0), np.inf))[:, :6]
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), np.linalg.norm(truly, axis=1), rtol=1e-6)  # units of deviation; nothing lost
    reach.save(tmp_path / "known.safetensors")
    again = load_reach(tmp_path / "known.safetensors")
    assert again.ids == reach.ids and again.limit == reach.limit and again.unit == reach.unit
    np.testing.assert_allclose(again.nearest(again.place(invariants))[0], own, atol=5e-3)  # points are stored in half precision
    with pytest.raises(ValueError, match=f"5 crystals; give at least {NEIGHBOURS + 1}"):
        fit_reach(invariants[:5], ["a"] * 5, ["MgO"] * 5)


def test_a_crystal_is_as_far_in_any_cell_and_frame(tmp_path):
    cell = CRYSTALS["triclinic"]() if "triclinic" in CRYSTALS else CRYSTALS["cubic"]()
    turned = cell.copy()
    from pymatgen.core.operations import SymmOp

    turned.apply_operation(SymmOp.from_axis_angle_and_translation([1, 2, 3], 40))
    one, other, double = invariants_of(compute_features(FEATURES, [cell, turned, cell * (2, 1, 1)], False, tmp_path, False))
    np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(one, double, rtol=2e-3, atol=2e-4)


def test_shipped_networks_say_what_they_do_not_know(tmp_path):
    """Solid argon and copper are outside of the domain, rocksalt and a perovskite inside; what is said of layered MoTe2, whose formula no network saw, holds."""
    known = known_crystals()
    argon, copper, layered, rocksalt, perovskite = (known[name][0] for name in ("solid argon", "copper", "layered MoTe2", "rock salt MgO", "perovskite SrTiO3"))
    ensemble = load_ensemble("electronic")
    found = ensemble.predict([argon, copper, layered, rocksalt, perovskite], tmp_path, progress=False)
    assert found.in_domain[[0, 1, 3, 4]].tolist() == [False, False, True, True]
    assert (found.distance[:2] > ensemble.reach.limit).all() and (found.distance[3:] < ensemble.reach.typical).all()
    assert all("outside of the domain" in " ".join(words) for words in found.warnings[:2]) and found.warnings[3:] == ((), ())
    assert "no training crystal has Ar" in found.warnings[0][0]
    assert [len(n) for n in found.nearest] == [NEIGHBOURS] * 5 and abs(found.tensors[2].trace() / 3 - 9) < found.wide[2]  # DFPT gives 8 to 10
    reach = ensemble.reach
    ensemble.reach = replace(reach, guess=None)
    grown = ensemble.predict([copper, rocksalt], tmp_path, progress=False)
    ensemble.reach = None
    narrow = ensemble.predict([copper, rocksalt], tmp_path, progress=False)
    assert grown.wide[1] == pytest.approx(narrow.wide[1]) and grown.wide[0] == pytest.approx(narrow.wide[0] * reach.wider(found.distance[1:2], ensemble.calibration["growth"])[0])
    assert found.wide[3] > grown.wide[1]  # by how far guess and networks are apart
    assert found.wide[1] > 2 and (found.wide > found.std).all() and set(map(str, COVERAGES)) < set(ensemble.calibration)
