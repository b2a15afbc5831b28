"""What helps: each road from the plain joint model measured alone, then an Optuna search; both see validation sets only.

Every trial trains on the training part of the splits of `SEEDS` and is judged by MAE_ten on their validation parts. The
roads go to `data/results/roads.json`, the search to `data/results/search.json`; what was concluded is in
`data/results/experiments.md`.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from ..base.files import locked
from ..base.paths import default_cache_dir
from ..base.results import load_results, provenance, write_json
from ..data.labels import WITH_TOTAL
from ..metrics import mae_ten
from .fit import TrainConfig
from .joint import PARTS, Task, fit_member, load_task, predict_members
from .recipes import Recipe

SEEDS = (0, 1)
ALL = "7net-0:0-5+7net-l3i5:0-5+nequix-oam-1-pft:0-4"
PLAIN = Recipe(("7net-0:0-5",), (), TrainConfig(1e-3, max_epochs=40, patience=40), {"width": (128, 64, 32)})
"""What every road starts from."""

SEARCHED = Recipe(("nequix-oam-1-pft:0-4",), (), PLAIN.train, PLAIN.options)
"""What the search varies: the best single encoder on the benchmark's own labels, cheap enough for dozens of trials."""


def changed(recipe: Recipe, **changes) -> Recipe:
    """A recipe with other fields of its own, of its `train` or, for the rest, of its `options`."""
    own = {k: changes.pop(k) for k in list(changes) if k in Recipe.__dataclass_fields__}
    train = {k: changes.pop(k) for k in list(changes) if k in TrainConfig.__dataclass_fields__}
    return replace(recipe, **own, train=replace(recipe.train, **train), options=recipe.options | changes)


_TOGETHER = {"members": (ALL,), "labels": WITH_TOTAL, "link": "clip", "ema": 0.99}

ROADS: dict[str, dict] = {
    "plain": {},
    "labels: PBEsol tensors and scalars": {"labels": WITH_TOTAL},
    "encoder: 7net-l3i5 instead": {"members": ("7net-l3i5:0-5",)},
    "encoder: nequix-oam-1-pft instead": {"members": ("nequix-oam-1-pft:0-4",)},
    **{f"encoder: {part.split(':')[0]} instead": {"members": (part,)} for part in (
        "7net-mf-0:0-5", "nequix-mp-1:0-4", "nequix-mp-1-pft:0-4", "nequix-omat-1:0-4", "nequix-oam-1:0-4", "tensornet-matpes-pbe:0-2", "tensornet-matpes-r2scan:0-2")},
    "encoder: both 7net": {"members": ("7net-0:0-5+7net-l3i5:0-5",)},
    "encoder: all three": {"members": (ALL,)},
    "output: eigenvalues above their bounds by softplus": {"link": "softplus"},
    "output: eigenvalues clipped to their bounds": {"link": "clip"},
    "averaged weights": {"ema": 0.99},
    "dropout 0": {"dropout": 0.0},
    "dropout 0.4": {"dropout": 0.4},
    "channel dropout 0.1": {"input_dropout": 0.1},
    "channel dropout 0.3": {"input_dropout": 0.3},
    "weight decay 0": {"weight_decay": 0.0},
    "weight decay 0.5": {"weight_decay": 0.5},
    "electronic error counts double": {"weights": (2.0, 1.0, 1.0)},
    "dropout 0.1": {"dropout": 0.1},
    "one block": {"blocks": 1},
    "three blocks": {"blocks": 3},
    "relative errors, power 0.5": {"relative": 0.5},
    "relative errors, power 1": {"relative": 1.0},
    "labels: PBEsol tensors and scalars, relative errors, power 0.5": {"labels": WITH_TOTAL, "relative": 0.5},
    "labels: PBEsol tensors and scalars, relative errors, power 1": {"labels": WITH_TOTAL, "relative": 1.0},
    "wider": {"width": (256, 128, 64), "hidden": 256},
    "batches of 32": {"batch_size": 32},
    "learning rate 3e-4": {"learning_rate": 3e-4},
    "learning rate 3e-3": {"learning_rate": 3e-3},
    "start nearly isotropic": {"initial_anisotropy": 0.1},
    "100 epochs": {"max_epochs": 100, "patience": 100},
    "two of nequix-oam-1-pft": {"members": ("nequix-oam-1-pft:0-4",) * 2},
    "nequix-oam-1-pft and nequix-omat-1": {"members": ("nequix-oam-1-pft:0-4", "nequix-omat-1:0-4")},
    "nequix-oam-1-pft, 200 epochs": {"members": ("nequix-oam-1-pft:0-4",), "max_epochs": 200, "patience": 200},
    "six networks, three of each Nequix": {"members": ("nequix-oam-1-pft:0-4", "nequix-omat-1:0-4") * 3},
    "ensemble of three": {"members": ("7net-0:0-5",) * 3},
    "together": _TOGETHER,
    "together, nequix-oam-1-pft only": _TOGETHER | {"members": ("nequix-oam-1-pft:0-4",)},
    "together, channel dropout 0.2": _TOGETHER | {"input_dropout": 0.2},
    "together, encoders from packages": _TOGETHER | {"members": ("7net-0:0-5+7net-l3i5:0-5",)},
    "together, without labels": _TOGETHER | {"labels": ()},
}
"""Name -> what it changes of `PLAIN`."""


def validate(recipe: Recipe, task: Task, seeds: Sequence[int] = SEEDS, cache_dir: str | Path | None = None,
             progress: bool = True) -> dict[str, list[float]]:  # fmt: skip
    """MAE_ten on the validation set of each seed, by target."""
    scores: dict[str, list[float]] = {t: [] for t in (*PARTS, "total")}
    for seed in seeds:
        split = task.split(seed)
        split.pop("test")  # not looked at here
        networks = [fit_member(recipe, task, split, seed, m, cache_dir, progress).model for m in range(len(recipe.members))]
        each, truth = predict_members(networks, recipe, task, split["val"])
        for k, target in enumerate(scores):
            scores[target].append(mae_ten(truth[:, k], each.mean(0)[:, k]))
    return scores


def narrow(task: Task, labels: Sequence[str]) -> Task:
    """The task as it is without auxiliary records, if those are not wanted."""
    if labels:
        return task
    return replace(task, records=task.records[: task.n_benchmark], group=task.group[: task.n_benchmark])


def run_roads(names: Sequence[str], results: str | Path) -> None:
    """Measure roads that the results file does not hold yet, one by one, on one reading of those features of `ALL` that they need; other encoders are read when they are asked for."""
    task, needed = None, {part for name in names for part in changed(PLAIN, **ROADS[name]).features.split("+")}
    shared = "+".join(part for part in ALL.split("+") if part in needed)
    for name in names:
        if any(r["road"] == name for r in load_results(results)):
            print(f"{name} not measured now: {results} has it", flush=True)
            continue
        recipe = changed(PLAIN, **ROADS[name])
        if set(recipe.features.split("+")) <= set(ALL.split("+")):
            task = task or load_task(Recipe((shared,), WITH_TOTAL if any(ROADS[n].get("labels") for n in names) else ()))
            seen = narrow(task, recipe.labels)
        else:
            seen = load_task(recipe)
        started = time.monotonic()
        scores = validate(recipe, seen)
        add_road(results, name, ROADS[name], scores, recipe, seen.checksum, started)


def add_road(results: str | Path, name: str, changes: dict, scores: dict[str, list[float]], recipe: Recipe, checksum: str, started: float) -> None:
    """Keep what a road scored, and say it; `started` is of `time.monotonic`."""
    record = {"road": name, "changes": changes, "validation_mae_ten": scores, "seeds": SEEDS, "recipe": asdict(recipe),
              "data_sha256": checksum, "wall_s": round(time.monotonic() - started, 1),
              "command": f"dtnet train search {shlex.quote(name)}", **provenance()}  # fmt: skip
    with locked(Path(results)):
        write_json(results, [*load_results(results), record])
    print(name, {k: round(float(np.mean(v)), 4) for k, v in scores.items()}, flush=True)


def suggest(trial: optuna.Trial) -> dict:
    """Changes of `SEARCHED` that the search draws."""
    size = trial.suggest_categorical("size", ["paper", "double"])
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 1.0, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
        "ema": trial.suggest_categorical("ema", [0.98, 0.99, 0.995]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
        "weights": (trial.suggest_float("electronic", 1.0, 3.0), 1.0, 1.0),
        "blocks": trial.suggest_int("blocks", 1, 3),
        "width": (128, 64, 32) if size == "paper" else (256, 128, 64),
        "hidden": 128 if size == "paper" else 256,
    }


def run_search(trials: int, results: str | Path, storage: str | Path | None = None, worker: int = 0) -> optuna.Study:
    """Optuna's TPE around `SEARCHED`: the geometric mean of the three validation errors over `SEEDS`.

    A trial that is worse than the median after its first seed ends there. The journal on disk is shared by all workers
    that are started with it, and goes on after a stop.

    Parameters
    ----------
    trials : int
        To run here, now.
    results : path
        Gets every finished trial.
    storage : path, optional
        Journal; default in `store.default_cache_dir()`.
    worker : int
        Seeds the sampler, together with the number of trials that are there: one worker alone repeats itself, several need
        different numbers.
    """
    path = Path(storage or default_cache_dir() / "search.journal")
    path.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(path))), study_name="joint", load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(4),
    )  # fmt: skip
    study.sampler = optuna.samplers.TPESampler(seed=1000 * worker + len(study.trials))
    task = load_task(SEARCHED)

    def objective(trial: optuna.Trial) -> float:
        recipe, scores = changed(SEARCHED, **suggest(trial)), []
        for seed in SEEDS:
            found = validate(recipe, task, (seed,))
            scores.append(float(np.exp(np.mean(np.log(list(found.values()))))))
            trial.report(float(np.mean(scores)), seed)
            trial.set_user_attr(f"seed {seed}", {k: v[0] for k, v in found.items()})
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(scores))

    def keep(study: optuna.Study, _) -> None:
        with locked(Path(results)):
            write_json(results, {
                "trials": [{"number": t.number, "state": t.state.name, "value": t.value, "params": t.params,
                            "validation_mae_ten": t.user_attrs, "seconds": t.duration.total_seconds()}
                           for t in study.trials if t.state.is_finished() and t.duration],
                "base": asdict(SEARCHED), "seeds": SEEDS, "data_sha256": task.checksum,
                "command": f"dtnet train search --trials {len(study.trials)}", **provenance(),
            })  # fmt: skip

    study.optimize(objective, trials, callbacks=[keep])
    return study
