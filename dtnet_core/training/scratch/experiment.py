"""Encoder and readout trained together from random weights: the curves "from scratch" of the paper's Fig.
5a-b.

Splits, loss, optimiser, schedule and stopping are those of `training.experiment`, so its runs and these
differ in what the encoder knew before. Training an encoder takes a hundred times longer than training a
readout on stored features; so a run has a budget, in epochs or in hours, and its record says what the budget
was and what ended the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ...base.cost import forget_peak_memory, peak_memory_mb
from ...base.paths import default_cache_dir, sources
from ...base.results import FROM_SCRATCH, IDENTITY, append_result, finished_runs, plain, provenance
from ...crystals.record import TARGETS, Record
from ...crystals.structures import crystal_systems
from ...data.loading import data_sha256
from ...data.splits import draw_split
from ...features import to_mandel
from ..fit import TrainConfig
from ..scores import test_scores
from .fit import GraphSet, ScratchNet, ScratchResult, fit_scratch, predict_scratch
from .orbit_graph import OrbitGraph
from .sevennet import FreshSevenNet
from .teanet import TeaNet

ENCODERS: dict[str, Callable[[int], nn.Module]] = {
    "teanet": lambda depth: TeaNet(depth=depth),
    "7net-0": lambda depth: FreshSevenNet(depth),
}
"""Name -> encoder of so many layers with random weights."""
TRAIN = TrainConfig(learning_rate=1e-3, max_epochs=100)
"""The paper's settings but for the learning rate, which it chose for a readout alone, and the budget."""
OPTIONS = ("learning_rate", "weight_decay", "batch_size", "max_epochs", "patience")
CODE = (
    "features", "layers", "links", "readout", "data.splits", "training.fit", "training.loop", "training.losses",
    *(f"training.scratch.{name}" for name in ("convolution", "experiment", "fit", "orbit_graph", "sevennet", "teanet")),
)  # fmt: skip


@dataclass(frozen=True)
class ScratchExperiment:
    """What to train and test.

    Attributes
    ----------
    target : {"electronic", "ionic", "total"}
    encoder : {"teanet", "7net-0"}
    layer : int
        Its convolutions, 1 to 5: the features of the last one go to the readout.
    model : {"DTNet-simple", "DTNet"}
        Without or with bond features.
    profile : {"mini", "full"}
    train : TrainConfig
        `max_epochs` is the length of the cosine schedule.
    max_hours : float, optional
        Of processor time: training ends after the first epoch past it, whatever the schedule has left.
    """

    target: str = "total"
    encoder: str = "teanet"
    layer: int = 4
    model: str = "DTNet-simple"
    profile: str = "mini"
    train: TrainConfig = field(default_factory=lambda: TRAIN)
    max_hours: float | None = None
    code = CODE

    def __post_init__(self) -> None:
        allowed = {"target": TARGETS, "encoder": tuple(ENCODERS), "model": ("DTNet-simple", "DTNet")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(values)}")

    def identity(self, seed: int) -> dict:
        """The keys that name a run in a results file."""
        values = (
            self.target,
            self.model,
            f"{self.encoder}{FROM_SCRATCH}",
            str(self.layer),
            "record",
            seed,
            self.profile,
        )
        return dict(zip(IDENTITY, values, strict=True))

    @property
    def name(self) -> str:
        """Of its network, in names of files."""
        return f"{self.model}-{self.encoder}{FROM_SCRATCH}-{self.layer}"

    def parts(self, records: Sequence[Record], seed: int) -> dict[str, np.ndarray]:
        """The "train", "val" and "test" positions of one seed."""
        return draw_split(records, seed)

    def make(self) -> ScratchNet:
        """The network, with random weights."""
        return ScratchNet(ENCODERS[self.encoder](self.layer), self.model == "DTNet")

    def settings(self, network: ScratchNet) -> dict:
        """What a record says of how it was trained."""
        found = {"train": asdict(self.train), "model": asdict(network.readout.config)}
        if hasattr(network.encoder, "config"):
            found["encoder"] = asdict(network.encoder.config)
        return found

    def command(self, seed: int) -> str:
        """The command line that repeats a run."""
        words = ["dtnet train scratch"]
        words += [f"--{name} {getattr(self, name)}" for name in ("profile", "encoder", "target", "model")]
        words += spell_options(self, TRAIN)
        return " ".join([*words, f"--layers {self.layer} --seeds {seed}"])


class Trainable(Protocol):
    """What `run_scratch` needs to know of an experiment: a `ScratchExperiment` or a baseline."""

    target: str
    profile: str
    train: TrainConfig
    max_hours: float | None
    name: str
    code: tuple[str, ...]

    def identity(self, seed: int) -> dict: ...
    def parts(self, records: Sequence[Record], seed: int) -> dict[str, np.ndarray]: ...
    def make(self) -> nn.Module: ...
    def settings(self, network: nn.Module) -> dict: ...
    def command(self, seed: int) -> str: ...


def spell_options(experiment: Trainable, default: TrainConfig) -> list[str]:
    """Words of a command line for what differs from the default training."""
    words = [
        f"--{name.replace('_', '-')} {getattr(experiment.train, name)}"
        for name in OPTIONS
        if getattr(experiment.train, name) != getattr(default, name)
    ]
    return words + ([] if experiment.max_hours is None else [f"--max-hours {experiment.max_hours}"])


def run_scratch(experiment: Trainable, seeds: Sequence[int], records: Sequence[Record],
                graphs: Sequence[OrbitGraph], checksum: str, results: str | Path | None = None,
                cache_dir: str | Path | None = None, progress: bool = True, resume: bool = True,
                device: str = "cpu") -> list[dict]:  # fmt: skip
    """Train and test for each seed (which draws the split, the weights and the order of the batches).

    Parameters
    ----------
    experiment : ScratchExperiment or another `Trainable`
    seeds : sequence of int
    records, graphs, checksum
        Of `data.loading.load_clean` and `build_graphs`: what all experiments of a profile share.
    results : path, optional
        Results file: runs it holds are not repeated (see `stored_runs`), new ones are added.
    cache_dir : path, optional
        For checkpoints; default `store.default_cache_dir()`.
    progress : bool
    resume : bool
        False: repeat runs that the results file or a checkpoint already holds.
    device : str
        Of the training, for torch.

    Returns
    -------
    list of dict
        One a seed, with the keys of `experiment.run_experiment`, `budget` and `cost`.
    """
    systems = crystal_systems([r.structure for r in records])
    runs = stored_runs(experiment, seeds, results, resume)
    for place, seed in enumerate(seeds):
        if runs[place] is None:
            checkpoint = run_file(experiment, seed, records, cache_dir)
            if not resume:
                checkpoint.unlink(missing_ok=True)
            runs[place] = plain(_one_run(experiment, seed, records, graphs, systems, checksum, checkpoint, progress, device))
            if results is not None:
                append_result(results, runs[place])
    return runs


def stored_runs(experiment: Trainable, seeds: Sequence[int], results: str | Path | None, resume: bool = True) -> list[dict | None]:
    """The finished run of each seed; None where there is none, or one with another learning rate, batch size or number of epochs."""
    done = finished_runs(results, resume)
    found = [done.get(tuple(experiment.identity(seed).values())) for seed in seeds]
    keys = ("learning_rate", "batch_size", "max_epochs")
    wanted = {k: getattr(experiment.train, k) for k in keys}
    trained = [run and run["settings"].get("train") for run in found]  # references have no such settings
    return [run if train is None or wanted == {k: train[k] for k in keys} else None for run, train in zip(found, trained, strict=True)]


def fit_experiment(experiment: Trainable, seed: int, records: Sequence[Record], graphs: Sequence[OrbitGraph], checksum: str,
                   checkpoint: str | Path | None = None, progress: bool = True, device: str = "cpu") -> ScratchResult:  # fmt: skip
    """Train the network of one seed; a killed run goes on from its checkpoint."""
    split = experiment.parts(records, seed)
    labels = np.array([r.tensor(experiment.target) for r in records])  # [B, 3, 3]
    data = GraphSet(graphs, to_mandel(torch.from_numpy(labels)).float()[:, None])
    identity = repr(experiment.identity(seed)) + checksum
    return fit_scratch(data, split["train"], split["val"], seed, experiment.make, experiment.train, experiment.max_hours,
                       checkpoint, progress, identity, device)  # fmt: skip


def _one_run(experiment, seed, records, graphs, systems, checksum, checkpoint, progress, device) -> dict:
    forget_peak_memory()
    found = fit_experiment(experiment, seed, records, graphs, checksum, checkpoint, progress, device)
    train, split = experiment.train, experiment.parts(records, seed)
    labels = np.array([records[i].tensor(experiment.target) for i in split["test"]])
    predicted = predict_scratch(found.model, [graphs[i] for i in split["test"]])
    seconds = found.history.pop("seconds")
    return experiment.identity(seed) | test_scores(split, labels, predicted, [systems[i] for i in split["test"]]) | {
        "best_epoch": found.best_epoch, "epochs": len(seconds), "stopped_early": found.ended_by == "patience",
        "budget": {"device": device, "clock": found.clock, "max_epochs": train.max_epochs, "max_hours": experiment.max_hours,
                   "ended_by": found.ended_by, "hours": sum(seconds) / 3600},
        "cost": {"seconds_per_epoch": float(np.median(seconds)), "peak_memory_mb": peak_memory_mb()},
        "validation_mae_ten": found.best,
        "history": {k: [round(x, 4) for x in v] for k, v in found.history.items()},
        "parameters": sum(p.numel() for p in found.model.parameters() if p.requires_grad),
        "settings": experiment.settings(found.model), "data_sha256": checksum, "command": experiment.command(seed) + ("" if device == "cpu" else f" --device {device}"),
        "wall_s": round(sum(seconds), 1), **provenance(),
    }  # fmt: skip


def run_file(experiment: Trainable, seed: int, records: Sequence[Record], cache_dir: str | Path | None) -> Path:
    """Where a run keeps its checkpoint, named by everything that determines it: the records as cleaned, and the code.

    Not by `max_hours`: a run that the clock ended goes on from where it was when it is given more.
    """
    code = sources(*experiment.code)
    settings = (sorted(experiment.identity(seed).items()), experiment.train, data_sha256(records), code)
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
    name = f"{experiment.profile}-{experiment.target}-{experiment.name}-seed{seed}-{digest}.pt"
    return Path(cache_dir or default_cache_dir()) / "runs" / name
