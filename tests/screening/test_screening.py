"""Screening: filters, Eq. 28 by hand, diverse batches, three oracles, rounds that survive a kill, the retrospective study."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core import dfpt
from dtnet_core.base.files import InUseError, locked
from dtnet_core.base.results import load_results
from dtnet_core.crystals.record import Record, record_to_dict
from dtnet_core.data.loading import load_records
from dtnet_core.screening import learner, retrospective
from dtnet_core.screening.campaign import Campaign, DFPTOracle, StoredOracle, VaspOracle, run_rounds
from dtnet_core.screening.labelled import hide
from dtnet_core.screening.learner import DTNetLearner, Setup, learner_set
from dtnet_core.screening.retrospective import enrichment, run_enrichment, run_study, summarise
from dtnet_core.screening.selection import (
    KAPPA,
    MAX_ATOMS,
    SHORTLIST,
    acquisition,
    bonding_dimensionality,
    choose,
    composition_descriptor,
    ensemble_statistics,
    gaps_of,
    is_extended,
    select_candidates,
    task_values,
)
from tests.conftest import CRYSTALS, random_rotation, turn
from tests.dfpt.test_vasp import vasprun

HALIDES = [(a, b) for a in ("Li", "Na", "K", "Rb") for b in ("F", "Cl", "Br", "I")]


def salt(cation: str, anion: str, a: float = 5.0) -> Structure:
    """Rock salt, two atoms."""
    return Structure(a / 2 * (1 - np.eye(3)), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def candidate(name: str, structure: Structure, gap: float | None = 2.0, hull: float | None = 0.0, **more) -> Record:
    meta = {"band_gap_ev": gap, "energy_above_hull_ev": hull}
    return Record(name, structure, structure.composition.reduced_formula, meta={k: v for k, v in meta.items() if v is not None}, **more)


def labelled(name: str, structure: Structure, eps: float, gap: float = 2.0) -> Record:
    e = np.eye(3)
    return replace(candidate(name, structure, gap), eps_electronic=e * 2, eps_ionic=e * (eps - 2), eps_total=e * eps)


def test_equation_28_and_the_other_orders_by_hand():
    members = np.array([[10.0, 8.0, 1.0, 5.0], [10.0, 12.0, 5.0, 5.0]])  # [M, B]
    mean, deviation = ensemble_statistics(members)
    assert mean.tolist() == [10, 10, 3, 5] and np.allclose(deviation, [0, 8**0.5, 8**0.5, 0])
    assert np.allclose(acquisition("ucb", mean, deviation), [10, 10 + 1.5 * 8**0.5, 3 + 1.5 * 8**0.5, 5])
    assert choose(acquisition("ucb", mean, deviation), 4) == [1, 0, 2, 3]
    assert choose(acquisition("ucb", mean, deviation, kappa=0), 4) == choose(acquisition("greedy", mean, deviation), 4) == [0, 1, 3, 2]
    assert choose(acquisition("ucb", mean, deviation, kappa=10), 2) == choose(acquisition("uncertainty", mean, deviation), 2) == [1, 2]
    drawn = [acquisition("random", mean, deviation, seed=s) for s in (0, 0, 1)]
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).all()
    assert ensemble_statistics(members[:1])[1].tolist() == [0] * 4
    assert choose(np.array([1.0, np.nan, 3.0]), 3) == [2, 0]
    with pytest.raises(ValueError, match="ucb, greedy"):
        acquisition("best", mean, deviation)


def test_values_of_both_tasks():
    q = random_rotation(1)
    tensors = np.array([np.diag([2.0, 4.0, 6.0]), q @ np.diag([1.0, 1.0, 10.0]) @ q.T, np.diag([-1.0, 1.0, 3.0])])
    np.testing.assert_allclose(task_values("figure of merit", np.stack([tensors, 2 * tensors]), [1, 2, np.nan]),
                               [[4, 8, np.nan], [8, 16, np.nan]])  # fmt: skip
    np.testing.assert_allclose(task_values("anisotropy", tensors), [3, 10, np.nan])
    with pytest.raises(ValueError, match="needs gaps"):
        task_values("figure of merit", tensors)


def test_diverse_batches():
    crystals = [salt(*x) for x in (("K", "Cl"), ("K", "Cl"), ("K", "Br"), ("Na", "Cl"), ("Mg", "O"))]
    crystals[1] = Structure.from_spacegroup("Pm-3m", Lattice.cubic(4), ["K", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    scores = np.array([9.0, 8, 7, 6, 5])
    assert choose(scores, 3, crystals) == [0, 1, 2]
    assert choose(scores, 3, crystals, "systems") == [0, 2, 3]
    assert choose(scores, 5, crystals, "systems") == [0, 2, 3, 4, 1]  # the rest only when there is nothing else
    assert choose(scores, 2, crystals, "farthest") == [0, 4]
    assert choose(scores, 4, crystals, "farthest")[:2] == [0, 4] and 1 not in choose(scores, 4, crystals, "farthest")
    asked = []
    assert choose(scores, 2, crystals, accept=lambda i: asked.append(i) or i != 1) == [0, 2] and asked == [0, 1, 2, 3][: len(asked)]
    with pytest.raises(ValueError, match="none, systems, farthest"):
        choose(scores, 2, crystals, "far")


def test_candidates_and_why_others_are_none():
    nitrogen = Structure(Lattice.cubic(6), ["N", "N"], [[0.46, 0.5, 0.5], [0.5436, 0.5, 0.5]])
    graphite = Structure(Lattice.hexagonal(2.46, 6.7), ["C"] * 4, [[0, 0, 0.25], [0, 0, 0.75], [1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]])
    assert [bonding_dimensionality(s) for s in (nitrogen, graphite, salt("Mg", "O", 4.2))] == [0, 2, 3]
    known = [labelled("k", turn(salt("K", "Cl", 6.3) * (1, 1, 2), random_rotation(0)), 5.0), replace(labelled("m", CRYSTALS["chiral"](), 4.0), mp_id="mp-7")]
    pool = [
        candidate("good", salt("Na", "Br", 6.0)),
        candidate("unstable", salt("Na", "F"), hull=0.1),
        candidate("no-hull", salt("Na", "F"), hull=None),
        candidate("metal", salt("Na", "F"), gap=0.0),
        candidate("no-gap", salt("Na", "F"), gap=None),
        candidate("nan-gap", salt("Na", "F"), gap=np.nan),
        candidate("same", salt("K", "Cl", 6.4)),
        candidate("polymorph", Structure(Lattice.cubic(3.8), ["K", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])),
        candidate("x", salt("Na", "F"), mp_id="mp-7"),
        candidate("actinide", salt("Cm", "O")),
        candidate("large", salt("Na", "F", 4.6) * (1, 1, 4)),
        candidate("molecular", nitrogen),
    ]
    kept, reasons = select_candidates(pool, known, max_atoms=6, molecular=False)
    assert [r.id for r in kept] == ["good", "polymorph"]
    words = {"unstable": "unstable by 0.100", "no-hull": "not known", "metal": "gap of 0.00", "no-gap": "gap is not known", "nan-gap": "gap is not known", "same": "label",
             "x": "label", "actinide": "Cm", "large": "8 atoms", "molecular": "molecular"}  # fmt: skip
    assert set(reasons) == set(words) and all(word in reasons[name] for name, word in words.items())
    assert [r.id for r in select_candidates(pool, max_hull=None, min_gap=None)[0]] == [r.id for r in pool if r.id != "actinide"]
    assert is_extended(pool[0]) and not is_extended(pool[-1])


def test_limits_of_candidates_are_exact():
    """At most the hull's limit, above the gap's, at most so many atoms; a stored label, an id or a Materials Project id is enough to be known."""
    pool = [candidate("at", salt("Na", "Br", 6.0), 1.0, 0.05), candidate("above", salt("Na", "Br", 6.0), 1.0, 0.0501), candidate("gap", salt("Na", "I", 6.5), 0.5),
            candidate("gap-more", salt("Na", "I", 6.5), 0.501), candidate("nan-hull", salt("Na", "F"), hull=np.nan), candidate("four", salt("Na", "F", 4.6) * (1, 1, 2)),
            candidate("six", salt("Na", "F", 4.6) * (1, 1, 3)), labelled("has-one", salt("Rb", "F"), 5.0), candidate("by-id", salt("Rb", "Cl")),
            candidate("by-mp-id", salt("Rb", "Br"), mp_id="by-mp-id-2"), candidate("other", salt("K", "Br"), mp_id="mp-8")]  # fmt: skip
    known = [labelled("by-id", salt("Mg", "O"), 5.0), replace(labelled("k", salt("Ca", "O"), 4.0), mp_id="by-mp-id-2"), labelled("mp-9", salt("Sr", "O"), 4.0)]
    kept, reasons = select_candidates(pool, known, max_hull=0.05, min_gap=0.5, max_atoms=4)
    assert [r.id for r in kept] == ["at", "gap-more", "four", "other"]
    assert reasons == {"above": "unstable by 0.050 eV/atom", "gap": "gap of 0.50 eV", "nan-hull": "energy above the hull is not known", "six": "6 atoms",
                       "has-one": "has a known label", "by-id": "has a known label", "by-mp-id": "has a known label"}  # fmt: skip
    assert [r.id for r in select_candidates([replace(pool[0], mp_id="mp-9")], known, max_hull=1.0)[0]] == []  # known under its other id
    assert select_candidates([], known) == ([], {})
    assert [r.id for r in select_candidates(pool[-1:])[0]] == ["other"]


def test_gaps_come_from_the_file_first():
    metal = replace(candidate("m", salt("Na", "F"), 0.0), meta={"band_gap_ev": 0.0, "gap_ev": 3.0})
    own = replace(metal, meta={"gap_ev": 3.0})
    np.testing.assert_array_equal(gaps_of([metal, own, replace(metal, meta={})]), [0, 3, np.nan])


def test_compositions_are_fractions_of_the_elements():
    found = composition_descriptor([salt("Na", "F"), Structure(Lattice.cubic(5), ["Og", "H", "H", "O"], np.eye(4)[:, :3] / 2)])
    wanted = np.zeros((2, 118))
    wanted[0, [10, 8]], wanted[1, [117, 0, 7]] = 0.5, [0.25, 0.5, 0.25]
    np.testing.assert_allclose(found, wanted)
    assert (SHORTLIST, KAPPA, MAX_ATOMS) == (5, 1.5, 20)


def test_farthest_looks_at_five_candidates_for_each_place():
    """Two places: ten candidates. Nine salts of sodium, then magnesia; it is the tenth, or it comes too late."""
    sodium = [salt("Na", x) for x in ("Cl", "Br", "F", "I", "Cl", "Br", "F", "I", "Cl", "Br")]
    scores = np.arange(20.0, 9.0, -1)
    assert choose(scores, 2, [*sodium[:9], salt("Mg", "O"), sodium[9]], "farthest") == [0, 9]
    assert choose(scores, 2, [*sodium, salt("Mg", "O")], "farthest") == [0, 1]  # others share an element; of equal ones the better
    three = [salt("Na", "Cl"), salt("Na", "F"), salt("K", "Cl"), salt("K", "F"), salt("Mg", "O")]
    assert choose(scores[:5], 4, three, "farthest") == [0, 3, 4, 1]  # L1 distances 2, 2, then 1 and 1
    assert choose(scores[:5], 9, three, "farthest") == [0, 3, 4, 1, 2] and choose(scores[:5], 0, three, "farthest") == []
    assert choose(np.full(3, np.nan), 2, three[:3], "farthest") == [] and choose(scores[:5], 0) == []
    assert choose(np.array([np.inf, 2.0, 2.0, -np.inf, 3.0]), 5) == [4, 1, 2]  # what is not finite has no place; equal ones keep their order
    assert choose(scores[:5], 1, three, "systems") == [0]
    double = [salt("Na", "Cl"), salt("Na", "Cl"), salt("Na", "F"), salt("Na", "F"), salt("K", "F")]
    asked = []
    assert choose(scores[:5], 2, double, "systems", lambda i: asked.append(i) or True) == [0, 2] and asked == [0, 1, 2]  # no more than needed
    assert choose(scores[:5], 4, double, "systems") == [0, 2, 4, 1]


def test_tasks_of_no_candidates_and_of_many_members():
    none, gaps = np.zeros((2, 0, 3, 3)), np.array([1.0, 2.0])
    assert task_values("anisotropy", none).shape == task_values("figure of merit", none, np.zeros(0)).shape == (2, 0)
    members = np.arange(1.0, 5).reshape(2, 2)[..., None, None] * np.diag([1.0, 2.0, 6.0])
    np.testing.assert_allclose(task_values("figure of merit", members, gaps), [[3, 12], [9, 24]])
    np.testing.assert_allclose(task_values("anisotropy", members), np.full((2, 2), 6))
    with pytest.raises(ValueError, match="gaps given"):
        task_values("hardness", members, gaps)


def test_stored_and_open_dfpt_oracles(tmp_path, monkeypatch):
    first, second = (r for r in load_records("mini") if r.id in ("BN-wurtzite", "KBr-rocksalt"))
    stored = [replace(first, mp_id="mp-1"), replace(second, flags=("imaginary-mode",))]
    asked = [candidate("mp-1", first.structure), candidate(second.id, second.structure), candidate("mp-3", first.structure)]
    asked[0] = replace(asked[0], mp_id="mp-1")
    found = StoredOracle(stored).validate(asked)
    assert np.array_equal(found["mp-1"].eps_total, first.eps_total) and found["mp-1"].id == "mp-1"
    assert found[second.id] == "refused: imaginary-mode" and found["mp-3"] == "no stored result"

    answers = {"mp-1": record_to_dict(first) | {"id": "mp-1"}, second.id: "pw.x did not end"}
    jobs = []
    monkeypatch.setattr(dfpt, "programs", lambda engine: jobs.append(engine))
    monkeypatch.setattr(dfpt, "pseudo_folder", lambda: None)
    monkeypatch.setattr(dfpt, "run_many", lambda queue, *a, **k: jobs.extend([queue, a, k]) or {key: answers[key] for key, _ in queue})
    cell = Structure(Lattice.cubic(9), ["Mg"] * 6, np.random.default_rng(0).random((6, 3)))
    asked[2:] = [candidate("mp-3", cell), candidate("mp-4", salt("Li", "F") * (2, 1, 2))]
    answers["mp-4"] = dfpt.Postponed("in use by another process")
    with pytest.warns(UserWarning, match="mp-4 is asked again by the next call: in use"):
        found = DFPTOracle(tmp_path, 2, 4, {"timeout": 60}).validate(asked)
    assert jobs[0] == "qe" and [key for key, _ in jobs[1]] == ["mp-1", second.id, "mp-4"] and jobs[2:] == [(tmp_path, 2), {"timeout": 60}]
    assert np.allclose(found["mp-1"].eps_total, first.eps_total) and "mp-4" not in found
    assert found[second.id] == "pw.x did not end" and found["mp-3"] == "more than 4 atoms in its primitive cell"


def test_vasp_oracle_waits_for_results(tmp_path):
    record = next(r for r in load_records("mini") if r.id == "BN-wurtzite")
    pool = [candidate(name, record.structure, 5.0) for name in ("a", "b", "c")]
    pool[2] = candidate("c", Structure(Lattice.cubic(9), ["Og"], [[0, 0, 0]]), 5.0)
    learner, campaign = Table({}), Campaign(rounds=2, top_k=3)
    found = run_rounds(campaign, learner, VaspOracle(tmp_path / "vasp"), [], pool, tmp_path / "rounds")
    assert [r["status"] for r in found] == ["waiting"] and set(found[0]["answers"]) == {"c"} and "Og" in found[0]["answers"]["c"]["error"]
    assert {p.name for p in (tmp_path / "vasp" / "a").iterdir()} == {"INCAR", "KPOINTS", "POSCAR", "POTCAR.spec"}
    (tmp_path / "vasp" / "a" / "vasprun.xml").write_text(vasprun(record))
    (tmp_path / "vasp" / "b" / "vasprun.xml").write_text(vasprun(record)[:2000])  # while VASP runs
    with pytest.warns(UserWarning, match="b is asked again by the next call: .*did the run end"):
        found = run_rounds(campaign, learner, VaspOracle(tmp_path / "vasp"), [], pool, tmp_path / "rounds")
    assert [r["status"] for r in found] == ["waiting"] and set(found[0]["answers"]) == {"a", "c"}
    (tmp_path / "vasp" / "b" / "vasprun.xml").write_text(vasprun(record))
    found = run_rounds(campaign, learner, VaspOracle(tmp_path / "vasp"), [], pool, tmp_path / "rounds")
    assert [r["status"] for r in found] == ["done", "done"] and found[1]["proposed"] == [] and learner.calls == [[]]
    assert found[0]["answers"]["b"]["value"] == pytest.approx(5 * np.trace(record.eps_total) / 3) == found[1]["best"]
    for name in ("POSCAR", "vasprun.xml"):
        with pytest.raises(ValueError, match=rf"vasp/a/{name} is of another crystal .* than candidate a \(Li1 F1"):
            VaspOracle(tmp_path / "vasp").validate([candidate("a", salt("Li", "F"))])
        (tmp_path / "vasp" / "a" / "POTCAR.spec").unlink(missing_ok=True)


class Table:
    """A learner that gives each formula its number, plus 1 for each that it was trained on; counts its calls."""

    def __init__(self, numbers: dict[str, float]):
        self.numbers, self.calls = numbers, []

    def fit(self, records):
        self.calls.append([r.id for r in records])

        def predict(structures):
            eps = np.array([self.numbers.get(s.composition.reduced_formula, 3.0) for s in structures])
            members = np.stack([eps, eps * 1.2])[..., None, None] * np.eye(3)
            return members.mean(0), members

        return predict


class Lab:
    """An oracle that answers a few candidates at a time, fails where it is told to, and counts."""

    def __init__(self, records, at_a_time=99, broken=(), dies_at=None):
        self.inner, self.at_a_time, self.broken, self.dies_at, self.calls = StoredOracle(records), at_a_time, broken, dies_at, []

    def validate(self, candidates):
        candidates = candidates[: self.at_a_time]
        if self.dies_at in {c.id for c in candidates}:
            raise KeyboardInterrupt
        self.calls += [c.id for c in candidates]
        return {k: "not converged" if k in self.broken else v for k, v in self.inner.validate(candidates).items()}


@pytest.fixture
def halides():
    """Sixteen salts; the learner's order is theirs, the best last."""
    truth = [labelled(f"{a}{b}", salt(a, b), 4.0 + i) for i, (a, b) in enumerate(HALIDES)]
    numbers = {r.formula: 4.0 + i for i, r in enumerate(truth)}
    pool = [candidate(r.id, r.structure) for r in truth]
    return [labelled("start", salt("Cs", "Cl", 6.0), 7.0)], pool, truth, numbers


def test_rounds_add_results_and_go_on_after_a_kill(halides, tmp_path):
    start, pool, truth, numbers = halides
    campaign = Campaign(rounds=3, top_k=3)
    learner, lab = Table(numbers), Lab(truth, broken=("RbBr",))
    whole = run_rounds(campaign, learner, lab, start, pool)
    names = [r.id for r in truth][::-1]
    assert [[p["id"] for p in r["proposed"]] for r in whole] == [names[:3], names[3:6], names[6:9]]
    assert learner.calls == [["start"], ["start", "RbI", "RbCl"], ["start", "RbI", "RbCl", *names[3:6]]]  # what failed is not learned from
    assert [r["n_training"] for r in whole] == [1, 3, 6] and [r["best"] for r in whole] == [38.0] * 3
    assert whole[0]["answers"]["RbBr"] == {"error": "not converged"} and whole[0]["answers"]["RbI"]["value"] == 38.0
    top = whole[0]["proposed"][0]
    mean, deviation = 19 * 1.1 * 2, 19 * 0.2 * 2 / 2**0.5
    assert [top["gap_ev"], top["mean"], top["deviation"], top["score"]] == pytest.approx([2, mean, deviation, mean + 1.5 * deviation])
    assert len(whole[2]["predictions"]["id"]) == 10

    again = Table(numbers)
    with pytest.raises(KeyboardInterrupt):
        run_rounds(campaign, again, Lab(truth, broken=("RbBr",), dies_at=names[3]), start, pool, tmp_path)
    after = Lab(truth, broken=("RbBr",), at_a_time=2)
    while (found := run_rounds(campaign, again, after, start, pool, tmp_path))[-1]["status"] == "waiting":
        pass
    assert after.calls == names[3:9] and again.calls == learner.calls  # nothing twice, nothing left out
    drop = ("commit", "hardware")
    plain = lambda rounds: json.loads(json.dumps([{k: v for k, v in r.items() if k not in drop} for r in rounds]))  # noqa: E731
    assert plain(found) == plain(whole) == plain(json.loads((tmp_path / f"round-{n}.json").read_text()) for n in (1, 2, 3))
    assert run_rounds(campaign, again, Lab([]), start, pool, tmp_path) == found
    with pytest.raises(ValueError, match="another campaign \\(other campaign\\)"):
        run_rounds(replace(campaign, kappa=0.0), again, after, start, pool, tmp_path)
    for other, what in ((pool[1:], "pool_sha256, gaps_sha256"), ([replace(pool[0], meta={"band_gap_ev": 8.0}), *pool[1:]], "gaps_sha256")):
        with pytest.raises(ValueError, match=rf"\(other {what}\)"):
            run_rounds(campaign, again, after, start, other, tmp_path)
    with pytest.raises(ValueError, match="other oracle"):
        run_rounds(campaign, again, StoredOracle(truth), start, pool, tmp_path)
    with pytest.raises(ValueError, match="1 ids more than once, the first is 'LiF'"):
        run_rounds(campaign, again, after, start, [*pool, pool[0]], tmp_path)
    more = run_rounds(replace(campaign, rounds=4), again, after, start, pool, tmp_path)
    assert more[:3] == found and [p["id"] for p in more[3]["proposed"]] == names[9:12]  # a round more is no other campaign
    (tmp_path / "round-2.json").write_text("{")
    with pytest.raises(ValueError, match=r"round-2.json is damaged"):
        run_rounds(campaign, again, after, start, pool, tmp_path)
    with locked(tmp_path / "rounds"), pytest.raises(InUseError):
        run_rounds(campaign, again, after, start, pool, tmp_path)


def test_a_measured_gap_counts_where_the_pool_s_was_a_guess(halides):
    start, pool, truth, numbers = halides
    guessed = [replace(c, meta=c.meta | {"band_gap_ev": 9.0, "gap_source": "estimated"}) for c in pool]
    for candidates, best in ((pool, 2 * 19), ([replace(c, meta=c.meta | {"band_gap_ev": 9.0}) for c in pool], 9 * 19), (guessed, 2 * 19)):
        assert run_rounds(Campaign(rounds=1, top_k=1), Table(numbers), Lab(truth), start, candidates)[0]["best"] == best


def test_large_and_refused_candidates_are_not_proposed(halides):
    start, pool, truth, numbers = halides
    pool = [replace(c, structure=c.structure * (1, 1, 11)) if c.id == "RbI" else c for c in pool]
    asked = []
    accept = lambda record: asked.append(record.id) or record.id != "RbBr"  # noqa: E731
    found = run_rounds(Campaign("anisotropy", rounds=1, top_k=2), Table(numbers), Lab(truth), start, pool, accept=accept)
    assert len(found[0]["proposed"]) == 2 and not {"RbI", "RbBr"} & {p["id"] for p in found[0]["proposed"]} and "RbI" not in asked
    learner = Table(numbers)
    found = run_rounds(Campaign(acquisition="random", rounds=2, top_k=9), learner, Lab(truth), start, pool)
    assert learner.calls == [] and [len(r["proposed"]) for r in found] == [9, 6]


def test_hits_and_enrichment_by_hand(halides):
    _, pool, truth, numbers = halides
    values = np.arange(200.0)
    assert enrichment(values, values) == {"hits": 2, "top": 2, "enrichment": 100.0}
    assert enrichment(np.where(values == 198, 300, -values), values) == {"hits": 1, "top": 2, "enrichment": 50.0}
    assert enrichment(-values, values)["enrichment"] == 0
    order = np.roll(np.arange(16.0), 4)  # the four worst look best, then come the best
    rounds = run_rounds(Campaign(acquisition="greedy", rounds=2, top_k=3), Table(dict(zip(numbers, 4 + order, strict=True))), Lab(truth), [], pool)
    table = summarise(rounds, truth, np.array([2.0 * (4 + i) for i in range(16)]))
    assert [(row["hits"], row["recall"], row["hit_rate"]) for row in table] == [(0, 0.0, 0.0), (1, 1.0, 1 / 3)]
    assert [row["best"] for row in table] == [2 * 7, 2 * 19]
    table = summarise(rounds, truth, np.array([2.0 * (100 if i == 3 else i) for i in range(16)]))
    assert [(row["hits"], row["recall"], row["hit_rate"]) for row in table] == [(1, 1.0, 1 / 3), (0, 1.0, 0.0)]
    assert table[0]["enrichment"] == 16 and table[1]["enrichment"] == 0


SMALL = Setup(known=60, rounds=2, top_k=3, features="7net-0:1", members=2, epochs=3,
              options={"width": (16, 8, 4), "hidden": 16, "link": "clip"})  # fmt: skip


def test_hidden_crystals_share_no_formula_with_known_ones():
    records = load_records("mini")
    known, hidden = hide(records, 40, 3)
    assert 40 <= len(known) < 50 and len(known) + len(hidden) == len(records)
    assert not {r.formula for r in known} & {r.formula for r in hidden}
    assert [r.id for r in hide(records, 40, 4)[0]] != [r.id for r in known] == [r.id for r in hide(records, 40, 3)[0]]
    with pytest.raises(ValueError, match="nothing to hide"):
        hide(records, 10_000, 0)


def test_learner_knows_only_the_labels_it_is_given(tmp_path_factory):
    cache, records = tmp_path_factory.mktemp("cache"), load_records("mini")[:30]
    bare = [replace(r, eps_electronic=None, eps_ionic=None, eps_total=None) for r in records]
    data = learner_set(bare, SMALL.features, cache, False)
    assert data.targets is None
    learner = DTNetLearner(data, bare, SMALL, 0, cache)
    predictor = learner.fit(records[:20])
    mean, members = predictor([r.structure for r in records[20:]])
    assert members.shape == (2, 10, 3, 3) and np.allclose(members.mean(0), mean) and np.ptp(members, axis=0).max() > 0
    assert learner.fit(records[:20]) is predictor
    relaxed = replace(records[20], structure=turn(records[20].structure, np.eye(3)).apply_strain(0.01, inplace=False))
    with pytest.raises(ValueError, match="not in the learner's set"):
        predictor([relaxed.structure])
    grown = learner.fit([*records[:20], relaxed])
    q = -random_rotation(2)
    same, _ = DTNetLearner(*_alone([relaxed, *records], cache), SMALL, 0, cache).fit([*records[:20], relaxed])([records[25].structure])
    assert grown([relaxed.structure])[0].shape == (1, 3, 3) and np.isfinite(same).all()
    turned = turn(records[25].structure, q)
    learner._encode([replace(records[25], structure=turned)])
    np.testing.assert_allclose(grown([turned])[0][0], q @ grown([records[25].structure])[0][0] @ q.T, atol=1e-4)
    with pytest.raises(ValueError, match="no electronic and ionic tensor"):
        learner.fit(bare[:5])


def _alone(records, cache):
    return learner_set(records, SMALL.features, cache, False), records


def test_study_is_resumable(tmp_path, monkeypatch):
    results, trained = tmp_path / "screening.json", []
    study, fit = retrospective.load_study(SMALL, "mini", cache_dir=tmp_path / "cache", progress=False), learner.fit
    monkeypatch.setattr(retrospective, "load_study", lambda *a: study)
    monkeypatch.setattr(learner, "fit", lambda *a, **k: trained.append(len(a[1])) or fit(*a, **k))
    arguments = {"profile": "mini", "results": results, "cache_dir": tmp_path / "cache", "progress": False}
    first = run_study(SMALL, [0], ["anisotropy"], ["ucb", "random"], **arguments)
    assert len(trained) == 2 * 2  # two members, two rounds, and none for chance
    both = run_study(SMALL, [0], ["anisotropy"], ["ucb", "greedy", "random"], **arguments)
    assert len(trained) == 4 + 4 and [both[0], both[2]] == first  # only what was missing
    assert run_study(SMALL, [0], ["anisotropy"], ["ucb", "greedy", "random"], **arguments) == both and len(trained) == 8
    assert len(load_results(results)) == 3
    for run in both:
        assert run["n_known"] >= 60 and run["by_round"][1]["proposed"] == 3 and run["best_hidden"] >= run["by_round"][1]["best"]
        assert run["data_sha256"] and run["commit"] and run["settings"]["epochs"] == 3
    assert [r["by_round"][0]["enrichment"] for r in both[:2]] == [both[0]["by_round"][0]["enrichment"]] * 2  # one first round for all
    assert run_study(replace(SMALL, top_k=2), [0], ["anisotropy"], ["random"], **arguments)[0]["by_round"][0]["proposed"] == 2
    found = run_enrichment(replace(SMALL, members=1), folds=2, **arguments)
    assert [r["target"] for r in found] == ["figure of merit", "anisotropy"] and all(0 <= r["enrichment"] <= r["n"] for r in found)
    assert len(load_results(results)) == 3 + 1 + 2  # other settings stand beside, not in place of
