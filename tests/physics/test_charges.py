"""Born charges: symmetry, blindness of the folds, intervals, files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

import dtnet_core
from dtnet_core.base.files import read_json
from dtnet_core.base.paths import RESULTS
from dtnet_core.crystals.structures import InvalidStructureError
from dtnet_core.data.loading import load_records
from dtnet_core.physics.born import FEATURES, file_of, load_model, predict_charges
from dtnet_core.physics.born_file import born_text
from dtnet_core.physics.charges import load_charges
from dtnet_core.potentials.store import compute_features
from dtnet_core.training import born
from dtnet_core.training.born_scores import coverage, errors
from tests.blindness import MadeUp, no_orbits
from tests.command import dtnet
from tests.conftest import CRYSTALS, random_rotation, turn

ROUNDING = 2e-3  # e; features are in single precision


@pytest.fixture(scope="module")
def known():
    """The kit's own relaxed crystals with charges and the fewest atoms."""
    return sorted((r for r in load_records("mini") if r.meta.get("born_charges") and r.meta["settings"].get("relax", True)), key=lambda r: (len(r.structure), r.id))[:40]


@pytest.fixture(scope="module")
def folder(known, tmp_path_factory):
    """Weights of a small model in the place of the default one."""
    place = tmp_path_factory.mktemp("weights")
    encoded = compute_features(FEATURES["default"], [r.structure for r in known], progress=False)
    born.fit_records(FEATURES["default"], encoded, known).save(file_of("default", place))
    return place


def ask(structures, folder):
    return predict_charges(structures, folder=folder, progress=False)


def test_charges_turn_with_the_crystal_and_do_not_know_its_cell(crystal, folder):
    rotation, order = random_rotation(3), np.random.default_rng(0).permutation(len(crystal))
    mirror = rotation @ np.diag([1, 1, -1])
    shuffled = Structure.from_sites([crystal[int(i)] for i in order])
    larger = crystal.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]], in_place=False)
    own, turned, mirrored, permuted, super_ = (one.charges for one in ask([crystal, turn(crystal, rotation), turn(crystal, mirror), shuffled, larger], folder))
    assert np.abs(own).max() > 0.3 and np.abs(own.sum(0)).max() < 1e-9
    np.testing.assert_array_equal(own, own.transpose(0, 2, 1))
    np.testing.assert_allclose(turned, rotation @ own @ rotation.T, atol=ROUNDING)
    np.testing.assert_allclose(mirrored, mirror @ own @ mirror.T, atol=ROUNDING)
    np.testing.assert_allclose(permuted, own[order], atol=ROUNDING)
    at = [int(np.argmin([larger.lattice.get_all_distances(crystal.lattice.get_fractional_coords(site.coords) @ crystal.lattice.matrix @ larger.lattice.inv_matrix, other.frac_coords)[0, 0] for other in larger])) for site in crystal]
    np.testing.assert_allclose(super_[at], own, atol=ROUNDING)


def test_charges_have_the_symmetry_of_their_sites(folder):
    salt, wurtzite = (one.charges for one in ask([CRYSTALS["cubic"](), CRYSTALS["hexagonal"]()], folder))
    np.testing.assert_allclose(salt, salt[:, :1, :1] * np.eye(3), atol=ROUNDING)
    for z in wurtzite:
        np.testing.assert_allclose(z, np.diag([z[0, 0], z[0, 0], z[2, 2]]), atol=ROUNDING)
    assert salt[0, 0, 0] > 0 > salt[1, 0, 0]  # Mg, O


def test_what_is_asked_wrongly_is_named(folder):
    salt = CRYSTALS["cubic"]()
    strange = Structure(salt.lattice, ["Es", "O"], salt.frac_coords)
    with pytest.raises(InvalidStructureError, match=r"crystal 1 .*Es"):
        ask([salt, strange], folder)
    with pytest.raises(ValueError, match="'worst'; charges have default, best"):
        predict_charges(salt, "worst")
    with pytest.raises(FileNotFoundError, match=r"nowhere/charges/7net-l3i5\.safetensors .*dtnet train charges"):
        predict_charges(salt, folder="nowhere")
    assert ask([], folder) == [] and dtnet_core.predict_charges is predict_charges


def exchanged(records, rows):
    """The records, those of `rows` with charges of 1.7 times their own, turned about."""
    rows = set(rows)
    return [
        replace(r, meta=r.meta | {"born_charges": (-1.7 * np.asarray(r.meta["born_charges"])[:, ::-1, ::-1] + 0.3).tolist()}) if i in rows else r for i, r in enumerate(records)
    ]  # fmt: skip


def test_a_crystal_is_judged_by_a_model_that_saw_no_crystal_of_its_formula(known, tmp_path, monkeypatch):
    made = MadeUp()
    monkeypatch.setattr(born, "compute_features", made.features)
    monkeypatch.setattr(born, "stored_orbits", no_orbits)
    fold = np.array([born.fold_of(r.formula) for r in known])
    assert set(fold) == set(range(born.FOLDS))
    strained = [replace(r, id=f"{r.id}-strained", structure=Structure(Lattice(1.03 * r.structure.lattice.matrix), r.structure.species, r.structure.frac_coords), meta={}) for r in known]
    asked = [*known, *strained]  # those that have charges, and others of the same formulas
    before = born.out_of_fold("7net-0:0-5", asked, known, cache_dir=tmp_path, progress=False)
    for k in range(born.FOLDS):
        changed = exchanged(known, np.flatnonzero(fold == k))
        after = born.out_of_fold("7net-0:0-5", asked, changed, cache_dir=tmp_path, progress=False)
        same = np.array([(a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(before, after, strict=True)])
        np.testing.assert_array_equal(same, np.tile(fold == k, 2))


def test_fold_models_are_kept_and_a_fold_is_that_of_the_formula_alone(known, tmp_path, monkeypatch):
    made = MadeUp()
    monkeypatch.setattr(born, "compute_features", made.features)
    monkeypatch.setattr(born, "stored_orbits", no_orbits)
    first = born.charges_out_of_fold("7net-0:0-5", known, known, cache_dir=tmp_path, progress=False)
    monkeypatch.setattr(born, "fit_charges", lambda *_: pytest.fail("a model that is on disk was fitted anew"))
    some = known[10:3:-2]
    again = born.charges_out_of_fold("7net-0:0-5", some, known, cache_dir=tmp_path, progress=False)
    for a, b in zip(again, first[10:3:-2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert len({born.fold_of("MgO", seed) for seed in range(30)}) == born.FOLDS


def test_a_model_is_the_same_from_its_file(known, folder, tmp_path):
    model = load_model("default", folder)
    model.save(tmp_path / "again.safetensors")
    again = load_charges(tmp_path / "again.safetensors")
    features = compute_features(model.features, [r.structure for r in known[:3]], progress=False)
    for (z, s), (zz, ss) in zip(model.predict(features), again.predict(features), strict=True):
        np.testing.assert_array_equal(z, zz)
        np.testing.assert_array_equal(s, ss)


def test_the_interval_of_a_fold_is_fitted_on_the_other_folds():
    fold = np.repeat([0, 1, 2], 100)
    ratios = np.tile(np.linspace(0.01, 1, 100), 3)
    found = coverage(ratios, fold)
    assert found["spread"] == pytest.approx(0.69) and found["covered_68"] == pytest.approx(0.68, abs=0.02)
    ten = coverage(np.where(fold == 1, 10 * ratios, ratios), fold)
    assert ten["covered_by_fold"][1] < 0.1 and ten["covered_by_fold"][0] > 0.68
    known = np.random.default_rng(1).normal(size=(4, 3, 3))
    assert errors([known], [known + 0.25 * np.eye(3)]) == pytest.approx(
        {"diagonal_mae": 0.25, "diagonal_median": 0.25, "all_mae": 0.25 / 3, "isotropic_mae": 0.25, "isotropic_median": 0.25}
    )


def test_phonopy_gets_the_first_atom_of_each_kind():
    wurtzite = CRYSTALS["hexagonal"]()  # two Zn, two O
    charges = np.arange(36.0).reshape(4, 3, 3)
    first, electronic, *lines = born_text(wurtzite, charges, 5 * np.eye(3)).splitlines()
    assert first == "# epsilon and Z* of atoms 1 3" and len(lines) == 2
    assert [float(x) for x in electronic.split()] == [5, 0, 0, 0, 5, 0, 0, 0, 5]
    np.testing.assert_array_equal(np.array([line.split() for line in lines], float), charges[[0, 2]].reshape(2, 9))
    assert born_text(wurtzite.make_supercell(2, in_place=False), np.zeros((32, 3, 3)), np.eye(3)).splitlines()[0].endswith("atoms 1 17")


def test_the_command_writes_what_python_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    wurtzite = CRYSTALS["hexagonal"]()
    wurtzite.to("zno.vasp", fmt="poscar")
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a ?\n")
    [want] = predict_charges("zno.vasp", progress=False)
    assert dtnet("charges", "zno.vasp", "broken.cif", "--output", "z.json") == 1
    said = capsys.readouterr().out
    assert "Zn × 2" in said and f"± {want.half_width[0]:.2f}" in said and "failed: broken.cif: " in said
    good, bad = json.loads((tmp_path / "z.json").read_text())
    np.testing.assert_allclose(good["charges"], want.charges, atol=1e-5)
    assert bad["id"] == "broken.cif" and bad["error"] and good["elements"] == ["Zn", "Zn", "O", "O"]
    for name in ("z.csv", "z.xyz", "BORN"):
        assert dtnet("charges", "zno.vasp", "--output", name) == 0
    rows = list(csv.DictReader((tmp_path / "z.csv").open()))
    assert [row["atom"] for row in rows] == ["1", "2", "3", "4"] and float(rows[2]["z_zz"]) == pytest.approx(want.charges[2, 2, 2], abs=1e-5)
    atoms = ase.io.read("z.xyz")
    np.testing.assert_allclose(atoms.arrays["born_charges"].reshape(-1, 3, 3), want.charges, atol=1e-6)
    np.testing.assert_allclose(atoms.cell[:], wurtzite.lattice.matrix, atol=1e-6)
    tensors = np.array([line.split() for line in (tmp_path / "BORN").read_text().splitlines()[1:]], float).reshape(-1, 3, 3)
    np.testing.assert_allclose(tensors[1:], want.charges[[0, 2]], atol=1e-4)
    assert 2 < tensors[0, 0, 0] < 8 and len(tensors) == 3
    capsys.readouterr()
    assert dtnet("charges", "zno.vasp", "zno.vasp", "--output", "BORN") == 1 and "of one crystal, and 2 are given" in capsys.readouterr().err
    assert dtnet("charges", "zno.vasp", "--output", "z.txt") == 1 and "begins with BORN" in capsys.readouterr().err


@pytest.mark.parametrize("variant", FEATURES)
def test_what_ships_is_what_was_tested(variant):
    record, model = read_json(RESULTS / "charges.json"), load_model(variant)
    scores = record["variants"][variant]["seeds"][0]
    assert model.features == FEATURES[variant] and model.spread == pytest.approx(scores["spread"])
    assert file_of(variant).stat().st_size < 5_000_000
    assert scores["diagonal_mae"] < scores["baselines"]["ridge"]["diagonal_mae"] < scores["baselines"]["by_element"]["diagonal_mae"]
    assert abs(scores["covered_68"] - 0.68) < 0.02
