"""Command line: ``python -m dtnet_core.baselines --help``."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import torch

from ..base.paths import RESULTS
from ..crystals.record import TARGETS
from ..data.splits import SPLITS
from ..training.fit import TrainConfig
from ..training.scratch.experiment import stored_runs
from .experiment import MODELS, NETWORKS, TRAIN, BaselineExperiment, Shared, run_baseline
from .price import epochs_within
from .search import tuned

CURVES = RESULTS / "learning_curves.json"


def plan(model: str, target: str, fraction: float, options: argparse.Namespace) -> BaselineExperiment:
    """The experiment that the command line asks for: a tuned learning rate, and as many epochs as its hours buy."""
    train = TRAIN
    if model in NETWORKS:
        epochs = options.max_epochs
        if epochs is None:
            epochs = epochs_within(model, options.hours, options.profile, fraction) if options.hours else TRAIN.max_epochs
        rate = options.learning_rate or tuned(model, target, options.profile)
        patience = max(options.patience, epochs) if options.hours else options.patience  # hours that were paid for are spent
        train = TrainConfig(rate, batch_size=options.batch_size, max_epochs=epochs, patience=patience)
    return BaselineExperiment(model, target, options.profile, options.split, fraction, train)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and test; finished runs are skipped, killed ones go on."""
    parser = argparse.ArgumentParser(
        prog="python -m dtnet_core.baselines",
        description="Train and test baselines; results go to a JSON file, finished runs are skipped, killed ones go on.",
    )
    parser.add_argument("--model", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--target", nargs="+", default=["total"], choices=TARGETS)
    parser.add_argument("--profile", default="mini", choices=("mini", "full"))
    parser.add_argument("--split", default="record", choices=SPLITS)
    parser.add_argument("--fraction", nargs="+", type=float, default=[1.0], help="shares of the training set")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--hours", type=float, help="of processor time for each run: as many epochs as that buys by what `price` measured")
    parser.add_argument("--max-epochs", type=int, help=f"length of the schedule; without --hours {TRAIN.max_epochs}")
    parser.add_argument("--learning-rate", type=float, help="default: what `search` found for the network")
    parser.add_argument("--batch-size", type=int, default=TRAIN.batch_size)
    parser.add_argument("--patience", type=int, default=TRAIN.patience)
    parser.add_argument("--results", type=Path, help="default: tensors.json, or learning_curves.json for shares below 1")
    parser.add_argument("--threads", type=int, default=1, help="for torch; small networks gain nothing from more")
    parser.add_argument("--device", default="cpu", help='of the networks\' training, for torch, such as "cuda"')
    parser.add_argument("--again", action="store_true", help="repeat runs that the results file holds")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    shared, diverged = None, []
    for seed, fraction, target, model in itertools.product(options.seeds, options.fraction, options.target, options.model):
        experiment = plan(model, target, fraction, options)
        results = options.results or (CURVES if fraction < 1 else RESULTS / "tensors.json")
        if stored_runs(experiment, [seed], results, not options.again) == [None]:
            shared = shared or Shared(options.profile)
        try:
            (run,) = run_baseline(experiment, [seed], shared, results, not options.again, options.device)
        except FloatingPointError as error:  # the others have nothing to do with it
            diverged.append(f"{experiment.command(seed)}: {error}")
            continue
        ended = run["budget"]["ended_by"]
        print(f"{model:12s} {target:10s} {run['split']:12s} seed {seed}: MAE_ten {run['mae_ten']:.3f} ({ended})", flush=True)
    if diverged:
        parser.exit(1, "\n".join(["not finished:", *diverged, ""]))


if __name__ == "__main__":
    main()
