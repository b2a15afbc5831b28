"""Ionic tensors mended by modes: what stays, what turns, and what the companion may know."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core import ensemble
from dtnet_core.base.results import write_json
from dtnet_core.crystals.symmetry import primitive_structure
from dtnet_core.members import raw_spread
from dtnet_core.metrics import SMALLEST_CONSTANT, log_of, scalar_constant
from dtnet_core.physics import ionic
from dtnet_core.physics.born import FEATURES, load_model
from dtnet_core.physics.companion import DAMPING, MACHINE, fit_companion, load_companion
from dtnet_core.physics.force_constants import force_constants
from dtnet_core.physics.ionic import MAX_ATOMS, MIXES, Mix, Modes, mend, mend_all, modes_of
from dtnet_core.physics.modes import polar_modes
from dtnet_core.potentials.store import compute_features
from dtnet_core.training.calibration import calibrate, spread_ratios
from dtnet_core.training.physics import Known
from tests.conftest import CRYSTALS, random_rotation, turn
from tests.physics.test_modes import Embedded

SHARE = MIXES["best"].share

DRAW = np.random.default_rng(0)


def some(n: int, noise: float = 0.05) -> Known:
    """Crystals whose constants are their sums over modes times a factor that their features tell."""
    pooled = DRAW.standard_normal((n, 30))
    logs = DRAW.normal(1.5, 0.7, n)
    numbers = np.concatenate([logs[:, None] + 0.1 * DRAW.standard_normal((n, 5)), DRAW.standard_normal((n, 2))], 1)
    root = DRAW.standard_normal((n, 3, 3))
    sums = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(3)
    constants = np.exp(numbers[:, 2] + 0.2 * pooled[:, 0] + noise * DRAW.standard_normal(n))
    return Known(pooled, Modes(numbers, sums), constants)


def members(n: int) -> np.ndarray:
    root = DRAW.standard_normal((5, n, 3, 3))
    return root @ root.transpose(0, 1, 3, 2) + np.eye(3)


def test_the_companion_learns_what_the_sum_leaves_open():
    known = some(400)
    companion = known.fit(np.arange(300))
    rest = np.arange(300, 400)
    said = companion.log_constant(known.pooled[rest], known.modes.numbers[rest])
    true = log_of(known.constants[rest])
    assert np.abs(said - true).mean() < 0.75 * np.abs(known.modes.numbers[rest, 2] - true).mean()


def test_the_companion_is_the_machine_that_was_fitted_and_comes_back_from_disk(tmp_path):
    from sklearn.svm import SVR

    known = some(120)
    companion = fit_companion(known.pooled, known.modes.numbers, known.constants)
    x = companion.inputs(known.pooled, known.modes.numbers)
    machine = SVR(**MACHINE).fit(x, log_of(known.constants) - known.modes.numbers[:, 2])
    said = companion.log_constant(known.pooled, known.modes.numbers)
    np.testing.assert_allclose(said, machine.predict(x) + known.modes.numbers[:, 2], atol=1e-6)
    companion.save(tmp_path / "c.safetensors")
    np.testing.assert_allclose(load_companion(tmp_path / "c.safetensors").log_constant(known.pooled, known.modes.numbers), said, atol=1e-4)


def test_inputs_of_the_companion_by_hand():
    """Deviations from the mean of the fitted crystals, clipped at ten, turned onto components of which the first has the deviation 1; what never varies is not looked at."""
    g = np.random.default_rng(3)
    pooled = g.standard_normal((60, 4)) * [3, 0.2, 1, 0] + [5, -1, 0, 2]
    pooled[:, 2] += pooled[:, 0] / 3
    numbers = g.standard_normal((60, 7)) * [1, 2, 3, 4, 5, 6, 0] + 7
    fitted = fit_companion(pooled, numbers, np.exp(numbers[:, 2]))
    x = fitted.inputs(pooled, numbers)
    assert x.shape == (60, 4 + 7)
    scaled = (pooled[:, :3] - pooled[:, :3].mean(0)) / pooled[:, :3].std(0)
    variances = np.linalg.eigvalsh(np.cov(scaled.T))[::-1]
    np.testing.assert_allclose(x[:, :3].std(0, ddof=1), np.sqrt(variances / variances[0]))
    away = lambda a: np.linalg.norm(a[:, None] - a, axis=-1)  # noqa: E731
    np.testing.assert_allclose(away(x[:, :4]), away(scaled) / np.sqrt(variances[0]), atol=1e-9)  # turned as a whole: nothing lost
    np.testing.assert_allclose(x[:, 4:10], (numbers - numbers.mean(0))[:, :6] / numbers.std(0)[:6])
    assert (x[:, 10] == 0).all()
    far, farther = np.tile(pooled.mean(0), (2, 1)) + np.outer([10, 1e4], pooled.std(0)) * [1, -1, 1, 0]
    np.testing.assert_allclose(fitted.inputs(far[None], numbers[:1]), fitted.inputs(farther[None], numbers[:1]))
    near = pooled.mean(0) + 9.9 * pooled.std(0) * [1, -1, 1, 0]
    assert np.abs(fitted.inputs(near[None], numbers[:1]) - fitted.inputs(far[None], numbers[:1])).max() > 0.01
    many = fit_companion(g.standard_normal((100, 70)), g.standard_normal((100, 7)), np.ones(100))
    assert many.components.shape == (70, 64)


def test_logarithms_have_a_floor():
    np.testing.assert_allclose(log_of(np.array([-1.0, 0.0, 0.05, 0.06, 20.0])), np.log([0.05, 0.05, 0.05, 0.06, 20.0]))


def test_what_the_companion_is_told_is_the_ratio_to_the_sum_with_its_own_damping():
    """Constants that are the sum at `DAMPING` times e: nothing else is learned, whatever the sums at other dampings."""
    g = np.random.default_rng(4)
    numbers, pooled = g.standard_normal((40, 7)), g.standard_normal((40, 3))
    column = (0.05, 0.15, 0.3, 0.6, 1.2).index(0.3)
    fitted = fit_companion(pooled, numbers, np.exp(numbers[:, column] + 1) + SMALLEST_CONSTANT)
    said = fitted.log_constant(pooled, numbers)
    assert DAMPING == 0.3 and np.abs(said - numbers[:, column] - 1).max() < 0.3 and np.abs(said - numbers[:, column] - 1).mean() < 0.15


def test_no_crystal_outside_the_training_set_changes_the_companion():
    known, train = some(200), np.arange(150)
    other = Known(known.pooled.copy(), Modes(known.modes.numbers.copy(), known.modes.sums), known.constants.copy())
    other.constants[150:] = 99.0
    other.pooled[150:] = -7.0
    other.modes.numbers[150:] = 3.0
    one, two = known.fit(train), other.fit(train)
    for name in ("center", "scale", "components", "number_mean", "number_scale", "vectors", "weights"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert one.intercept == two.intercept


def test_crystals_without_modes_keep_their_tensors():
    known, said = some(6), members(6)
    known.modes.numbers[2:4] = np.nan
    known.modes.sums[2:4] = np.nan
    mended, apart = mend(said, np.full(6, 1.0), known.modes)
    assert np.array_equal(mended[:, 2:4], said[:, 2:4])
    assert (apart[2:4] == 0).all()
    assert not np.allclose(mended[:, [0, 1, 4, 5]], said[:, [0, 1, 4, 5]])


@pytest.mark.parametrize("mix", [*MIXES.values(), Mix(0.3, 0.0)])
def test_constant_and_shape_are_those_promised(mix):
    known, said, companion = some(5), members(5), DRAW.normal(1, 0.5, 5)
    mended, apart = mend(said, companion, known.modes, mix)
    before, after = scalar_constant(said.mean(0)), scalar_constant(mended.mean(0))
    np.testing.assert_allclose(np.log(after), mix.share * companion + (1 - mix.share) * np.log(before))
    of_sum, of_networks = (x / scalar_constant(x)[:, None, None] for x in (known.modes.sums, said.mean(0)))
    np.testing.assert_allclose(mended.mean(0) / after[:, None, None], mix.shape * of_sum + (1 - mix.shape) * of_networks)
    np.testing.assert_allclose(apart, np.abs(np.exp(companion) - before))
    for one, new in zip(said, mended, strict=True):  # networks keep their opinions of each other
        np.testing.assert_allclose(scalar_constant(new) / after, scalar_constant(one) / before)


def test_networks_that_say_next_to_nothing_are_not_divided_by():
    """Constants below `SMALLEST_CONSTANT` count as it, and their networks are alike; a sum over modes that is zero gives no tensor."""
    opinions = np.array([0.01, 0.03])[:, None, None, None] * np.eye(3)  # [2, 1, 3, 3]
    shape = np.diag([1.0, 2.0, 3.0])
    mended, apart = mend(opinions, np.log([4.0]), Modes(np.zeros((1, 7)), shape[None]))
    wanted = 4**SHARE * 0.05 ** (1 - SHARE)
    np.testing.assert_allclose(mended, np.broadcast_to(wanted * shape / 2, mended.shape))
    assert apart == pytest.approx([4 - 0.02]) and MIXES["best"] == (0.8, 1.0)
    above = mend(10 * opinions, np.log([4.0]), Modes(np.zeros((1, 7)), shape[None]))[0]
    np.testing.assert_allclose(above[:, 0], 4**SHARE * 0.2 ** (1 - SHARE) * np.array([0.5, 1.5])[:, None, None] * shape / 2)
    nothing = mend(opinions, np.log([4.0]), Modes(np.zeros((1, 7)), np.zeros((1, 3, 3))))[0]
    assert (nothing == 0).all()


@pytest.mark.parametrize("without", [[], [0, 3], [0, 1, 2, 3]])
def test_what_is_mended_and_what_stays(without):
    """The electronic tensor as it was, before the bounds too; the ionic one mended, where there are modes; the total one their sum."""
    known = some(64)
    companion = known.fit(np.arange(4, 64))
    modes = Modes(known.modes.numbers[:4].copy(), known.modes.sums[:4].copy())
    modes.numbers[without], modes.sums[without] = np.nan, np.nan
    mine = np.setdiff1d(np.arange(4), without)
    bounded, unbounded = (np.stack([members(4), part, 0 * part], 2) for part in (members(4), members(4)))  # [M, B, 3, 3, 3]
    mended, opinions, apart = mend_all(companion, bounded, unbounded, known.pooled[:4], modes)
    logs = np.zeros(4)
    logs[mine] = companion.log_constant(known.pooled[mine], known.modes.numbers[mine])
    ionic_part, wanted_apart = mend(bounded[:, :, 1], logs, modes)
    np.testing.assert_allclose(apart, wanted_apart)
    for found, before in ((mended, bounded), (opinions, unbounded)):
        np.testing.assert_array_equal(found[:, :, 0], before[:, :, 0])
        np.testing.assert_array_equal(found[:, mine, 1], ionic_part[:, mine])
        np.testing.assert_array_equal(found[:, without, 1], before[:, without, 1])
        np.testing.assert_allclose(found[:, :, 2], found[:, :, 0] + found[:, :, 1])


def test_what_is_not_finite_goes_on_to_be_judged():
    """A network's answer that is no number makes this crystal's tensors no numbers, and leaves the others alone."""
    known, said = some(3), members(3)
    broken = said.copy()
    broken[2, 1] = np.nan
    wanted, found = (mend(x, np.ones(3), known.modes)[0] for x in (said, broken))
    assert not np.isfinite(found[:, 1]).any()
    np.testing.assert_array_equal(found[:, [0, 2]], wanted[:, [0, 2]])


def test_mending_turns_with_the_crystal():
    known, said, companion = some(4), members(4), DRAW.normal(1, 0.5, 4)
    q = np.linalg.qr(DRAW.standard_normal((3, 3)))[0]
    mended, apart = mend(said, companion, known.modes)
    turned, same = mend(q @ said @ q.T, companion, Modes(known.modes.numbers, q @ known.modes.sums @ q.T))
    np.testing.assert_allclose(turned, q @ mended @ q.T, atol=1e-10)
    np.testing.assert_allclose(same, apart, atol=1e-10)


def test_intervals_widen_where_networks_and_modes_differ():
    said = members(3)
    assert (raw_spread(said, 0.1, np.array([0.0, 1.0, 9.0])) - raw_spread(said, 0.1) > [-1e-12, 0, 0.5]).all()


def test_a_crystal_is_soft_when_a_damping_takes_a_third_of_its_sum():
    """Dampings of 0.05 and 0.6; a crystal without modes is neither soft nor hard."""
    numbers = np.full((4, 7), np.nan)
    numbers[:3, 0], numbers[:3, 3] = 2.0, 2.0 + np.log([0.99, 0.67, 0.66])
    found = Modes(numbers, np.zeros((4, 3, 3)))
    assert found.soft.tolist() == [False, False, True, False] and found.words() == [(), (), (ionic.IS_SOFT,), (ionic.WITHOUT_MODES,)]
    np.testing.assert_allclose(found.wider({"soft": 2.0, "without": 1.5}), [0.99**-2, 0.67**-2, 0.66**-2, 1.5])
    np.testing.assert_array_equal(found.wider(None), np.ones(4))


def test_intervals_hold_for_soft_crystals_and_for_those_without_modes():
    """Errors grow with the softness, by an amount that networks do not show; half of the crystals are fitted, the other half is asked."""
    g, n = np.random.default_rng(5), 4000
    numbers = np.zeros((n, 7))
    numbers[:, 3] = -g.exponential(0.3, n)
    numbers[::5] = np.nan
    modes, constant = Modes(numbers, np.zeros((n, 3, 3))), g.lognormal(1.5, 0.5, n)
    size = np.where(modes.known, np.exp(1.25 * np.nan_to_num(modes.softness)), 2.0)
    truth = constant * (1 + 0.1 * size * g.laplace(0, 1, n))
    said, true = constant[None, :, None, None] * np.eye(3) * np.ones((2, 1, 1, 1)), truth[:, None, None] * np.eye(3)
    first, other = np.arange(n) < n // 2, np.arange(n) >= n // 2
    told, blind = (calibrate(said[:, first], true[first], modes=m) for m in (modes.of(first), None))
    assert told["doubt"]["soft"] == pytest.approx(1.25, abs=0.3) and told["doubt"]["without"] == pytest.approx(2, abs=0.5) and "doubt" not in blind
    for kind in (modes.soft, modes.known & ~modes.soft, ~modes.known):
        mine = kind & other
        held = [(spread_ratios(said[:, mine], true[mine], f["base"], wider=modes.of(mine).wider(f.get("doubt"))) <= f["0.9"]).mean() for f in (told, blind)]
        assert held[0] == pytest.approx(0.9, abs=0.04) and abs(held[1] - 0.9) > abs(held[0] - 0.9)


def test_predictions_are_as_wide_as_their_modes_ask_for():
    """Two identical crystals but for what is said of their modes: the constant's interval and those of eigenvalues widen, the answer stays."""
    crystal, numbers = CRYSTALS["cubic"](), np.zeros((2, 7))
    asked = ensemble.load_ensemble("total")
    asked.reach, plainly = None, ensemble.load_ensemble("total")
    plainly.reach = None
    numbers[1, 3] = -2.0

    class Physics:
        charges = load_model("default")

        def mend(self, crystals, features, pooled, bounded, unbounded, *_):
            return bounded, unbounded, np.zeros(len(crystals)), Modes(numbers, np.zeros((2, 3, 3)))

    asked.physics, asked.calibration = Physics(), asked.calibration | {"doubt": {"soft": 0.5, "without": 1.0}}
    found, before = (e.predict([crystal, crystal], progress=False) for e in (asked, plainly))
    np.testing.assert_array_equal(found.tensors, before.tensors)
    for one, other in ((found.std, before.std), (found.wide, before.wide), (found.principal.std, before.principal.std), (found.principal.wide, before.principal.wide)):
        np.testing.assert_allclose(one[0], other[0])
        np.testing.assert_allclose(one[1], np.e * other[1])


@pytest.mark.parametrize("times", [(2, 1, 1), (1, 2, 2)])
def test_cells_are_reduced_without_being_turned(times):
    structure = Structure(Lattice.orthorhombic(3.1, 4.2, 5.3), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.45]])
    assert primitive_structure(structure) is structure
    found = primitive_structure(structure * times)
    assert len(found) == 2
    np.testing.assert_allclose(sorted(found.lattice.abc), [3.1, 4.2, 5.3], atol=1e-8)
    axes = np.abs(found.lattice.matrix) > 1e-6
    assert axes.sum() == 3  # each vector along one axis, as before


def test_large_cells_have_no_modes(monkeypatch):
    """More atoms than `MAX_ATOMS`: no force constants are asked for."""
    asked = []
    monkeypatch.setattr(ionic, "stored_force_constants", lambda encoder, cells, *rest: asked.extend(cells) or [np.eye(3 * len(c)) for c in cells])
    monkeypatch.setattr(ionic, "MAX_ATOMS", 2)  # the pair has just as many

    class Charges:
        features = "7net-0:0-5"

        def predict(self, features):
            return [(np.zeros((n, 3, 3)), np.zeros(n)) for n in features]

    pair = Structure(Lattice.cubic(3), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    three = Structure(Lattice.cubic(5), ["Cs", "Cl", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.52], [0.3, 0.1, 0.2]])
    physics = ionic.IonicPhysics(Charges(), None)
    monkeypatch.setattr(ionic.IonicPhysics, "encoder", None)
    found = physics.modes([pair, three], [2, 3])
    assert found.known.tolist() == [True, False]
    assert found.words() == [(), (ionic.WITHOUT_MODES,)]
    assert asked == [pair]


def test_cells_of_up_to_forty_atoms_have_modes():
    assert MAX_ATOMS == 40 and "more than 40 atoms" in ionic.WITHOUT_MODES


def test_modes_of_a_crystal_are_those_of_its_primitive_cell(tmp_path, monkeypatch):
    """In the frame that was given, whatever the cell; each crystal its own, from its own charges, force constants and volume."""
    potential, features = Embedded(), FEATURES["default"]
    monkeypatch.setattr(ionic.IonicPhysics, "encoder", potential)
    physics = ionic.IonicPhysics(load_model("default"), None)
    assert ionic.IonicPhysics.__dataclass_fields__.keys() == {"charges", "companion", "potential", "mix"}
    zno = turn(CRYSTALS["hexagonal"](), random_rotation(7))
    crystals = [CRYSTALS["cubic"]() * (2, 1, 1), zno, zno * (1, 2, 1), CRYSTALS["triclinic"]()]
    encoded = compute_features(features, crystals, False, tmp_path, False)
    assert not physics.modes(crystals, encoded, tmp_path, False, compute=False).known.any()
    found = physics.modes(crystals, encoded, tmp_path, False)
    assert found.known.all() and (physics.modes(crystals, encoded, tmp_path, False, compute=False).numbers == found.numbers).all()
    cells = [CRYSTALS["cubic"](), zno, zno, CRYSTALS["triclinic"]()]
    for i, cell in enumerate(cells):
        z = physics.charges.predict(compute_features(features, [cell], False, tmp_path, False))[0][0]
        modes = polar_modes(force_constants(potential, cell), z, cell.volume)
        assert modes.sum(DAMPING).max() > 0.1
        np.testing.assert_allclose(found.numbers[i], modes.numbers(), atol=0.02)
        np.testing.assert_allclose(found.sums[i], modes.sum(DAMPING), atol=0.01 * modes.sum(DAMPING).max())
        assert found.unstable[i] == pytest.approx(modes.unstable(), abs=0.01)
        first = physics.strongest(crystals[i], cache_dir=tmp_path)
        for one, wanted in zip(first, modes.shares(DAMPING), strict=False):
            assert one["share"] == pytest.approx(wanted["share"], abs=0.01)
            assert wanted["share"] < 0.02 or one["eigenvalue"] == pytest.approx(wanted["eigenvalue"], abs=1e-3)
    assert len(physics.strongest(zno, cache_dir=tmp_path)) == 3 and len(physics.strongest(zno, 1, tmp_path)) == 1


def test_crystals_without_force_constants_are_left_out_of_their_modes():
    springs = np.kron(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.diag([2.0, 4.0, 5.0]))
    born = np.stack([np.diag([1.0, 2.0, 3.0]), -np.diag([1.0, 2.0, 3.0])])
    found = modes_of([None, springs, springs], [np.zeros((7, 3, 3)), born, born], [1.0, 20.0, 40.0])
    assert found.known.tolist() == [False, True, True] and np.isnan(found.sums[0]).all() and np.isnan(found.numbers[0]).all() and found.unstable[0] == 0
    np.testing.assert_allclose(found.sums[1], polar_modes(springs, born, 20.0).sum(0.3))
    np.testing.assert_allclose(found.sums[2], found.sums[1] / 2)
    np.testing.assert_allclose(found.numbers[1], polar_modes(springs, born, 20.0).numbers())
    assert found.words() == [(ionic.WITHOUT_MODES,), (), ()]


def test_from_a_hundredth_of_the_charge_on_a_crystal_is_called_unstable():
    doubt = Modes(np.zeros((3, 7)), np.zeros((3, 3, 3)), np.array([0.0099, 0.0101, 0.5]))
    assert doubt.doubtful.tolist() == [False, True, True] and not Modes(doubt.numbers, doubt.sums).doubtful.any()


def test_unstable_vibrations_that_carry_charge_are_told():
    springs = np.kron(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.diag([5.0, 5.0, -0.3]))
    born = np.stack([2 * np.eye(3), -2 * np.eye(3)])
    found = ionic.modes_of([springs, np.abs(springs) * np.sign(np.kron([[1, -1], [-1, 1]], np.ones((3, 3))))], [born, born], [20.0, 20.0])
    assert found.unstable == pytest.approx([1 / 3, 0])
    assert found.words() == [(ionic.UNSTABLE,), ()]


def test_what_the_variant_does_not_say_is_that_of_its_networks(tmp_path):
    """Electronic intervals are those of the networks, whenever these are calibrated anew; ionic ones its own."""
    for name, targets in (("best", {"electronic": {"base": 1.0}, "ionic": {"base": 2.0}}), ("physics", {"ionic": {"base": 3.0}})):
        write_json(tmp_path / name / "calibration.json", {"targets": targets} | ({"networks": "best"} if name == "physics" else {"members": ["x"]}))
    found = ensemble._about(tmp_path, "physics")
    assert found == {"members": ["x"], "networks": "best", "targets": {"electronic": {"base": 1.0}, "ionic": {"base": 3.0}}}
    assert ensemble._about(tmp_path, "best")["targets"]["ionic"] == {"base": 2.0}
