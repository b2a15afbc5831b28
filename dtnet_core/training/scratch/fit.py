"""Training of an encoder and its readout together, from random weights, on graphs held in memory."""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from pymatgen.core import Structure
from torch import Tensor, nn
from tqdm import tqdm

from ...base.files import write_atomic
from ...base.paths import sources
from ...crystals.structures import crystal_key
from ...features import Packed, from_mandel
from ...readout import DTNet, DTNetConfig
from ..loop import Run, TrainConfig
from .orbit_graph import OrbitGraph, build_orbit_graph, merge_orbit_graphs

LONGEST_CUTOFF = 6.0
"""In angstrom, of the graphs: each encoder takes the bonds it reaches."""


class ScratchNet(nn.Module):
    """An encoder and a DTNet on top of it, trained as one.

    Parameters
    ----------
    encoder : nn.Module
        With `channels`, `edge_channels`, `reach` and `packed` (see `teanet.TeaNet`).
    bonds : bool
        With bond features (DTNet), or without (DTNet-simple).
    """

    scale_sample = 512
    """Training crystals that input scales are fitted on."""

    def __init__(self, encoder: nn.Module, bonds: bool = False):
        super().__init__()
        if bonds and encoder.edge_channels is None:
            raise ValueError(f"{type(encoder).__name__} has no bond features: choose DTNet-simple")
        self.encoder, self.bonds = encoder, bonds
        self.readout = DTNet(DTNetConfig(encoder.channels, encoder.edge_channels if bonds else None))

    @property
    def reach(self) -> float:
        """Longest bond it looks at, in angstrom."""
        return self.encoder.reach

    def packed(self, graph: OrbitGraph) -> Packed:
        """Features for the readout."""
        return self.encoder.packed(graph, bonds=self.bonds)

    def fit_scales(self, graph: OrbitGraph, targets: Tensor) -> None:
        """Set the readout's scales from a batch of crystals and the training tensors [B, 3, 3]."""
        self.readout.fit_scales(self.packed(graph), targets)

    def forward_mandel(self, graph: OrbitGraph) -> Tensor:
        """Dielectric tensors of a batch in Mandel's notation, [B, 1, 6]."""
        return self.readout.forward_mandel(self.packed(graph)).view(-1, 1, 6)

    def forward(self, graph: OrbitGraph) -> Tensor:
        """Dielectric tensors [B, 3, 3] (dimensionless), in the frames of the structures."""
        return from_mandel(self.forward_mandel(graph)[:, 0])


@dataclass(frozen=True)
class GraphSet:
    """Graphs of B crystals in memory, and their tensors [B, 1, 6] in Mandel's notation; batches are on the tensors' device."""

    graphs: Sequence[OrbitGraph]
    targets: Tensor
    form: None = None

    def __len__(self) -> int:
        return len(self.graphs)

    def batch(self, crystals: Tensor) -> OrbitGraph:
        """The crystals of these indices [b] as one batch, in this order."""
        return merge_orbit_graphs([self.graphs[i] for i in crystals.tolist()]).to(self.targets.device)


@dataclass
class ScratchResult:
    """The weights of the best epoch and its validation error; `history` has the `seconds` of each epoch, too.

    Those are the processor's; on another device, the wall clock's, as `clock` says.
    """

    model: nn.Module
    history: dict[str, list[float]]
    best_epoch: int
    best: float
    ended_by: str
    clock: str


def build_graphs(
    structures: Sequence[Structure], progress: bool = True, cache_dir: str | Path | None = None
) -> list[OrbitGraph]:
    """Graphs with one atom an orbit and all bonds shorter than `LONGEST_CUTOFF`.

    Parameters
    ----------
    structures : sequence of pymatgen Structure
    progress : bool
    cache_dir : path, optional
        Keep the graphs of this list of crystals on disk, and take them from there the next time.
    """
    path = None
    if cache_dir is not None:
        keys = [crystal_key(s) for s in structures]
        digest = hashlib.sha256(repr((keys, LONGEST_CUTOFF, _graph_code())).encode()).hexdigest()[:20]
        path = Path(cache_dir) / "graphs" / f"{digest}.pt"
        if path.exists():
            try:
                return [OrbitGraph(**parts) for parts in torch.load(path, weights_only=True)]
            except Exception as error:  # a broken zip raises many kinds
                warnings.warn(f"{path}: not readable ({error}); its graphs are built anew.", stacklevel=2)
    graphs = [
        build_orbit_graph(s, LONGEST_CUTOFF) for s in tqdm(structures, "graphs", disable=not progress)
    ]
    if path is not None:
        with io.BytesIO() as buffer:
            torch.save([vars(g) for g in graphs], buffer)
            write_atomic(path, buffer.getvalue())
    return graphs


def _graph_code() -> list[bytes]:
    return sources("training.scratch.orbit_graph", "potentials.graph")


def fit_scratch(data: GraphSet, train: np.ndarray, validation: np.ndarray, seed: int,
                make: Callable[[], nn.Module], config: TrainConfig, max_hours: float | None = None,
                checkpoint: str | Path | None = None, progress: bool = True,
                identity: str = "", device: str = "cpu") -> ScratchResult:  # fmt: skip
    """Train an encoder and its readout; on a CPU a deterministic function of its arguments, also when it was
    killed and resumed.

    (But for `max_hours`, which ends a run by the processor's clock.)

    Parameters
    ----------
    data : GraphSet
    train, validation : np.ndarray of int
        Indices into `data`.
    seed : int
        Of initial weights, order of the batches, dropout.
    make : function
        Makes the network, with random weights: a `ScratchNet`, or another with its `reach`, `scale_sample`,
        `fit_scales` and `forward_mandel`.
    config : TrainConfig
    max_hours : float, optional
        Of processor time, so that other programs on the machine do not shorten a run.
    checkpoint : path, optional
        File that keeps the state of the run after every epoch; if it is there, the run goes on from it.
    progress : bool
    identity : str
        What else tells this run from others; a checkpoint of another run is refused.
    device : str
        "cpu", "cuda", ...; weights start the same everywhere, and a run may go on elsewhere.

    Raises
    ------
    ValueError
        For a checkpoint of another run.
    FloatingPointError
        When the loss is no longer finite.
    """
    torch.manual_seed(seed)
    network = make().to(device)
    rows, watched = torch.as_tensor(train), torch.as_tensor(validation)
    graphs = [g.cut(network.reach) for g in data.graphs]
    data = GraphSet(graphs, data.targets.to(device))
    with torch.no_grad():
        network.fit_scales(data.batch(rows[: network.scale_sample]), from_mandel(data.targets[rows][:, 0]))
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, betas=config.betas,
                                  weight_decay=config.weight_decay, fused=True)  # fmt: skip
    steps = math.ceil(len(rows) / config.batch_size) * config.max_epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    run = _GraphRun(network, optimizer, schedule, torch.Generator().manual_seed(seed), config)
    run.history["seconds"] = []
    identity = json.dumps([identity, seed, asdict(config), rows.tolist(), float(data.targets.double().sum())])
    identity = hashlib.sha256(identity.encode()).hexdigest()
    if checkpoint is not None and Path(checkpoint).exists():
        run.load(Path(checkpoint), identity)
    clock, now = ("processor", time.process_time) if device == "cpu" else ("wall", time.monotonic)
    with tqdm(
        total=config.max_epochs, initial=run.epoch, unit="epoch", desc=f"seed {seed}", disable=not progress
    ) as bar:
        while (ended_by := _end(run, config, max_hours)) is None:
            started = now()
            run.one_epoch(data, rows, config)
            run.validate(data, watched)
            run.history["seconds"].append(now() - started)
            if checkpoint is not None:
                run.save(Path(checkpoint), identity)
            bar.set_postfix(
                validation=f"{run.history['validation'][-1]:.3f}", best=f"{run.best:.3f}", refresh=False
            )
            bar.update()
    network.load_state_dict(run.best_state)
    return ScratchResult(network.eval(), run.history, run.best_epoch, run.best, ended_by, clock)


class _GraphRun(Run):
    """Validates in batches as it trains: graphs take more memory than stored features."""

    def __init__(self, network, optimizer, schedule, order: torch.Generator, config: TrainConfig):
        super().__init__(network, optimizer, schedule, order, config)
        self.batch_size = config.batch_size

    def loss(self, data: GraphSet, rows: Tensor, network: nn.Module | None = None) -> Tensor:
        if network is None:
            return super().loss(data, rows)
        parts = torch.split(rows, self.batch_size)
        return sum(super(_GraphRun, self).loss(data, part, network) * len(part) for part in parts) / len(rows)


def _end(run: Run, config: TrainConfig, max_hours: float | None) -> str | None:
    """What ends the run now, if anything."""
    if run.epoch >= config.max_epochs:
        return "epochs"
    if run.epoch - run.best_epoch >= config.patience:
        return "patience"
    if max_hours is not None and run.epoch > 0 and sum(run.history["seconds"]) >= 3600 * max_hours:
        return "hours"
    return None


@torch.inference_mode()
def predict_scratch(model: nn.Module, graphs: Sequence[OrbitGraph], batch_size: int = 64) -> np.ndarray:
    """Dielectric tensors [B, 3, 3] float64, each in the frame of its structure; computed where the model is."""
    model.eval()
    device = next(model.parameters()).device
    chunks = [graphs[k : k + batch_size] for k in range(0, len(graphs), batch_size)]
    return np.concatenate([model(merge_orbit_graphs(c).to(device)).double().cpu().numpy() for c in chunks])
