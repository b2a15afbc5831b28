"""Learning rates: the same number of Optuna trials, of the same length, for every network; validation crystals only.

The sampler has a seed and the trainings are functions of theirs, so a search that was stopped and is started again makes
the same trials; finished trainings are read from their checkpoints.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import optuna

from ..base.files import locked
from ..base.paths import RESULTS
from ..base.results import load_results, provenance, write_json
from ..training.scratch.experiment import fit_experiment, run_file
from .experiment import TRAIN, BaselineExperiment, Shared

FILE = RESULTS / "baseline_search.json"
BOUNDS = (1e-4, 1e-2)
_KEYS = ("model", "target", "profile")


def search(experiment: BaselineExperiment, trials: int, shared: Shared, seed: int = 0) -> dict:
    """Look for the learning rate with the lowest validation error on the split of one seed.

    Parameters
    ----------
    experiment : BaselineExperiment
        Of a network; its `train` gives all settings but the learning rate.
    trials : int
    shared : Shared
    seed : int
        Of the sampler, the split, the weights and the order of the batches.

    Returns
    -------
    dict
        Record of `data/results/baseline_search.json`: every trial, and `learning_rate`, the best one.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(2, trials // 2)))

    def objective(trial: optuna.Trial) -> float:
        rate = float(f"{trial.suggest_float('learning_rate', *BOUNDS, log=True):.3g}")
        mine = replace(experiment, train=replace(experiment.train, learning_rate=rate))
        checkpoint = run_file(mine, seed, shared.records, shared.cache_dir)
        try:
            found = fit_experiment(mine, seed, shared.records, shared.graphs, shared.checksum, checkpoint, shared.progress)
        except FloatingPointError:
            raise optuna.TrialPruned from None
        trial.set_user_attr("rate", rate)
        trial.set_user_attr("epoch", found.best_epoch)
        trial.set_user_attr("hours", sum(found.history["seconds"]) / 3600)
        return found.best

    study.optimize(objective, trials)
    return {
        **{key: getattr(experiment, key) for key in _KEYS}, "learning_rate": study.best_trial.user_attrs["rate"],
        "validation_mae_ten": study.best_value, "bounds": BOUNDS, "seed": seed, "train": asdict(experiment.train),
        "trials": [{"learning_rate": t.user_attrs.get("rate"), "validation_mae_ten": t.value, "best_epoch": t.user_attrs.get("epoch"),
                    "hours": t.user_attrs.get("hours"), "state": t.state.name} for t in study.trials],
        "data_sha256": shared.checksum,
        "command": f"dtnet baselines search --model {experiment.model} --target {experiment.target} "
                   f"--profile {experiment.profile} --trials {trials} --max-epochs {experiment.train.max_epochs}",
        **provenance(),
    }  # fmt: skip


def keep(record: dict, path: str | Path = FILE) -> None:
    """Put a search into the results file, in the place of an older one of the same network, target and profile."""
    with locked(Path(path)):
        others = [r for r in load_results(path) if any(r[k] != record[k] for k in _KEYS)]
        write_json(path, sorted([*others, record], key=lambda r: [str(r[k]) for k in _KEYS]))


def tuned(model: str, target: str, profile: str, path: str | Path = FILE) -> float:
    """The learning rate that was found for a network, on that target or, failing that, on another; the default without a search."""
    found = [r for r in load_results(path) if r["model"] == model and r["profile"] == profile]
    found.sort(key=lambda r: r["target"] != target)
    return found[0]["learning_rate"] if found else TRAIN.learning_rate
