"""One experiment: records -> features -> split -> training -> test errors, as a record of a results file.

The notebooks and the command line go through `run_experiment`, so a number in `data/results/tensors.json` and one on a
reader's screen come from the same lines. Runs that are in the results file already are skipped; a killed run goes on
from its checkpoint.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from pymatgen.core import Structure

from ..base.paths import default_cache_dir, sources
from ..base.results import IDENTITY, append_result, finished_runs, plain, provenance
from ..checkpoint import load_network, save_network
from ..crystals.record import TARGETS, Record
from ..crystals.structures import crystal_systems
from ..data.loading import data_sha256, load_clean
from ..data.splits import SPLITS, draw_split, spell_split
from ..potentials.registry import parse_features, spell_features
from ..potentials.store import compute_features
from ..readout import DTNet, DTNetConfig
from .fit import TrainConfig, fit, predict
from .scores import test_scores
from .sets import CrystalSet, build_set

MODELS = ("DTNet", "DTNet-simple")
PAPER_WIDTH = (128, 64, 32)
"""Inner channels when several layers or encoders are concatenated: those of one SevenNet layer."""

_TRAIN_OPTIONS = ("learning_rate", "weight_decay", "batch_size", "max_epochs", "patience")
_CODE_OF_A_RUN = ("features", "layers", "links", "readout", "data.splits", "training.fit", "training.loop", "training.losses", "training.sets")


@dataclass(frozen=True)
class Experiment:
    """What to train and test.

    Attributes
    ----------
    target : {"electronic", "ionic", "total"}
    features : str
        Encoders and layers, e.g. "7net-0:4", "7net-0:0-5", "7net-0:0-5+7net-l3i5:1,3,4".
    model : {"DTNet-simple", "DTNet"}
        Without or with bond features.
    split : {"record", "group"}
        80/10/10 by record, or with the records of a formula kept together.
    profile : {"mini", "full"}
    width : (Cs, Cv, Ct), optional
        See `readout.DTNetConfig`; default: `PAPER_WIDTH` for several layers, else the encoder's.
    train : TrainConfig
    options : dict
        Further arguments of `readout.DTNetConfig`.
    fraction : float
        Share of the training set that is used, for learning curves.
    """

    target: str = "total"
    features: str = "7net-0:4"
    model: str = "DTNet-simple"
    split: str = "record"
    profile: str = "mini"
    width: tuple[int, int, int] | None = None
    train: TrainConfig = field(default_factory=TrainConfig)
    options: dict = field(default_factory=dict)
    fraction: float = 1.0

    def __post_init__(self) -> None:
        for name, allowed in (("target", TARGETS), ("model", MODELS), ("split", SPLITS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        parse_features(self.features)
        spell_split(self.split, self.fraction)

    def identity(self, seed: int) -> dict:
        """The keys that name a run of this experiment in a results file."""
        split = spell_split(self.split, self.fraction)
        values = (self.target, self.model, *spell_features(self.features), split, seed, self.profile)
        return dict(zip(IDENTITY, values, strict=True))


def predict_structures(model: DTNet, features: str, structures: Sequence[Structure], cache_dir: str | Path | None = None,
                       progress: bool = True) -> np.ndarray:  # fmt: skip
    """Dielectric tensors [B, 3, 3] of crystals, each in the frame of its structure.

    Parameters
    ----------
    model : DTNet
    features : str
        The encoders and layers it was trained with.
    structures : sequence of pymatgen Structure
    """
    bonds = model.config.edge_channels is not None
    found = compute_features(features, structures, bonds, cache_dir, progress)
    with torch.inference_mode():
        return np.concatenate([model(part).double().numpy() for part in found])


def run_experiment(experiment: Experiment, seeds: Sequence[int] = range(5), results: str | Path | None = None,
                   cache_dir: str | Path | None = None, data_dir: str | Path | None = None, progress: bool = True,
                   resume: bool = True) -> list[dict]:  # fmt: skip
    """Train and test for each seed (which draws the split, the weights and the order of the batches).

    Parameters
    ----------
    experiment : Experiment
    seeds : sequence of int
    results : path, optional
        Results file: runs it holds are not repeated, new ones are added.
    cache_dir : path, optional
        For features, checkpoints and trained models; default `store.default_cache_dir()`.
    data_dir : path, optional
        See `data.loading.resolve_data_dir`.
    progress : bool
    resume : bool
        False: repeat runs that the results file or a checkpoint already holds.

    Returns
    -------
    list of dict
        One a seed, with the keys of a results record: what ran, errors on the test set, `by_system`, provenance.
    """
    done = finished_runs(results, resume)
    runs = [done.get(tuple(experiment.identity(seed).values())) for seed in seeds]
    if all(run is not None for run in runs):
        return runs
    records, checksum = load_clean(experiment.profile, data_dir)
    features = compute_features(
        experiment.features, [r.structure for r in records], experiment.model == "DTNet", cache_dir, progress
    )
    data = build_set(features, records, experiment.target, cache_dir=cache_dir)
    systems = crystal_systems([r.structure for r in records])
    for position, seed in enumerate(seeds):
        if runs[position] is None:
            runs[position] = plain(
                _one_run(experiment, seed, records, data, systems, checksum, cache_dir, progress, resume)
            )
            if results is not None:
                if Path(results).name != Path(default_results(experiment)).name:
                    runs[position]["command"] += f" --results {results}"
                append_result(results, runs[position])
    return runs


def default_results(experiment: Experiment) -> str:
    """The results file that the command line adds to: learning curves have their own."""
    return f"data/results/{'tensors' if experiment.fraction == 1 else 'learning_curves'}.json"


def model_config(experiment: Experiment, data: CrystalSet) -> DTNetConfig:
    """Shape of the experiment's network for the channels of `data`."""
    several = (
        len(parse_features(experiment.features)) > 1 or len(parse_features(experiment.features)[0][1]) > 1
    )
    width = experiment.width or (PAPER_WIDTH if several else None)
    return DTNetConfig(data.channels, data.edge_channels, width, **experiment.options)


def _one_run(experiment, seed, records, data, systems, checksum, cache_dir, progress, resume) -> dict:
    started = time.monotonic()
    split = draw_split(records, seed, experiment.split, experiment.fraction)
    shape = model_config(experiment, data)
    stem = _run_file(experiment, seed, records, cache_dir)
    checkpoint = stem.with_suffix(".pt")
    if not resume:
        checkpoint.unlink(missing_ok=True)
    found = fit(
        data, split["train"], split["val"], seed, shape, experiment.train, checkpoint, progress=progress
    )
    save_network(
        found.model,
        stem.with_suffix(".safetensors"),
        features=experiment.features,
        target=experiment.target,
        seed=str(seed),
    )
    reference = data.target_tensors(torch.as_tensor(split["test"]))[:, 0].double().numpy()
    predicted = predict(found.model, data, split["test"])
    return experiment.identity(seed) | test_scores(split, reference, predicted, [systems[i] for i in split["test"]]) | {
        "best_epoch": found.best_epoch, "epochs": len(found.history["train"]), "stopped_early": found.stopped_early,
        "validation_mae_ten": min(found.history["validation"]), "history": {k: [round(x, 4) for x in v] for k, v in found.history.items()},
        "parameters": sum(p.numel() for p in found.model.parameters()),
        "settings": {"train": asdict(experiment.train), "model": asdict(shape)},
        "data_sha256": checksum, "command": _command(experiment, seed), "wall_s": round(time.monotonic() - started, 1), **provenance(),
    }  # fmt: skip


def _command(experiment: Experiment, seed: int) -> str:
    """The command line that repeats a run."""
    words = ["dtnet train experiment"]
    for name in ("profile", "features", "target", "model", "split"):
        words.append(f"--{name} {getattr(experiment, name)}")
    for name in _TRAIN_OPTIONS:
        if getattr(experiment.train, name) != getattr(TrainConfig, name):
            words.append(f"--{name.replace('_', '-')} {getattr(experiment.train, name)}")
    if "initial_anisotropy" in experiment.options:
        words.append(f"--initial-anisotropy {experiment.options['initial_anisotropy']}")
    if experiment.fraction != 1:
        words.append(f"--fraction {experiment.fraction}")
    return " ".join([*words, f"--seeds {seed}"])


def _run_file(experiment: Experiment, seed: int, records: Sequence[Record], cache_dir: str | Path | None) -> Path:
    """Where a run keeps its checkpoint and its model, named by everything that determines it: the records as cleaned, and the code."""
    code = sources(*_CODE_OF_A_RUN)
    digest = hashlib.sha256(repr((experiment, seed, data_sha256(records), code)).encode()).hexdigest()[:16]
    name = f"{experiment.profile}-{experiment.target}-{experiment.model}-seed{seed}-{digest}"
    return Path(cache_dir or default_cache_dir()) / "runs" / name


def load_run(
    experiment: Experiment, seed: int, cache_dir: str | Path | None = None, data_dir: str | Path | None = None
) -> DTNet:
    """The trained network of a finished run.

    Raises
    ------
    FileNotFoundError
        When that run was not made with this cache, these data and this code.
    """
    records = load_clean(experiment.profile, data_dir)[0]
    return load_network(_run_file(experiment, seed, records, cache_dir).with_suffix(".safetensors"))[0]
