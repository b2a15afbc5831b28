"""Hypothetical crystals, rankings by hand, the paper's validation, what DFPT will cost, and the figures of all that."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.base.results import append_result, load_results, plain
from dtnet_core.crystals.record import record_to_dict
from dtnet_core.crystals.sources import read_structure
from dtnet_core.data.loading import load_records
from dtnet_core.ensemble import Ensemble
from dtnet_core.report import figures
from dtnet_core.screening import live, prototypes, published, ranking, shortlist
from dtnet_core.screening.prototypes import estimate_gaps, hypothetical, relax, relaxed_pool
from dtnet_core.screening.published import against_published, published_records, two_calculations
from dtnet_core.screening.ranking import best, density, pareto_front, predict_pool, rank_pool, score
from dtnet_core.screening.selection import gaps_of, select_candidates
from tests.conftest import CRYSTALS
from tests.screening.test_screening import candidate, labelled, salt
from tests.screening.test_streaming import tiny_ensemble

CALIBRATION = {"base": 0.1, "0.68": 2.0, "0.9": 4.0}


def predictions(names, eps, std, ratio=1.0, ratio_std=0.1) -> pd.DataFrame:
    """What `predict_pool` gives, of isotropic tensors."""
    eps = np.asarray(eps, dtype=float)
    zero, columns = np.zeros(len(eps)), {"error": [None] * len(eps)}
    for part, value in (("electronic", eps / 3), ("ionic", eps * 2 / 3), ("total", eps)):
        columns |= {f"eps_{part}_{c}": value if c in ("xx", "yy", "zz") else zero for c in ranking.COMPONENTS}
        columns |= {f"eps_{part}_mean": value, f"eps_{part}_std": np.broadcast_to(std, eps.shape)}
    columns |= {"anisotropy_mean": np.broadcast_to(ratio, eps.shape), "anisotropy_std": np.broadcast_to(ratio_std, eps.shape)}
    return pd.DataFrame(columns, index=names)


def test_hypothetical_crystals_are_neutral_and_drawn_by_seed():
    everything = hypothetical(10**6)
    assert len(everything) > 300 and max(map(len, everything.values())) <= 5
    assert {"MgO-rocksalt", "BaTiO3-perovskite", "ZrS2-cdi2"} <= set(everything)
    assert not {"MgF-rocksalt", "NaO-rocksalt"} & set(everything)
    for name, crystal in list(everything.items())[::20]:
        assert name.split("-")[0] == crystal.composition.reduced_formula and crystal.composition.oxi_state_guesses()
    few = hypothetical(7, seed=3)
    assert len(few) == 7 and few.keys() == hypothetical(7, seed=3).keys() != hypothetical(7, seed=4).keys()


def test_relaxation_finds_the_known_crystal_and_says_what_fails(monkeypatch):
    found = relax(salt("Mg", "O", 4.45))
    assert found.lattice.abc == pytest.approx([4.25 / 2**0.5] * 3, rel=0.01) and found.get_space_group_info()[1] == 225
    pool, reasons = relaxed_pool({"MgO": salt("Mg", "O", 4.45), "far": salt("Mg", "O", 7.5)}, progress=False)
    assert [r.id for r in pool] == ["MgO"] and "volume went" in reasons["far"] and pool[0].eps_total is None
    monkeypatch.setattr(prototypes, "MAX_STEPS", 1)
    with pytest.raises(ValueError, match="not relaxed after 1 steps"):
        relax(salt("Mg", "O", 4.6), max_steps=1)


def test_gaps_are_learned_where_there_are_none(tmp_path):
    known = load_records("mini")[:60]
    bare = [replace(r, id=f"x{i}", meta={}) for i, r in enumerate(known[:5])] + [candidate("own", salt("Na", "F", 4.7), gap=1.25)]
    found, error = estimate_gaps(bare, known, "7net-0:1", cache_dir=tmp_path)
    assert gaps_of(found)[-1] == 1.25 and "gap_source" not in found[-1].meta and found[0].meta["gap_source"] == "estimated"
    assert np.abs(gaps_of(found)[:5] - gaps_of(known[:5])).max() < 1.0  # it knows these
    with pytest.raises(ValueError, match=r"5 of the pool's crystals have no gap \(x0, ...\), and 3 labelled"):
        estimate_gaps(bare, known[:3], "7net-0:1", cache_dir=tmp_path)
    assert 0 < error < np.abs(gaps_of(known) - np.median(gaps_of(known))).mean()


def test_scores_and_the_best_by_hand():
    pool = [candidate("a", salt("K", "Cl"), 4.0), candidate("b", salt("Na", "F"), 2.0), candidate("c", salt("Mg", "O") * (1, 1, 11), 9.0), candidate("d", salt("K", "F"), None)]
    table = predictions(list("abcd"), [5, 20, 30, 50], [1, 2, 3, 4], [1, 3, 2, 9], [0.5, 0, 2, 0])
    merit = score("figure of merit", pool, table, CALIBRATION)
    np.testing.assert_allclose(merit["value"], [20, 40, 270, np.nan])
    np.testing.assert_allclose(merit["score"], [20 + 1.5 * 4, 40 + 1.5 * 4, 270 + 1.5 * 27, np.nan])
    np.testing.assert_allclose(merit["eps_68"], 2 * np.hypot([1, 2, 3, 4], [0.5, 2, 3, 5]))
    told = score("figure of merit", pool, table.assign(eps_total_68=[7.0, np.nan, 8.0, 9.0]), CALIBRATION)
    np.testing.assert_allclose(told["eps_68"], [7, 2 * np.hypot(2, 2), 8, 9])  # the stream's own, where it has them
    rows = best("figure of merit", pool, merit, table, k=3)
    assert [(r["rank"], r["id"]) for r in rows] == [(2, "b"), (3, "a")] and rows[0]["tensor"] == [20, 20, 20, 0, 0, 0]
    ratio = score("anisotropy", pool, table, CALIBRATION, kappa=0)
    assert [r["id"] for r in best("anisotropy", pool, ratio, table, k=2)] == ["d", "b"]
    nitrogen = candidate("n", Structure(Lattice.cubic(6), ["N", "N"], [[0.46, 0.5, 0.5], [0.5436, 0.5, 0.5]]))
    alone = predictions(["n"], [3], [0], [5])
    assert best("anisotropy", [nitrogen], score("anisotropy", [nitrogen], alone, CALIBRATION), alone) == []
    assert pareto_front(np.array([1, 2, 3, 2, np.nan]), np.array([9, 5, 4, 6, 99])).tolist() == [2, 3, 0]


def test_density_is_where_the_crystals_are():
    rng = np.random.default_rng(0)
    gaps, eps = rng.normal(3, 0.5, 400), 10 ** rng.normal(1, 0.1, 400)
    gaps[:3], eps[3:6] = np.nan, -1
    x, y = np.linspace(0, 10, 41), np.linspace(0, 2, 41)
    assert np.isnan(density(gaps[:2], eps[:2], x, y)).all()  # two points have none
    found = density(gaps, eps, x, y)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert found.max() == 1 and x[column] == pytest.approx(3, abs=0.3) and y[row] == pytest.approx(1, abs=0.06)


def test_the_paper_s_results_are_ranked_scored_and_flagged(tmp_path):
    pool = [candidate(f"mp-{i}", salt(a, "Cl"), 2.0) for i, a in enumerate(("Li", "Na", "K", "Rb"))]
    names = [f"{p}_{c}" for p in ("electronic", "ionic", "total") for c in ("11", "12", "13", "22", "23", "33")]

    def row(name, electronic, ionic, *, broken=0.0):
        iso = lambda v: [v, 0, 0, v, 0, v + broken]  # noqa: E731
        return dict(zip(("mp-id", *names), (name, *iso(electronic), *iso(ionic), *iso(electronic + ionic)), strict=True))

    rows = [row("mp-0", 2, 8), row("mp-1", 1, 7), row("mp-2", 3, 17, broken=2), row("mp-99", 3, 1)]
    pd.DataFrame(rows).to_csv(tmp_path / published.PUBLISHED_FILES["figure of merit"], index=False)
    measured, count = published_records("figure of merit", pool, tmp_path)
    assert count == 4 and {r.id: r.flags for r in measured} == {"mp-0": (), "mp-1": ("not-converged",), "mp-2": ("symmetry_violation",)}
    scores = score("figure of merit", pool, predictions([r.id for r in pool], [12, 9, 30, 50], 0), CALIBRATION)
    found = against_published("figure of merit", measured, scores, count)
    assert [found[k] for k in ("rows", "in_pool", "scored", "candidates", "median_rank")] == [4, 3, 2, 4, 3]
    assert {m["id"]: m["rank"] for m in found["materials"]} == {"mp-0": 3, "mp-1": 4, "mp-2": 2}
    true = 20 + 2 / 3
    assert found["eps_errors"]["mae"] == pytest.approx((2 + 30 - true) / 2) and found["eps_errors"]["spearman"] == pytest.approx(1)
    assert "10.0" not in json.dumps(found["materials"])  # other people's values stay in their file
    failed = predictions([r.id for r in pool], [np.nan, 9, 30, 50], 0)
    assert against_published("figure of merit", measured, score("figure of merit", pool, failed, CALIBRATION), count)["in_pool"] == 2
    assert against_published("figure of merit", measured, scores.iloc[3:], count)["median_rank"] is None
    twice = two_calculations([labelled("mp-0", salt("Li", "Cl"), 9.0), labelled("mp-1", salt("Na", "Cl"), 7.0)], measured)
    assert [t["id"] for t in twice] == ["mp-0"] and twice[0]["percent"]["total"] == pytest.approx(10)
    oracle, accept = live.open_oracle("stored", "figure of merit", pool, [labelled("mp-0", salt("Li", "Cl"), 9.0)])
    assert [accept(r) for r in pool] == [True, False, False, False] and oracle.validate(pool[1:2]) == {"mp-1": "no stored result"}


def test_published_tensors_keep_their_place_in_the_matrix(tmp_path):
    """A crystal without symmetry, whose elements off the diagonal are all there and different."""
    pool = [candidate("mp-1", CRYSTALS["triclinic"](), mp_id="mp-1"), candidate("mp-2", salt("K", "Cl"), mp_id="mp-2")]
    parts = ("electronic", "ionic", "total")
    values = {f"{p}_{c}": (k + 1) * v for k, p in enumerate(parts) for c, v in zip(("11", "12", "13", "22", "23", "33"), (4.0, 0.3, -0.5, 5.0, 0.7, 6.0), strict=True)}
    pd.DataFrame([{"mp-id": name, **values} for name in ("mp-1", "mp-2")]).to_csv(tmp_path / published.PUBLISHED_FILES["anisotropy"], index=False)
    measured, count = published_records("anisotropy", pool, tmp_path)
    assert count == 2 and [r.flags for r in measured] == [(), ("symmetry_violation",)] and measured[0].functional == "PBE"
    for k, part in enumerate(parts):
        np.testing.assert_allclose(measured[0].tensor(part), (k + 1) * np.array([[4, 0.3, -0.5], [0.3, 5, 0.7], [-0.5, 0.7, 6]]))


def test_what_dfpt_can_do_and_costs(tmp_path):
    pytest.importorskip("sparc")
    computed = load_records("mini")[::8]
    pool = [candidate("MgS", salt("Mg", "S", 5.2)), candidate("FeO", salt("Fe", "O")), candidate("odd", salt("Mg", "F")), candidate("Yb", salt("Yb", "O")),
            candidate("small-gap", salt("Ca", "S"), 0.2), candidate("large", salt("Mg", "S") * (1, 1, 11)), candidate("cell", salt("Ca", "S", 5.7) * (1, 1, 2))]  # fmt: skip
    jobs = shortlist.affordable(pool, computed)
    assert set(jobs) == {"MgS", "cell"} and jobs["cell"]["n_atoms"] == 2 and jobs["MgS"]["spacegroup"] == "Fm-3m"
    assert shortlist.affordable(pool[:1], computed, max_minutes=0.01) == {}
    rate, times = shortlist.fit_cost(computed), np.array([r.meta["wall_s"] for r in computed])
    guess = np.array([rate * shortlist.Job.of(r.structure, r.meta["gap_ev"]).work() for r in computed])
    assert np.median(np.maximum(guess / times, times / guess)) < 2
    [path] = shortlist.write_inputs(pool[:1], tmp_path)
    assert path.name == "MgS.vasp" and np.allclose(read_structure(path).lattice.matrix, pool[0].structure.lattice.matrix, atol=1e-9)


def test_ranking_of_a_pool_from_end_to_end(tmp_path):
    records = load_records("mini")
    known = records[:60]
    pool = [replace(r, eps_electronic=None, eps_ionic=None, eps_total=None) for r in records[55:75]]
    members = tiny_ensemble()
    ensemble = Ensemble("total", members.networks, members.features, CALIBRATION)
    table = predict_pool(pool, tmp_path / "parts", ensemble, progress=False)
    found = rank_pool(pool, known, table, ensemble, "tiny", profile="mini", k=4)
    assert [r["target"] for r in found] == ["figure of merit", "anisotropy"] and found[0]["encoder"] == "7net-0"
    for record in found:
        append_result(tmp_path / "screening.json", record)
        assert record["candidates"] <= 15 and len(record["best"]) == 4 and record["failed"] == {}
        assert not {b["id"] for b in record["best"]} & {r.id for r in known}
    assert load_results(tmp_path / "screening.json")[1]["excluded"] == {"has a known label": 20 - found[0]["candidates"]}
    assert np.array(found[0]["densities"]["electronic"]["candidates"]).shape == (40, 40)

    drawn = [figures.gap_maps(found[0]["densities"]), figures.pareto(*zip(*found[0]["points"], strict=True), found[0]["front"], ([1, 2], [3, 4]))]
    drawn.append(figures.values_by_round({"labelled": [1.0, 2.0, np.nan], "round 1": [9.0], "round 2": [np.nan]}, "anisotropy"))
    assert [t.get_text() for t in drawn[-1].axes[0].get_xticklabels()] == ["labelled\n(2)", "round 1\n(1)"]
    drawn.append(figures.crystals([pool[0].structure, pool[1].structure], ["first", "second"]))
    assert [a.get_title() for a in drawn[-1].axes] == ["first", "second", ""] and len(drawn[-1].axes[0].patches) >= 8
    drawn.append(figures.checked({"total": [3.0, 9.0, np.nan]}, {"total": [4.0, 8.0, 2.0]}, ["MgO", "CaO", "NaF"], np.array([1.0, 20.0, 1.0])))
    assert drawn[-1].axes[0].collections[-1].get_offsets().tolist() == [[4, 3], [8, 9]]
    by_round = [{"recall": 0.25, "best": 5.0, "hits": 1, "hit_rate": 0.1}, {"recall": 0.5, "best": 8.0, "hits": 1, "hit_rate": 0.3}]
    run = {"task": "anisotropy", "best_known": 4.0, "best_hidden": 10.0, "by_round": by_round}
    drawn.append(figures.retrospective_curves([run | {"acquisition": "random"}, run | {"acquisition": "ucb"}, run | {"acquisition": "ucb"}]))
    assert [line.get_ydata().tolist() for line in drawn[-1].axes[0].lines] == [[0, 25, 50]] * 2
    assert drawn[-1].axes[1].lines[0].get_ydata()[1:] == pytest.approx([10, 30]) and drawn[-1].axes[2].lines[0].get_ydata().tolist() == [40, 50, 80]
    for i, figure in enumerate(drawn):
        figures.save(figure, tmp_path / str(i))
    assert plain(found) == found


def test_crystals_outside_of_the_domain_are_told_or_left_out():
    pool = [candidate(n, salt(a, x), gap) for n, a, x, gap in (("a", "K", "Cl", 4.0), ("b", "Na", "F", 2.0), ("c", "Li", "F", 9.0))]
    table = predictions(list("abc"), [5, 20, 30], 1).assign(in_domain=[True, True, False], distance=[0.5, 1, 4], nearest="mp-1 KCl", warnings=["", "", "unlike"])
    rank = lambda table, **how: rank_pool(pool, load_records("mini")[:1], table, Ensemble("total", [], ["7net-0:1"], CALIBRATION), "tiny", profile="mini", **how)[0]  # noqa: E731
    told, without = rank(table), rank(table, in_domain_only=True)
    assert [b["id"] for b in told["best"]] == ["c", "b", "a"] and [b["in_domain"] for b in told["best"]] == [False, True, True]
    assert (told["candidates"], told["outside_domain"], told["best"][0]["distance"], told["best"][0]["warnings"]) == (3, 1, 4, "unlike")
    assert [(b["rank"], b["id"]) for b in without["best"]] == [(1, "b"), (2, "a")] and without["excluded"]["outside of the domain"] == 1
    assert without["command"] == told["command"] + " --in-domain-only" and without["model"] != told["model"]
    before = rank(predictions(list("abc"), [5, 20, 30], 1))  # of parts from before
    assert [b["id"] for b in before["best"]] == ["c", "b", "a"] and before["best"][0]["in_domain"] is None and before["outside_domain"] == 0
    with pytest.raises(ValueError, match="3 predictions are from before it was kept whether a crystal is in the domain"):
        rank(predictions(list("abc"), [5, 20, 30], 1), in_domain_only=True)


def test_shortlists_of_stored_rankings_can_require_the_domain(tmp_path, monkeypatch):
    pool = [candidate(n, salt("K", "Cl"), 4.0) for n in "abc"]
    monkeypatch.setattr(shortlist, "load_records", lambda *_: pool)
    rows = [{"id": n, "minutes": m, "in_domain": inside} for n, m, inside in (("a", 9, False), ("b", 5, True), ("c", 2, True))]
    path = tmp_path / "screening.json"
    store = lambda rows: path.write_text(json.dumps([{"study": "ranking", "task": "anisotropy", "shortlist": rows}]))  # noqa: E731
    names = lambda **how: [record.id for _, record in shortlist.stored_shortlist(None, 2, path, **how)]  # noqa: E731
    store(rows)
    assert names() == ["b", "a"] and names(in_domain_only=True) == ["c", "b"]
    store([{"id": "a", "minutes": 3}])  # of before
    assert names() == ["a"]
    with pytest.raises(ValueError, match="does not say which candidates are in the domain"):
        names(in_domain_only=True)


def test_pools_and_oracles_by_name(tmp_path, monkeypatch):
    records = load_records("mini")
    hidden = [r for r in records if r.id == "KBr-rocksalt"]
    pool, _, error = live.open_pool("prototypes", [r for r in records if r.id != "KBr-rocksalt"], hidden, 1, cache_dir=tmp_path, progress=False)
    assert "KBr-rocksalt" in {r.id for r in pool} and all(r.eps_total is None for r in pool) and error > 0
    assert select_candidates(pool, records, max_hull=None)[1]["KBr-rocksalt"] == "has a known label"
    salt("Na", "Br", 6.0).to(tmp_path / "own.cif")
    (tmp_path / "bad.cif").write_text("data_\n")
    pool, reasons, _ = live.open_pool(str(tmp_path), records, cache_dir=tmp_path, progress=False)
    assert [r.formula for r in pool] == ["NaBr"] and list(reasons) == ["bad.cif"] and gaps_of(pool)[0] > 1
    own = [{"id": "a", "structure": pool[0].structure.as_dict(), "band_gap_ev": 4.2, "energy_above_hull_ev": 0.1},
           record_to_dict(labelled("b", salt("Na", "Br", 6.0), 5.0, gap=4.0))]  # fmt: skip
    (tmp_path / "own.json").write_text(json.dumps(plain(own)))
    pool, _, error = live.open_pool(str(tmp_path / "own.json"), records)
    assert gaps_of(pool).tolist() == [4.2, 4.0] and error is None  # what the list knows is not guessed
    assert select_candidates(pool, max_hull=0.0)[1] == {"a": "unstable by 0.100 eV/atom", "b": "has a known label"}
    monkeypatch.delenv(published.PUBLISHED_VARIABLE, raising=False)
    for name, word in (("published", "DTNET_PUBLISHED_DIR"), ("vasp", "needs a folder"), ("oracle", "stored, published, dfpt, vasp")):
        with pytest.raises(ValueError, match=word):
            live.open_oracle(name, "anisotropy", pool)
    assert [live.open_oracle(n, "anisotropy", pool, folder=tmp_path, max_atoms=1)[1](pool[0]) for n in ("dfpt", "vasp")] == [False, True]
