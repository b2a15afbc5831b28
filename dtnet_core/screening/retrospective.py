"""Does active learning work? Labelled crystals are hidden, and rounds of screening have to find the best of them.

Every crystal that is proposed is answered at once with its stored tensor, so a campaign of three rounds costs its training
only and can be repeated for every acquisition and many seeds. Records go to `data/results/screening.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..base.results import IDENTITY, append_result, finished_runs, plain, provenance
from ..crystals.record import Record
from ..potentials.registry import spell_features
from ..training.sets import CrystalSet
from .campaign import Campaign, Learner, Predictor, StoredOracle, run_rounds
from .labelled import asked, formula_folds, hide, load_labelled, true_values
from .learner import DTNetLearner, Setup, learner_set
from .selection import ACQUISITIONS, TASKS, ensemble_statistics, gaps_of, task_values

MODEL = "DTNet-small"
TOP = 0.01
"""Share of the hidden crystals that a campaign is to find."""

_NUMBERS = ("known", "rounds", "top_k", "members", "epochs")  # of a `Setup`, options of the command line

def top_ids(ids: Sequence[str], values: np.ndarray, share: float = TOP) -> set[str]:
    """The ids of the best `share` (at least one) by value."""
    order = np.argsort(-np.asarray(values, dtype=float), kind="stable")
    return {ids[i] for i in order[: max(1, round(share * len(ids)))]}


def enrichment(predicted: np.ndarray, truth: np.ndarray, share: float = TOP) -> dict[str, float]:
    """How much better than chance the predicted top holds the true top: two [B] -> hits, size of the top, enrichment.

    Enrichment is the share of true ones among the predicted top, over their share among all (at most 1 / share).
    """
    ids = [str(i) for i in range(len(truth))]
    best, guess = top_ids(ids, truth, share), top_ids(ids, predicted, share)
    hits = len(best & guess)
    return {"hits": hits, "top": len(best), "enrichment": hits / len(guess) / (len(best) / len(ids))}


def summarise(rounds: Sequence[dict], hidden: Sequence[Record], truth: np.ndarray) -> list[dict]:
    """By round: proposals, hits among them (in the true top of the hidden), hit rate, recall so far, best so far, enrichment.

    `enrichment` is of the round's own predictions, over the crystals that were still hidden and against their own top.
    """
    best = top_ids([r.id for r in hidden], truth)
    value = dict(zip((r.id for r in hidden), truth, strict=True))
    found: set[str] = set()
    table = []
    for state in rounds:
        proposed = {p["id"] for p in state["proposed"]}
        found |= proposed & best
        left = state["predictions"]
        known = [m is not None for m in left["mean"]]
        row = {"round": state["round"], "n_training": state["n_training"], "proposed": len(proposed), "hits": len(proposed & best),
               "hit_rate": len(proposed & best) / max(1, len(proposed)), "recall": len(found) / len(best), "best": state["best"]}  # fmt: skip
        if all(known) and known:
            row |= {"enrichment": enrichment(np.array(left["mean"]), np.array([value[i] for i in left["id"]]))["enrichment"]}
        table.append(row)
    return table


def load_study(setup: Setup, profile: str = "mini", data_dir: str | Path | None = None, cache_dir: str | Path | None = None,
               progress: bool = True) -> tuple[list[Record], CrystalSet, str]:  # fmt: skip
    """Labelled records, each crystal once, with gaps where known; their features; and the SHA-256 of the data."""
    records, checksum = load_labelled(profile, data_dir)
    return records, learner_set(records, setup.features, cache_dir, progress), checksum


def run_study(setup: Setup, seeds: Sequence[int], tasks: Sequence[str] = TASKS, acquisitions: Sequence[str] = ACQUISITIONS,
              profile: str = "mini", results: str | Path | None = None, data_dir=None, cache_dir=None, progress: bool = True) -> list[dict]:  # fmt: skip
    """Every task, acquisition and seed; what the results file holds for the same setup and data is not repeated.

    Parameters
    ----------
    setup : Setup
    seeds : sequence of int
        Each draws what is hidden, the networks' weights, and chance.
    tasks, acquisitions : sequences of str
    profile : {"mini", "full"}
    results : path, optional

    Returns
    -------
    list of dict
        Identity of a results record (`target` is the task, `model` names the acquisition), `by_round` (`summarise`), `best_known`,
        `best_hidden`, settings, checksum, provenance.
    """
    records, data, checksum = load_study(setup, profile, data_dir, cache_dir, progress)
    stored = finished_runs(results)
    same, found = {"settings": plain(asdict(setup)), "data_sha256": checksum}, []
    with tqdm(total=len(seeds) * len(tasks) * len(acquisitions), unit="campaign", disable=not progress) as bar:
        for seed, task in product(seeds, tasks):
            known, hidden = hide(asked(task, records), setup.known, seed)
            learners = _FirstShared(*(DTNetLearner(data, records, setup, seed, cache_dir) for _ in range(2)), len(known))
            for kind in acquisitions:
                identity = _identity(setup, task, f"retrospective-{kind}", seed, profile)
                run = stored.get(tuple(identity.values()))
                if run is None or any(run.get(k) != v for k, v in same.items()):
                    campaign = Campaign(task, kind, setup.kappa, setup.rounds, setup.top_k, "none", None, seed)
                    run = identity | {"study": "retrospective", "task": task, "acquisition": kind} | same
                    run |= {"command": _command(setup, profile, seed, task) + f" --acquisitions {kind}"}
                    run = plain(run | _campaign(campaign, learners, known, hidden) | provenance())
                    if results is not None:
                        append_result(results, run)
                found.append(run)
                bar.update()
    return found


@dataclass(frozen=True)
class _FirstShared:
    """Learner of all campaigns of a task and seed: round 1 is the same for them, and trained once."""

    first: DTNetLearner
    later: DTNetLearner
    start: int

    def fit(self, records: Sequence[Record]) -> Predictor:
        return (self.first if len(records) == self.start else self.later).fit(records)


def _campaign(campaign: Campaign, learner: Learner, known: list[Record], hidden: list[Record]) -> dict:
    candidates = [replace(r, eps_electronic=None, eps_ionic=None, eps_total=None) for r in hidden]
    rounds = run_rounds(campaign, learner, StoredOracle(hidden), known, candidates)
    truth = true_values(campaign.task, hidden)
    return {"n_known": len(known), "n_hidden": len(hidden), "best_known": float(np.nanmax(true_values(campaign.task, known))),
            "best_hidden": float(np.nanmax(truth)), "by_round": summarise(rounds, hidden, truth)}  # fmt: skip


def run_enrichment(setup: Setup, tasks: Sequence[str] = TASKS, folds: int = 5, seed: int = 0, profile: str = "mini",
                   results: str | Path | None = None, data_dir=None, cache_dir=None, progress: bool = True) -> list[dict]:  # fmt: skip
    """Enrichment of the top 1 % when every crystal is predicted by networks that know none of its formula, and most others.

    `setup.known`, `rounds`, `top_k` and `kappa` play no part.
    """
    records, data, checksum = load_study(setup, profile, data_dir, cache_dir, progress)
    fold = formula_folds(records, folds, seed)
    predicted = np.zeros((setup.members, len(records), 3, 3))
    for k in tqdm(range(folds), unit="fold", disable=not progress):
        out = np.flatnonzero(fold == k)
        learner = DTNetLearner(data, records, setup, seed, cache_dir)
        predicted[:, out] = learner.fit([r for r, f in zip(records, fold, strict=True) if f != k])([records[i].structure for i in out])[1]
    found = []
    for task in tasks:
        ids = {r.id for r in asked(task, records)}
        rows = [i for i, r in enumerate(records) if r.id in ids]
        chosen = [records[i] for i in rows]
        mean = ensemble_statistics(task_values(task, predicted[:, rows], gaps_of(chosen)))[0]
        record = _identity(setup, task, "enrichment", seed, profile) | {"study": "enrichment", "task": task, "folds": folds, "n": len(rows)}
        record |= enrichment(mean, true_values(task, chosen)) | {"settings": asdict(setup), "data_sha256": checksum}
        record |= {"command": _command(setup, profile, seed, task) + " --enrichment"} | provenance()
        found.append(plain(record))
        if results is not None:
            append_result(results, found[-1])
    return found


def _identity(setup: Setup, task: str, what: str, seed: int, profile: str) -> dict:
    model = " ".join([MODEL, what, *(w.removeprefix("--") for w in _changed(setup) if not w.startswith("--features"))])
    return dict(zip(IDENTITY, (task, model, *spell_features(setup.features), "by formula", seed, profile), strict=True))


def _command(setup: Setup, profile: str, seed: int, task: str) -> str:
    """The command line that repeats a campaign, or with --enrichment that study."""
    return " ".join(["dtnet screen retrospective", f"--profile {profile} --seeds {seed} --tasks '{task}'", *_changed(setup)])


def _changed(setup: Setup) -> list[str]:
    """Options of the command line that are not the defaults."""
    names = [name for name in (*_NUMBERS, "kappa", "features") if getattr(setup, name) != getattr(Setup(), name)]
    return [f"--{name.replace('_', '-')} {getattr(setup, name)}" for name in names]
