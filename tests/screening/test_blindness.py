"""Screening studies: networks know no label of a crystal that is hidden or of the fold that they predict."""

import numpy as np
import pytest

from dtnet_core.screening import learner, retrospective
from dtnet_core.screening.labelled import asked, formula_folds, hide
from dtnet_core.screening.learner import Setup
from dtnet_core.screening.retrospective import run_enrichment, run_study
from dtnet_core.training import sets
from tests.blindness import MadeUp, Watch, differences, no_orbits, other_labels, small_records

SETUP = Setup(known=15, rounds=2, top_k=3, features="a:0", members=2, epochs=2, options={"width": (6, 5, 4), "hidden": 8, "link": "clip"})


@pytest.fixture(scope="module")
def records():
    return asked("figure of merit", small_records(40))


@pytest.fixture
def trained(monkeypatch):
    """Made-up features, and all trainings."""
    made_up = MadeUp()
    monkeypatch.setattr(sets, "stored_orbits", no_orbits)
    monkeypatch.setattr(learner, "compute_features", made_up.features)
    return made_up, Watch(monkeypatch, learner, "fit", lambda found: (found.model, found.history, found.best_epoch))


def study(monkeypatch, records, **options):
    monkeypatch.setattr(retrospective, "load_labelled", lambda *_: (records, "one file"))
    return options["run"](SETUP, progress=False, **{k: v for k, v in options.items() if k != "run"})


@pytest.mark.parametrize("kind", ["ucb", "greedy", "uncertainty"])
def test_campaigns_know_only_what_was_answered(records, trained, monkeypatch, kind):
    rounds, (made_up, watch) = Watch(monkeypatch, retrospective, "run_rounds"), trained

    def runs(records):
        study(monkeypatch, records, run=run_study, seeds=[0], tasks=["figure of merit"], acquisitions=[kind])
        (found,) = rounds.take()
        return [[r["proposed"] for r in found], [r["predictions"] for r in found], watch.take(), [r["best"] for r in found]]

    hidden = {r.id for r in hide(records, SETUP.known, 0)[1]}
    before = runs(records)
    proposed = {p["id"] for row in before[0] for p in row}
    never = [i for i, r in enumerate(records) if r.id in hidden - proposed]
    assert len(never) > 5 and not differences(before, runs(other_labels(records, never)))
    asked_first = [i for i, r in enumerate(records) if r.id in hidden]
    after = runs(other_labels(records, asked_first, 3.0))
    assert not differences([part[0] for part in before[:2]], [part[0] for part in after[:2]])  # the first round, nothing asked yet
    assert not differences(before[2][:2], after[2][:2]) and differences(before[2], after[2]) and before[3] != after[3]
    made_up.change(records[i].structure for i in never)
    assert not differences(before[2][:2], runs(records)[2][:2])


def test_enrichment_is_of_networks_that_know_no_label_of_the_fold(records, trained, monkeypatch):
    made_up, watch = trained
    fold = formula_folds(records, 2, 0)

    def runs(records):
        study(monkeypatch, records, run=run_enrichment, tasks=["anisotropy"], folds=2)
        return watch.take()

    before, out = runs(records), np.flatnonzero(fold == 0)
    assert len(before) == 4 and 5 < len(out) < 35
    after = runs(other_labels(records, out))
    assert not differences(before[:2], after[:2])  # of the fold with other labels
    assert differences(before[2], after[2]) and differences(before[3], after[3])  # these learn from them
    made_up.change(records[i].structure for i in out)
    assert not differences(before[:2], runs(records)[:2])


def test_folds_and_what_is_hidden_never_divide_a_formula():
    records = small_records(121)
    twice = [*records, *other_labels(records[:60], range(60))]
    fold = formula_folds(twice, 5, 1)
    assert (fold[121:] == fold[:60]).all() and set(fold.tolist()) == set(range(5))
    known, hidden = hide(twice, 40, 1)
    assert not {r.formula for r in known} & {r.formula for r in hidden}
