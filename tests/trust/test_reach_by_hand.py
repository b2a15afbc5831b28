"""The space of training crystals, and where crystals stand in it, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.trust.reach import NEIGHBOURS, fit_reach, invariants_of, load_reach
from dtnet_core.trust.standing import COLUMNS, stand
from dtnet_core.trust.strain import FILE, Estimate
from tests.blindness import MadeUp, small_records


def nearest_others(points: np.ndarray) -> np.ndarray:
    """[N]: mean distance of each point to the five nearest others."""
    away = np.linalg.norm(points[:, None] - points, axis=-1)
    return np.sort(away, axis=1)[:, 1:6].mean(1)


def test_the_unit_is_the_median_distance_of_training_crystals_to_others():
    g = np.random.default_rng(2)
    few, many = g.normal(size=(41, 3)) * [1, 5, 0.2] + [3, 0, -1], g.normal(size=(2000, 3))
    for invariants, step in ((few, 1), (many, 2)):  # of two thousand every second one
        found = fit_reach(invariants, ["a"] * len(invariants), ["MgO"] * len(invariants))
        own = nearest_others((invariants - invariants.mean(0)) / invariants.std(0))[::step]
        assert NEIGHBOURS == 5 and found.unit == pytest.approx(np.median(own), rel=1e-9)
    assert fit_reach(g.normal(size=(100, 70)), ["a"] * 100, ["MgO"] * 100).components.shape == (70, 64)


def test_what_hardly_varies_among_training_crystals_tells_nothing():
    g = np.random.default_rng(3)
    invariants = g.normal(size=(50, 4)) * [1, 1, 1, 1e-6]
    found = fit_reach(invariants, ["a"] * 50, ["MgO"] * 50)
    moved = invariants[:3] + np.array([0, 0, 0, 5])
    np.testing.assert_allclose(found.place(moved), found.place(invariants[:3]), atol=1e-12)


@pytest.fixture
def place():
    """Forty crystals that trained, in the space of their own features, and three to be asked about: two of them and one far away."""
    features, records = MadeUp().features, small_records(41)
    crystals = [r.structure for r in records]
    encoded = features("x", crystals)
    reach = fit_reach(invariants_of(encoded[:40]), [r.id for r in records[:40]], [r.formula for r in records[:40]])
    strange = Structure(Lattice.cubic(4), ["Es", "Fm"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return reach, records, [crystals[0], crystals[7], strange], [encoded[0], encoded[7], encoded[40]]


def opinions(*electronic) -> np.ndarray:
    """[M, B, 3, 3, 3]: electronic constants [B] of each network, on tensors that are not isotropic; ionic ones below 0."""
    values = np.asarray(electronic, dtype=float)
    tensors = values[..., None, None] * np.diag([0.5, 1.0, 1.5])
    return np.stack([tensors, 0 * tensors - 4 * np.eye(3), tensors - 4 * np.eye(3)], 2)


def test_where_crystals_stand(place):
    reach, records, crystals, encoded = place
    points = reach.place(invariants_of(encoded))
    away = np.linalg.norm(points[:, None] - reach.points, axis=-1)
    order = np.argsort(away, axis=1)[:, :5]
    distance = np.take_along_axis(away, order, 1).mean(1) / reach.unit
    limit = float(np.sort(reach.nearest(points)[0])[1])  # just as far as one of them is
    found = stand(replace(reach, limit=limit), crystals, reach.locate(invariants_of(encoded)), opinions([3, 1.0, 3], [4, 5, 4]), ["", "a flag", ""])
    np.testing.assert_allclose(found.distance, distance, rtol=1e-9)
    assert found.in_domain.tolist() == (found.distance <= limit).tolist() and found.in_domain.sum() == 2
    for i in range(3):
        assert found.nearest[i] == tuple((records[k].id, records[k].formula) for k in order[i])
    assert found.nearest[0][0] == (records[0].id, records[0].formula) and found.warnings[1][0] == "a flag"
    assert "no training crystal has Es with Fm" in found.warnings[2][0]
    outside = [any("unlike the training crystals" in words for words in told) for told in found.warnings]
    assert outside == (found.distance > limit).tolist()


def test_a_network_below_empty_space_takes_a_crystal_out_of_the_domain(place):
    """The electronic constant is a third of the trace, and the lowest of any network counts."""
    reach, _, crystals, encoded = place
    unbounded = opinions([3, 0.99, 1.0], [4, 5, 1.2])
    found, bare = stand(reach, crystals, reach.locate(invariants_of(encoded)), unbounded, ["x", "y", ""]), stand(None, crystals, None, unbounded, ["x", "y", ""])
    assert bare.in_domain.tolist() == found.in_domain.tolist() == [True, False, True]
    assert bare.warnings[0] == ("x",) and bare.warnings[2] == () and bare.nearest == ((), (), ()) and np.isnan(bare.distance).all()
    assert bare.warnings[1][0] == "y" and "electronic constant is 0.99 before it is bounded" in bare.warnings[1][1] and len(bare.warnings[1]) == 2
    assert found.warnings[1][:2] == bare.warnings[1]
    nobody = stand(reach, [], None, np.zeros((2, 0, 3, 3, 3)), [])
    assert len(nobody.in_domain) == len(nobody.distance) == 0 and nobody.nearest == nobody.warnings == ()


def test_a_row_of_a_table(place):
    reach, records, crystals, encoded = place
    known, bare = stand(reach, crystals, reach.locate(invariants_of(encoded)), opinions([3, 0.5, 3]), ["a", "b", ""]), stand(None, crystals, None, opinions([3, 0.5, 3]), ["a", "b", ""])
    row = known.row(0)
    assert tuple(row) == COLUMNS and row["in_domain"] is True and row["distance"] == pytest.approx(known.distance[0]) and row["nearest"].startswith(f"{records[0].id} {records[0].formula}, ")
    assert row["warnings"] == "a" and known.row(1)["warnings"].startswith("b; outside of the domain") and known.row(1)["in_domain"] is False
    assert bare.row(0) == {"in_domain": True, "distance": None, "nearest": "", "warnings": "a"}


def test_an_estimate_of_strain_travels_with_the_space_and_fits_it(place, tmp_path):
    reach, *_ = place
    fits, other = (Estimate(np.zeros(n), np.ones(n), np.full(n, 0.5), 0.25) for n in (len(reach.center), 3))
    replace(reach, strain=fits).save(tmp_path / "known.safetensors")
    assert load_reach(tmp_path / "known.safetensors").strain.intercept == 0.25
    other.save(tmp_path / FILE)
    with pytest.raises(ValueError, match=f"{FILE}: made for 3 features"):
        load_reach(tmp_path / "known.safetensors")
