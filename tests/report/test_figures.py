"""Every figure on tiny data: what is drawn is what was given; files are whole and the same every time."""

import json
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from pymatgen.core import Lattice, Structure

from dtnet_core.data.loading import load_records
from dtnet_core.metrics import metrics_by_system, tensor_metrics
from dtnet_core.report import figures as f

PAPER = json.loads((Path(__file__).resolve().parents[2] / "data" / "paper" / "table2.json").read_text())
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
RNG = np.random.default_rng(0)
REF = np.eye(3) * RNG.uniform(2, 20, (12, 1, 1))
SYSTEMS = ["cubic", "tetragonal", "triclinic"] * 4


def record(structure, electronic, ionic):
    pair = (None if e is None else np.eye(3) * e for e in (electronic, ionic))
    return SimpleNamespace(
        structure=structure, **dict(zip(("eps_electronic", "eps_ionic"), pair, strict=True))
    )


def run(target, layer, seed):
    pred = REF + np.random.default_rng([seed, layer]).normal(size=(12, 3, 3)) / layer
    return {
        "target": target, "model": "ours", "encoder": "7net-0", "layer": layer, "seed": seed,
        "by_system": metrics_by_system(REF, pred, SYSTEMS), **tensor_metrics(REF, pred),
    }  # fmt: skip


RECORDS = [
    record(SALT, 2.5, 3.5),
    record(RUTILE, 7.0, 60.0),
    record(RUTILE, 8.0, 0.0),
    record(SALT, 2.0, None),
]
LAYERS = [run("total", layer, seed) for layer in (1, 2, 3) for seed in (0, 1)]
ONE_LAYER = [run(target, 3, seed) for target in ("electronic", "total") for seed in (0, 1)]


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    before = dict(mpl.rcParams)
    yield
    assert plt.get_fignums() == [] and dict(mpl.rcParams) == before


def letters(fig):
    return [ax.get_title(loc="left") for ax in fig.axes if ax.get_title(loc="left")]


def texts(fig):
    return [text.get_text() for ax in fig.axes for text in ax.texts]


def test_electronic_ionic_map():
    fig = f.electronic_ionic_map(RECORDS)
    ax = fig.axes[0]
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[2.5, 3.5], [7, 60], [8, 0.1]])
    np.testing.assert_allclose(ax.collections[0].get_array(), [6, 67, 8])
    assert "electronic" in ax.get_xlabel() and "ionic" in ax.get_ylabel()
    assert any("3 crystals" in a.get_title(loc="right") for a in fig.axes)
    top, right = fig.axes[2:]  # how many of each value, with a scale
    assert sum(p.get_height() for p in top.patches) == sum(p.get_width() for p in right.patches) == 3
    assert top.get_ylabel() == right.get_xlabel() == "crystals" and top.yaxis.get_visible() and right.xaxis.get_visible()
    with pytest.raises(ValueError, match="none of the 1 records"):
        f.electronic_ionic_map(RECORDS[3:])


def test_crystal_system_counts():
    for fig in (
        f.crystal_system_counts(RECORDS),
        f.crystal_system_counts(RECORDS, ["cubic", "tetragonal"] * 2),
    ):
        (ax,) = fig.axes
        heights = {
            t.get_text(): p.get_height() for t, p in zip(ax.get_xticklabels(), ax.patches, strict=True)
        }
        assert len(heights) == 7 and sum(heights.values()) == 4
        assert heights["Cubic"] == heights["Tetragonal"] == 2


def test_element_counts():
    fig = f.element_counts(RECORDS, supported={"Na", "Cl", "Ti", "O", "H"})
    ax = fig.axes[0]
    assert {"Na", "Og"} & set(texts(fig)) == {"Na"} and texts(fig).count("2") == 4
    hatched = [patch for patch in ax.patches if patch.get_hatch()]
    assert len(hatched) == 103 - 5 + 1  # the unsupported elements, and the key
    assert not [p for p in f.element_counts(RECORDS).axes[0].patches if p.get_hatch()]


def test_tensor_glyph():
    tensors = {"sphere": 2 * np.eye(3), "disc": np.diag([5.0, 5.0, 1.0])}
    fig = f.tensor_glyph(tensors)
    axes = [ax for ax in fig.axes if ax.name == "3d"]
    assert [ax.get_title() for ax in axes] == list(tensors)
    assert [len(ax.lines) for ax in axes] == [9, 9]  # six half axes of the body, three of the frame
    assert axes[0].get_xlim() == axes[1].get_xlim() and any("5.00" in text for text in texts(fig))
    with pytest.raises(ValueError, match="at least one"):
        f.tensor_glyph({})


def test_layer_ablation():
    fig = f.layer_ablation(LAYERS, ("mae_ten", "rmse_ten"), paper=PAPER)
    assert letters(fig) == ["a", "b"] and [ax.get_xlabel() for ax in fig.axes] == ["encoder layer"] * 2
    curve, reference = fig.axes[0].lines
    expected = [np.mean([r["mae_ten"] for r in LAYERS if r["layer"] == n]) for n in (1, 2, 3)]
    np.testing.assert_allclose(curve.get_xydata(), np.transpose([[1, 2, 3], expected]))
    assert reference.get_ydata()[0] == 1.911 and len(fig.axes[0].collections) == 1
    other = [dict(r, encoder="7net-l3i5", layer=str(r["layer"])) for r in LAYERS]
    two = f.layer_ablation([*LAYERS, *other, dict(LAYERS[0], layer="0-5")])
    curves = [line.get_xydata() for line in two.axes[0].lines]
    assert [len(c) for c in curves if len(c) > 1] == [3, 3]
    all_layers = [c for c in curves if len(c) == 1 and c[0, 1] == LAYERS[0]["mae_ten"]]
    assert all_layers and all_layers[0][0, 0] == 4.5  # apart from the single layers, 1 to 3
    assert [t.get_text() for t in two.axes[0].get_xticklabels()] == ["1", "2", "3", "0-5"]
    assert [t.get_text() for t in two.legends[0].get_texts()] == ["7net-0", "7net-l3i5"]
    with pytest.raises(ValueError, match="single layers"):
        f.layer_ablation([dict(LAYERS[0], layer="1,2")])
    with pytest.raises(ValueError, match="nothing"):
        f.layer_ablation(LAYERS, ("nothing",))


def test_system_bars():
    fig = f.system_bars(ONE_LAYER, paper=PAPER)
    assert letters(fig) == ["a", "b"] and "electronic" in fig.axes[0].get_title()
    ax = fig.axes[1]
    assert len(ax.patches) == 8 * 4 and ax.get_xticklabels()[-1].get_text() == "All\n(12)"
    everything = [r["by_system"]["all"]["mae_ten"] for r in ONE_LAYER if r["target"] == "total"]
    assert ax.patches[7].get_height() == pytest.approx(np.mean(everything))
    assert 1.911 in ax.lines[-1].get_ydata() or any(1.911 in line.get_ydata() for line in ax.lines)
    with pytest.raises(ValueError, match="mix layer"):
        f.system_bars(LAYERS)


def test_parity():
    fig = f.parity(REF, REF * 1.1)
    assert letters(fig) == ["a", "b"]
    assert [len(ax.collections[0].get_offsets()) for ax in fig.axes] == [12, 36]
    mae = np.abs(REF[:, 0, 0] * 0.1).mean()
    assert all(f"MAE {mae:.3f}" in text for text in texts(fig))
    negative = f.parity(REF, REF - 10 * np.eye(3))  # below zero: drawn at the edge, counted as it is
    assert "MAE 10.000" in texts(negative)[0]
    assert f.parity(REF[:1], REF[:1], scale="linear").axes[0].get_xscale() == "linear"
    with pytest.raises(ValueError, match="cubic"):
        f.parity(REF, REF, scale="cubic")


def test_learning_curve():
    history = {"train": [3.0, 2.0, 1.0], "validation": [3.0, 2.5, 2.7]}
    (ax,) = f.learning_curve(history).axes
    assert [len(line.get_xdata()) for line in ax.lines] == [3, 3, 1]
    assert ax.lines[2].get_xydata().tolist() == [[2, 2.5]]
    assert len(f.learning_curve({"seed 0": history, "seed 1": history}).axes[0].lines) == 6


def test_against_paper():
    fig = f.against_paper(ONE_LAYER, PAPER)
    assert letters(fig) == ["a", "b"]
    rows = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert rows[0] == "ours (7net-0, layer 3)" and len(rows) == 1 + 5
    values = [c.lines[0].get_xdata()[0] for c in fig.axes[1].containers]
    assert values[1:] == [1.911, 1.927, 3.427, 2.185, 2.320]


def test_scaling():
    points = [{"series": s, "crystals": n, "seconds": n * 0.1} for s in ("ours", "plain") for n in (100, 300)]
    fig = f.scaling(points)
    assert len(fig.axes) == 1 and len(fig.axes[0].lines) == 3
    fig = f.scaling([dict(point, memory_mb=500.0 + point["crystals"]) for point in points])
    assert letters(fig) == ["a", "b"] and "MiB" in fig.axes[1].get_ylabel()
    with pytest.raises(ValueError, match="benchmarks"):
        f.scaling([])


def test_roads_search_and_reliability():
    def road(name, e, **changes):
        return {"road": name, "changes": changes, "validation_mae_ten": {"electronic": [e, e], "ionic": [1.0, 2.0], "total": [2.0, 3.0]}}

    fig = f.road_changes([road("plain", 0.4), road("worse", 0.5), road("better", 0.3), road("another network", 0.1, trial="x")])
    assert letters(fig) == ["a", "b", "c"]
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["better", "worse"]
    assert [bar.get_width() for bar in fig.axes[0].patches] == pytest.approx([-25.0, 25.0])

    trial = lambda v, rate, size: {"state": "COMPLETE", "value": v, "params": {"learning_rate": rate, "size": size, "fixed": 1}}  # noqa: E731
    trials = [trial(1.0, 1e-3, "paper"), trial(0.8, 2e-3, "double"), trial(0.9, 3e-3, "paper"), {**trial(0.1, 1.0, "x"), "state": "PRUNED"}]
    fig = f.search_trials({"trials": trials})
    shown = [ax for ax in fig.axes if ax.get_visible()]
    assert [ax.get_xlabel() for ax in shown] == ["learning rate (1/1000)", "size of the network"]
    beyond, others, best = (line.get_xydata().tolist() for line in shown[1].lines)
    assert others == [[1, 0.9], [1, 1.0]] and best == [[0, 0.8]] and beyond == []
    fig = f.search_trials({"trials": [*trials, trial(3.0, 4e-3, "double")]})  # what failed is a triangle at the edge, inside the axis
    assert [x for x, _ in fig.axes[1].lines[0].get_xydata()] == [0] and 1.0 < fig.axes[1].lines[0].get_ydata()[0] < fig.axes[1].get_ylim()[1] < 3

    record = {"target": "total", "levels": [0.5, 0.9], "coverage": [0.45, 0.91], "n_test": 100}
    (ax,) = f.reliability([record]).axes
    assert ax.lines[1].get_ydata().tolist() == [0.45, 0.91]


def test_files_are_whole_and_the_same_every_time(tmp_path):
    folder = tmp_path / "new"
    first, second = (
        [path.read_bytes() for path in f.save(f.parity(REF, REF * 1.1), folder / name)]
        for name in ("parity", "parity.png")
    )
    assert first == second
    assert first[0].startswith(b"\x89PNG") and first[1].startswith(b"%PDF")
    assert b"/FontFile2" in first[1] and b"CreationDate" not in first[1]  # TrueType embedded, no time
    assert sorted(path.name for path in folder.iterdir()) == ["parity.pdf", "parity.png"]


def test_files_are_opaque_whatever_the_page_behind_them(tmp_path):
    with mpl.rc_context({"savefig.transparent": True, "figure.facecolor": "none"}):
        png, _ = f.save(f.parity(REF, REF * 1.1), tmp_path / "drawn")
    pixels = plt.imread(png)
    assert pixels.shape[2] == 3 or (pixels[..., 3] == 1).all()
    assert (pixels[0, 0, :3] == 1).all()


def test_lengths_are_drawn_on_linear_axes_only():
    """Errors of refractive indices span decades: points there, bars for shares, which add up."""
    rows = [{"low": low, "high": low + 1, "rows": 5, "mae": mae, "share": 0.1} for low, mae in ((1, 0.02), (2, 0.5), (3, 9.0))]
    left, right = f.errors_by_n({"ours": rows, "theirs": rows}).axes
    assert left.get_yscale() == "log" and not left.patches and [0.02, 0.5, 9.0] in [list(line.get_ydata()) for line in left.lines]
    assert right.get_yscale() == "linear" and [p.get_height() for p in right.patches] == [0.1] * 6


def test_values_by_round():
    groups = {"labelled": np.geomspace(5, 80, 30), "round 1": np.array([60.0, 90.0, np.nan]), "round 2": np.array([np.nan])}
    first, again = (f.values_by_round(groups, "figure of merit") for _ in range(2))
    (ax,) = first.axes
    assert [t.get_text() for t in ax.get_xticklabels()] == ["labelled\n(30)", "round 1\n(2)"] and ax.get_yscale() == "log"
    outlines = [c for c in ax.collections if not isinstance(c, PathCollection)]
    points = [np.sort(c.get_offsets()[:, 1]) for c in ax.collections if c not in outlines]
    assert len(outlines) == 1  # two values have no density
    np.testing.assert_allclose(points[0], groups["labelled"])
    np.testing.assert_allclose(points[1], [60, 90])
    assert repr(first) == repr(again)  # nothing is scattered at random


def test_the_front_page_shows_a_tensor_that_turns_with_its_crystal(tmp_path):
    record = next(r for r in load_records("mini") if r.id == "MgI2-cdi2")
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    fig = f.front_page(record.structure, record.eps_total, turn)
    texts = [text.get_text() for ax in fig.axes for text in ax.texts]
    shown = [t for t in texts if t.count("\n") == 2]
    assert shown[0].split() == [f"{x:.2f}" for x in (record.eps_total.round(2) + 0.0).ravel()]
    assert len(fig.axes) == 4 and all(path.exists() for path in f.save(fig, tmp_path / "front"))


def test_the_blind_test_is_drawn_from_its_record():
    variant = {"variant": "default", "n": 3, "median_relative_error": 0.02, "histogram": [[0, 2], [0, 1]]}
    fig = f.blind_maps({"bins": [1.0, 5.0, 20.0], "variants": [variant, variant | {"variant": "best"}]})
    assert [ax.get_title() for ax in fig.axes[:2]] == ["default: median error 2.0 %", "best: median error 2.0 %"]
    (mesh,) = fig.axes[0].collections
    assert mesh.get_array().compressed().sum() == 3


def test_field_and_displacement():
    fig = f.field_and_displacement(np.diag([8.0, 5.0, 3.0]))
    shapes, angle = fig.axes
    circle, ellipse = (np.array(line.get_data()) for line in shapes.lines[:2])
    np.testing.assert_allclose(np.linalg.norm(circle, axis=0), np.linalg.norm(circle[:, 0]))
    np.testing.assert_allclose(ellipse, np.diag([8.0, 3.0]) @ circle / np.linalg.norm(circle[:, 0]), atol=1e-9)
    degrees, between = angle.lines[0].get_data()
    np.testing.assert_allclose(np.tan(np.radians(between.max())), 5 / (2 * np.sqrt(24)), rtol=1e-3)
    assert between[0] == pytest.approx(0, abs=1e-5) and between[-1] == pytest.approx(0, abs=1e-5) and degrees[-1] == 90


def test_mode_sums_and_turning_errors():
    fig = f.mode_sums(([1, 2, 30], [1.1, 2.1, 31]), ([1.5, 2, 3], [1.5, 2, 3]), {"MgO": 1})
    np.testing.assert_allclose(fig.axes[0].lines[1].get_data(), [[1, 2, 30], [1.1, 2.1, 31]])
    assert "MgO" in texts(fig) and "3 crystals" in [ax.get_title(loc="right") for ax in fig.axes] and letters(fig) == ["a", "b"]
    own = {"one": np.array([1e-7, 0.0]), "other": np.array([0.1, 0.2])}
    fig = f.turning_errors([10, 20], own, {"other": np.array([0.3, 0.4]), "one": np.array([0.5, 0.6])})
    np.testing.assert_allclose([line.get_ydata() for line in fig.axes[0].lines], [[1e-7, 1e-9], [0.1, 0.2]])
    np.testing.assert_allclose([line.get_ydata() for line in fig.axes[1].lines], [[0.5, 0.6], [0.3, 0.4]])
    assert letters(fig) == ["a", "b"] and {line.get_label() for ax in fig.axes for line in ax.lines} == {"one", "other"}


def test_symmetry_patterns_show_numbers_and_dots():
    fig = f.symmetry_patterns({"cubic": 6.5 * np.eye(3), "other": np.diag([1.0, 1.0, 2.0])}, columns=2)
    assert [t.get_text() for t in fig.axes[0].texts] == ["6.50", "·", "·", "·", "6.50", "·", "·", "·", "6.50"]
    colours = [patch.get_facecolor() for patch in fig.axes[1].patches]
    assert colours[0] == colours[4] != colours[8]


def test_signed_surfaces_and_a_crystal_beside_its_surface():
    fig = f.signed_surfaces({"raises": np.diag([0.0, 0, 1]), "both": np.diag([-1.0, -1, 2])})
    assert [ax.get_title() for ax in fig.axes] == ["raises", "both"] and any("-1.00" in text for text in texts(fig))
    orange = [{bool(red > blue) for red, _, blue, _ in ax.collections[0].get_facecolor()} for ax in fig.axes]
    assert orange == [{False}, {False, True}]
    fig = f.crystal_and_surface(RUTILE, np.diag([7.0, 7.0, 8.0]), "rutile")
    assert fig.axes[0].get_title() == "rutile" and any("8.00" in text for text in texts(fig))


def test_charge_maps_have_computed_across_and_predicted_up():
    counts = [[3, 0], [7, 2]]  # computed down, predicted across
    scores = {"histogram": counts, "diagonal_mae": 0.25}
    fig = f.charge_maps({"bins": [-8.0, 0.0, 8.0], "variants": {name: {"seeds": [scores]} for name in ("default", "best")}})
    panels = [ax for ax in fig.axes if ax.get_xlabel() == "computed charge (e)"]
    assert [ax.get_title() for ax in panels] == ["default: MAE 0.250 e", "best: MAE 0.250 e"]
    drawn = np.ma.filled(panels[0].collections[0].get_array(), 0).reshape(2, 2)
    np.testing.assert_array_equal(drawn, np.transpose(counts))
