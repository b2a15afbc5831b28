"""One baseline: records -> graphs -> split -> training -> test errors, as a record of the same results file as DTNet's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import nn

from ..base.cost import forget_peak_memory, peak_memory_mb
from ..base.paths import default_cache_dir
from ..base.results import IDENTITY, append_result, plain, provenance
from ..crystals.record import TARGETS, Record
from ..crystals.structures import crystal_systems
from ..data.loading import load_clean
from ..data.splits import SPLITS, draw_split, spell_split
from ..training.fit import TrainConfig
from ..training.scores import test_scores
from ..training.scratch.experiment import run_scratch, spell_options, stored_runs
from ..training.scratch.fit import build_graphs
from ..training.scratch.orbit_graph import OrbitGraph
from .m3gnet import M3GNet
from .painn import build_painn, build_painn_local
from .references import REFERENCES, Reference
from .tensor_field import ANISONET, MATTEN, TensorField

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "PaiNN": build_painn,
    "M3GNet": M3GNet,
    "MatTen": lambda: TensorField(MATTEN),
    "AnisoNet": lambda: TensorField(ANISONET),
    "PaiNN-local": build_painn_local,
}
"""Name -> network with random weights. The first three are the paper's peers; see `painn` for what the last one is."""
MODELS = (*NETWORKS, *REFERENCES)
TRAIN = TrainConfig(learning_rate=1e-3, batch_size=16, max_epochs=100, patience=50)
"""The paper's settings but for the learning rate, which `search` chooses for each network, the length and the patience
that goes with it, and the batches: a quarter of the paper's 64 makes four times as many steps in the same time, from which every
network gains while its budget is short."""

_CODE = ("layers", "data.splits", "potentials.graph", "training.fit", "training.loop", "training.losses", "training.scratch.experiment", "training.scratch.fit", "training.scratch.orbit_graph")
_FILES = {"PaiNN": "painn", "PaiNN-local": "painn", "M3GNet": "m3gnet", "MatTen": "tensor_field", "AnisoNet": "tensor_field"}


@dataclass(frozen=True)
class BaselineExperiment:
    """What to train and test.

    Attributes
    ----------
    model : str
        One of `MODELS`.
    target : {"electronic", "ionic", "total"}
    profile : {"mini", "full"}
    split : {"record", "group"}
    fraction : float
        Share of the training set, for learning curves.
    train : TrainConfig
        `max_epochs` is the length of the cosine schedule. References do not look at it.
    """

    model: str = "PaiNN"
    target: str = "total"
    profile: str = "mini"
    split: str = "record"
    fraction: float = 1.0
    train: TrainConfig = field(default_factory=lambda: TRAIN)
    max_hours: ClassVar[None] = None  # no clock cuts a schedule short: hours buy epochs beforehand (`price.epochs_within`)

    def __post_init__(self) -> None:
        for name, allowed in (("model", MODELS), ("target", TARGETS), ("split", SPLITS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        spell_split(self.split, self.fraction)

    @property
    def name(self) -> str:
        """Of its network, in names of files."""
        return self.model

    @property
    def code(self) -> tuple[str, ...]:
        """Files of this package that decide what a run finds."""
        return (*_CODE, "baselines.network", "baselines.experiment", f"baselines.{_FILES[self.model]}")

    def identity(self, seed: int) -> dict:
        """The keys that name a run in a results file."""
        encoder, layer = REFERENCES[self.model].inputs if self.model in REFERENCES else (None, None)
        values = (self.target, self.model, encoder, layer, spell_split(self.split, self.fraction), seed, self.profile)
        return dict(zip(IDENTITY, values, strict=True))

    def parts(self, records: Sequence[Record], seed: int) -> dict[str, np.ndarray]:
        """The "train", "val" and "test" positions of one seed."""
        return draw_split(records, seed, self.split, self.fraction)

    def make(self) -> nn.Module:
        """The network, with random weights."""
        return NETWORKS[self.model]()

    def settings(self, network: nn.Module) -> dict:
        """What a record says of how it was trained."""
        config = getattr(network, "config", None)
        return {"train": asdict(self.train)} | ({"model": asdict(config)} if config else {})

    def command(self, seed: int) -> str:
        """The command line that repeats a run."""
        keys = ["model", "target", "profile", "split"] + ["fraction"] * (self.fraction != 1)
        words = [f"--{k} {getattr(self, k)}" for k in keys]
        train = []
        if self.model in NETWORKS:  # what would be looked up in files is always said
            looked_up = [f"--learning-rate {self.train.learning_rate}", f"--max-epochs {self.train.max_epochs}"]
            train = [*looked_up, *spell_options(self, TRAIN)]
        return " ".join(dict.fromkeys(["dtnet baselines run", *words, *train, f"--seeds {seed}"]))


class Shared:
    """What all baselines of a profile share: records, graphs, inputs of the references; each made when first asked for.

    Parameters
    ----------
    profile : {"mini", "full"}
    data_dir, cache_dir : path, optional
        See `data.loading.resolve_data_dir` and `base.paths.default_cache_dir`.
    progress : bool
    """

    def __init__(self, profile: str = "mini", data_dir: str | Path | None = None, cache_dir: str | Path | None = None,
                 progress: bool = True):  # fmt: skip
        self.profile, self.cache_dir, self.progress = profile, cache_dir or default_cache_dir(), progress
        self.records, self.checksum = load_clean(profile, data_dir)
        self._references: dict[str, Reference] = {}

    @cached_property
    def graphs(self) -> list[OrbitGraph]:
        """Of all records, kept on disk."""
        return build_graphs([r.structure for r in self.records], self.progress, self.cache_dir)

    def reference(self, name: str) -> Reference:
        """A reference of `REFERENCES`, prepared for the records."""
        if name not in self._references:
            self._references[name] = REFERENCES[name](self.records, self.cache_dir, self.progress)
        return self._references[name]


def run_baseline(experiment: BaselineExperiment, seeds: Sequence[int] = range(5), shared: Shared | None = None,
                 results: str | Path | None = None, resume: bool = True, device: str = "cpu") -> list[dict]:  # fmt: skip
    """Train and test for each seed (which draws the split, the weights and the order of the batches).

    Parameters
    ----------
    experiment : BaselineExperiment
    seeds : sequence of int
    shared : Shared, optional
        Of the experiment's profile; default: read anew.
    results : path, optional
        Results file: runs it holds are not repeated (see `scratch.experiment.stored_runs`), new ones are added.
    resume : bool
        False: repeat runs that the results file or a checkpoint already holds.
    device : str
        Of the networks' training, for torch.

    Returns
    -------
    list of dict
        One a seed, with the keys of `experiment.run_experiment`, and for networks `budget` (what ended the training) and `cost`.

    Raises
    ------
    ValueError
        When `shared` is of another profile.
    """
    found = stored_runs(experiment, seeds, results, resume)
    if all(run is not None for run in found):
        return found
    shared = shared or Shared(experiment.profile)
    if shared.profile != experiment.profile:
        raise ValueError(f"the experiment is on profile {experiment.profile}, the shared records are of {shared.profile}")
    if experiment.model in NETWORKS:
        return run_scratch(experiment, seeds, shared.records, shared.graphs, shared.checksum, results, shared.cache_dir,
                           shared.progress, resume, device)  # fmt: skip
    for place, seed in enumerate(seeds):
        if found[place] is None:
            found[place] = plain(_reference_run(experiment, seed, shared))
            if results is not None:
                append_result(results, found[place])
    return found


def _reference_run(experiment: BaselineExperiment, seed: int, shared: Shared) -> dict:
    forget_peak_memory()
    reference, split = shared.reference(experiment.model), experiment.parts(shared.records, seed)
    labels = np.array([r.tensor(experiment.target) for r in shared.records])
    started = time.process_time()
    reference.fit(labels, split["train"], split["val"], seed)
    seconds = time.process_time() - started
    systems = crystal_systems([r.structure for r in shared.records])
    return experiment.identity(seed) | test_scores(split, labels[split["test"]], reference.predict(split["test"]), [systems[i] for i in split["test"]]) | {
        "budget": {"ended_by": "solved", "hours": seconds / 3600}, "cost": {"peak_memory_mb": peak_memory_mb()},
        "settings": dict(reference.settings), "data_sha256": shared.checksum, "command": experiment.command(seed),
        "wall_s": round(seconds, 1), **provenance(),
    }  # fmt: skip
