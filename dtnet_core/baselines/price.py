"""What an epoch of each network takes, measured in a process of its own; and how many epochs a budget buys."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..base.cost import forget_peak_memory, peak_memory_mb
from ..base.files import locked
from ..base.paths import RESULTS
from ..base.results import load_results, provenance, write_json
from ..training.scratch.experiment import fit_experiment
from ..training.scratch.fit import predict_scratch
from .experiment import NETWORKS, TRAIN, BaselineExperiment, Shared

FILE = RESULTS / "baseline_cost.json"
MOST_EPOCHS = 300
"""No budget buys more: the length of DTNet's schedule."""


def measure(model: str, profile: str, epochs: int = 1, shared: Shared | None = None) -> dict:
    """Record of `data/results/baseline_cost.json` for a network: parameters, processor seconds, memory.

    Parameters
    ----------
    model : str
        One of `NETWORKS`.
    profile : {"mini", "full"}
    epochs : int
        Trained here, on the split of seed 0; nothing is kept.
    shared : Shared, optional
    """
    shared = shared or Shared(profile)
    experiment = BaselineExperiment(model, profile=profile, train=replace(TRAIN, max_epochs=epochs))
    split, _ = experiment.parts(shared.records, 0), shared.graphs
    forget_peak_memory()
    before = peak_memory_mb()
    found = fit_experiment(experiment, 0, shared.records, shared.graphs, shared.checksum, progress=False)
    memory = peak_memory_mb()
    started = time.process_time()
    predict_scratch(found.model, [shared.graphs[i] for i in split["test"]])
    seconds = time.process_time() - started
    return {
        "model": model, "profile": profile, "n_train": len(split["train"]), "n_val": len(split["val"]), "batch_size": TRAIN.batch_size,
        "parameters": sum(p.numel() for p in found.model.parameters() if p.requires_grad),
        "seconds_per_epoch": float(np.median(found.history["seconds"])), "predict_ms_per_crystal": 1e3 * seconds / len(split["test"]),
        "peak_memory_mb": memory, "data_memory_mb": before, "threads": torch.get_num_threads(), "clock": "processor",
        "command": f"dtnet baselines price --profile {profile} --model {model} --epochs {epochs}", **provenance(),
    }  # fmt: skip


def keep(record: dict, path: str | Path = FILE) -> None:
    """Put a measurement into the results file, in the place of an older one of the same network and profile."""
    with locked(Path(path)):
        others = [r for r in load_results(path) if (r["model"], r["profile"]) != (record["model"], record["profile"])]
        write_json(path, sorted([*others, record], key=lambda r: (r["profile"], r["model"])))


def epochs_within(model: str, hours: float, profile: str, fraction: float = 1.0, path: str | Path = FILE) -> int:
    """Epochs that fit into so many processor hours by the stored measurement, at least 1 and at most `MOST_EPOCHS`.

    A share of the training set makes epochs shorter: the same hours buy more of them, so that all points of a learning curve
    have had as many steps.

    Raises
    ------
    ValueError
        When the network was not measured on that profile.
    """
    found = [r for r in load_results(path) if r["model"] == model and r["profile"] == profile]
    if not found:
        raise ValueError(
            f"{path} has no measurement of {model} on profile {profile}: run `dtnet baselines price "
            f"--profile {profile} --model {model}`, or say --max-epochs"
        )
    return int(min(MOST_EPOCHS, max(1, 3600 * hours // (fraction * found[0]["seconds_per_epoch"]))))


def parse_budget(text: str, model: str, profile: str, path: str | Path = FILE) -> int:
    """Epochs of the schedule for a budget like "10 epochs" or "0.25 hours"; references take what they need.

    Raises
    ------
    ValueError
        For another text, and for hours of a network that was not measured (see `epochs_within`).
    """
    number, _, unit = text.partition(" ")
    try:
        amount = float(number)
    except ValueError:
        amount = 0.0
    if amount <= 0 or unit not in ("epochs", "hours"):
        raise ValueError(f'budget is {text!r}; write for instance "10 epochs" or "0.25 hours" (of processor time, for each run)')
    if model not in NETWORKS:
        return TRAIN.max_epochs
    return int(amount) if unit == "epochs" else epochs_within(model, amount, profile, path=path)
