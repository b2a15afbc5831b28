"""Crystals that are not at rest: by hand with springs, and rock salt that is pressed or stretched with what ships."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pymatgen.core import Composition, Lattice, Structure

from dtnet_core.base.files import read_json
from dtnet_core.base.paths import RESULTS, WEIGHTS
from dtnet_core.domain.strain import MEASURED, measured_crystals, out_of_fold
from dtnet_core.ensemble import load_ensemble
from dtnet_core.trust import strain as module
from dtnet_core.trust.strain import (
    FILE,
    LIMIT,
    Estimate,
    fit_estimate,
    load_estimate,
    scaled,
    strain_of,
    strained,
    strains_of,
)
from tests.conftest import random_rotation, turn


class Springs:
    """Every bond to a nearest neighbour is a spring of 3 angstrom, or its negative."""

    cutoff = 4.0

    def __init__(self, sign: float = 1.0):
        self.sign = sign

    def node_energies(self, graph) -> torch.Tensor:
        lengths = torch.linalg.norm(graph.edge_vectors, dim=1)
        bonds = torch.where(lengths < 1.1 * lengths.min(), self.sign * (lengths - 3.0) ** 2, 0.0)
        return torch.zeros(len(graph.numbers), dtype=bonds.dtype).index_add(0, graph.edge_index[1], bonds)


@pytest.mark.parametrize("a", [2.6, 2.7, 2.97, 3.0, 3.3])
def test_strain_by_hand(a):
    """Springs of 3 angstrom: the share by which a is longer, however far; the same in a supercell and in another frame."""
    cubic = Structure(Lattice.cubic(a), ["Na"], [[0, 0, 0]])
    assert strain_of(cubic, Springs()) == pytest.approx(a / 3 - 1, abs=1e-6)
    assert strain_of(turn(cubic * (2, 1, 1), random_rotation(1)), Springs()) == pytest.approx(a / 3 - 1, abs=1e-6)
    assert abs(strain_of(cubic, Springs(-1.0))) == np.inf  # energy is highest at rest: downhill leads away


def test_cells_are_scaled_in_all_lengths():
    grown = scaled(Structure(Lattice.from_parameters(3, 4, 5, 80, 90, 100), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.4, 0.3]]), 0.05)
    assert grown.lattice.abc == pytest.approx((3.15, 4.2, 5.25)) and grown.lattice.angles == pytest.approx((80, 90, 100)) and grown.frac_coords[1] == pytest.approx([0.5, 0.4, 0.3])


def test_an_estimate_finds_what_is_linear(tmp_path):
    g = np.random.default_rng(0)
    invariants = g.normal(size=(5000, 4)) * [1, 5, 0.1, 0] + 3
    strains = 0.05 + 0.02 * (invariants[:, 0] - 3) - 0.1 * (invariants[:, 2] - 3)
    found = fit_estimate(invariants, strains)
    assert found.of(invariants) == pytest.approx(strains, abs=0.01)
    found.save(tmp_path / FILE)
    assert load_estimate(tmp_path / FILE).of(invariants) == pytest.approx(found.of(invariants), abs=1e-5)
    assert np.abs(found.of(np.full((1, 4), 1e6))).max() < 1  # what no training crystal is like does not run away


def test_the_estimate_is_tested_on_formulas_that_it_has_not_seen():
    """Strains without rhyme, in as many dimensions as crystals: fits to all of them learn them by heart, those to others know nothing."""
    g = np.random.default_rng(0)
    invariants, strains, formulas = g.normal(size=(200, 400)), np.repeat(g.normal(size=40), 5), np.repeat(np.arange(40).astype(str), 5)
    invariants += 3 * np.repeat(g.normal(size=(40, 400)), 5, axis=0)
    heart, held = fit_estimate(invariants, strains).of(invariants), out_of_fold(invariants, strains, formulas)
    assert np.corrcoef(heart, strains)[0, 1] > 0.95 and abs(np.corrcoef(held, strains)[0, 1]) < 0.5


def test_energies_are_asked_of_suspects_only(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "strain_of", lambda structure: asked.append(structure) or -0.07)
    estimate = Estimate(np.zeros(1), np.ones(1), np.ones(1), 0.0)
    assert strains_of(estimate, ["a", "b", "c"], np.array([[0.012], [0.03], [-0.03]])).tolist() == [0, -0.07, -0.07] and asked == ["b", "c"]
    assert strains_of(None, ["a"], np.zeros((1, 1))).tolist() == [0]


def test_words():
    assert strained(LIMIT) == strained(-LIMIT) == strained(0.0) == ""
    assert strained(-0.074).startswith("strained: its lattice constants are 7 % shorter than at rest") and "4 % longer" in strained(0.04) and "are far from what they are at rest" in strained(np.inf)


def test_what_ships_tells_rock_salt_that_is_pressed_or_stretched(tmp_path):
    """By the same amount in a supercell and in another frame; a measured lattice constant is no strain."""
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5] * 3]).get_primitive_structure()
    asked = [salt, scaled(salt, -0.07), scaled(salt, 0.07), turn(scaled(salt, -0.07) * (1, 1, 2), random_rotation(2))]
    found = load_ensemble("total").predict(asked, tmp_path, progress=False)
    assert found.in_domain.tolist() == [True, False, False, False] and found.warnings[0] == ()
    told = [[words for words in each if words.startswith("strained")] for each in found.warnings]
    assert ["shorter" in told[1][0], "longer" in told[2][0], told[3] == told[1]] == [True] * 3
    alone = load_ensemble("electronic").predict(scaled(salt, 0.01), tmp_path, progress=False)
    assert alone.in_domain[0] and alone.warnings[0] == ()


def test_measured_crystals_are_what_they_are_called():
    found = measured_crystals()
    groups = {f: s.get_space_group_info()[1] for f, s in found.items()}
    assert {groups[f] for f in ("C", "Si", "Ge")} == {227} and {groups[f] for f in ("ZnS", "GaAs", "InSb", "AlP")} == {216} and {groups[f] for f in ("CsCl", "CsI")} == {221} and list(groups.values()).count(225) == 8
    for formula, crystal in found.items():
        assert crystal.composition.reduced_composition == Composition(formula).reduced_composition and crystal.volume * {227: 4, 216: 4, 221: 1, 225: 4}[groups[formula]] == pytest.approx(MEASURED[formula] ** 3)


def test_stored_record():
    """The estimate was tested on formulas that it had not seen, and energies do not doubt relaxed crystals."""
    stored = read_json(RESULTS / "strain.json")
    assert (stored["suspect"], stored["limit"]) == (module.SUSPECT, LIMIT) and (WEIGHTS / FILE).is_file()
    assert stored["estimate"]["-0.06"]["suspected"] > 0.9 and stored["estimate"]["0.06"]["suspected"] > 0.9 and stored["estimate"]["0"]["suspected"] < 0.2
    assert set(stored["measured"]) == set(MEASURED) and all(-LIMIT < strain < 0 for strain in stored["measured"].values())  # as the guide says
    assert stored["energies"]["0"]["strained"] <= 0.01 and stored["energies"]["-0.05"]["strained"] > 0.95 and stored["energies"]["0.05"]["strained"] > 0.95
