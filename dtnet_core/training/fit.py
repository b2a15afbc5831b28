"""Training of a readout on stored features: Section 5.3's optimiser, schedule, clipping and early stopping.

On one machine a run is a deterministic function of its data, its configuration and its seed (on a CPU, for a given number of
threads), also when it was killed and started again: weights, optimiser, random state and history are checkpointed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..readout import DTNet, DTNetConfig
from .loop import Run, TrainConfig
from .sets import CrystalSet


@dataclass
class FitResult:
    """A trained model (the weights of its best epoch) and its history.

    Attributes
    ----------
    model : DTNet
    history : dict of str to list of float
        `train` and `validation`: MAE_ten by epoch.
    best_epoch : int
        Counted from 1.
    stopped_early : bool
    """

    model: DTNet
    history: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    stopped_early: bool = False


def fit(data: CrystalSet, train: np.ndarray, validation: np.ndarray, seed: int, model: DTNetConfig | None = None,
        config: TrainConfig | None = None, checkpoint: str | Path | None = None, checkpoint_every: int = 20,
        progress: bool = True, loss: Callable[[Tensor, Tensor], Tensor] | None = None, relative: float = 0.0) -> FitResult:  # fmt: skip
    """Train a DTNet on some crystals of a set, watching others.

    Parameters
    ----------
    data : CrystalSet
        With targets.
    train, validation : np.ndarray of int
        Indices into `data`. Nothing of other crystals of `data` has a part in the training.
    seed : int
        Of initial weights, order of the batches, dropout.
    model : DTNetConfig, optional
        Default: the paper's, for the channels of `data`.
    config : TrainConfig, optional
    checkpoint : path, optional
        File that keeps the state of the run; if it is there, the run goes on from it.
    checkpoint_every : int
        Epochs between two checkpoints.
    progress : bool
    loss : callable, optional
        Of predicted and true tensors [b, K, 6] in Mandel's notation; default: see `Run.loss`. A checkpoint does not know it.
    relative : float
        Of several targets, the power of `losses.lighter` in training; validation takes errors as they are.

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError
        For an empty or overlapping split, or a checkpoint of another run.
    FloatingPointError
        When the loss is no longer finite.
    """
    config = config or TrainConfig()
    model_config = model or DTNetConfig(data.channels, data.edge_channels)
    _check_split(data, train, validation)
    order = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = DTNet(model_config).to(data.scalars.dtype)
    train_rows, validation_rows = torch.as_tensor(train), torch.as_tensor(validation)
    network.fit_scales(data.batch(train_rows), data.target_tensors(train_rows))
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )
    steps = math.ceil(len(train) / config.batch_size) * config.max_epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    run = Run(network, optimizer, schedule, order, config, loss, relative)
    identity = json.dumps(
        [seed, asdict(model_config), asdict(config), len(train), len(validation), _fingerprint(data, train), relative]
    )
    if checkpoint is not None and Path(checkpoint).exists():
        run.load(Path(checkpoint), identity)
    bar = tqdm(
        total=config.max_epochs,
        initial=run.epoch,
        unit="epoch",
        desc=f"train seed {seed}",
        disable=not progress,
    )
    with bar:
        while run.epoch < config.max_epochs and run.epoch - run.best_epoch < config.patience:
            run.one_epoch(data, train_rows, config)
            run.validate(data, validation_rows)
            bar.update()
            bar.set_postfix(
                validation=f"{run.history['validation'][-1]:.3f}", best=f"{run.best:.3f}", refresh=False
            )
            if checkpoint is not None and run.epoch % checkpoint_every == 0:
                run.save(Path(checkpoint), identity)
    stopped = run.epoch < config.max_epochs
    if checkpoint is not None:
        run.save(Path(checkpoint), identity)
    network.load_state_dict(run.best_state)
    return FitResult(network.eval(), run.history, run.best_epoch, stopped)


@torch.inference_mode()
def predict(
    model: DTNet, data: CrystalSet, crystals: np.ndarray | None = None, batch_size: int = 256
) -> np.ndarray:
    """Dielectric tensors [b, 3, 3] or [b, K, 3, 3], float64, of some crystals of a set (default all)."""
    rows = torch.arange(len(data)) if crystals is None else torch.as_tensor(crystals)
    model.eval()
    parts = [model(data.batch(chunk)).double().numpy() for chunk in torch.split(rows, batch_size)]
    return np.concatenate(parts) if parts else np.zeros((0, *[model.config.outputs][model.config.outputs == 1 :], 3, 3))


def _check_split(data: CrystalSet, train: np.ndarray, validation: np.ndarray) -> None:
    if data.targets is None:
        raise ValueError("the set has no targets: build it with target='electronic', 'ionic' or 'total'")
    if len(train) == 0 or len(validation) == 0:
        raise ValueError(
            f"{len(train)} training and {len(validation)} validation crystals: both must be at least one"
        )
    shared = np.intersect1d(train, validation)
    if len(shared):
        raise ValueError(
            f"{len(shared)} crystals are in both training and validation, the first is number {shared[0]}"
        )


def _fingerprint(data: CrystalSet, train: np.ndarray) -> str:
    """Sums over all features and labels, and the split, to recognise a checkpoint's run."""
    parts = (data.targets, data.scalars, data.vectors, data.tensors)
    sums = " ".join(f"{float(x.sum(dtype=torch.float64)):.6g}" for x in parts)
    return f"{sums} {len(data.scalars)} {int(np.dot(train, np.arange(len(train))))}"
