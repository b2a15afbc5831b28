"""Training of a readout on stored features: Section 5.3's optimiser, schedule, clipping and early stopping.

On one machine a run is a deterministic function of its data, its configuration and its seed (on a CPU, for a given number of
threads), also when it was killed and started again: weights, optimiser, random state and history are checkpointed.
"""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from ..readout import DTNet, DTNetConfig
from .sets import CrystalSet

_OFF_DIAGONAL = 2**-0.5


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the defaults are the paper's where it gives one (Section 5.3).

    Attributes
    ----------
    learning_rate, betas, weight_decay : AdamW.
    batch_size : int
        Crystals.
    clip : float
        Largest gradient norm.
    max_epochs : int
        Length of the cosine schedule from the learning rate to zero. The paper prints none; its best epoch was 263
        on average. Half the default costs 3 to 11 % of validation error (`data/results/schedule.json`).
    patience : int
        Epochs without a better validation error before stopping.
    weights : tuple of float
        Of several targets and, last, of their sum in the loss; empty: equal.
    ema : float
        Decay a step of the running mean of the weights that is validated and kept (Polyak averaging); 0 keeps the weights.
    """

    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    batch_size: int = 64
    clip: float = 2.0
    max_epochs: int = 300
    patience: int = 200
    weights: tuple[float, ...] = ()
    ema: float = 0.0


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


def mae_ten_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """MAE_ten (Eq. 3) of tensors in Mandel's notation [..., 6]: mean over the six independent components."""
    return _components_mean(predicted - target).mean()


def _components_mean(difference: Tensor) -> Tensor:
    """[..., 6] in Mandel's notation -> [...]: mean of the absolute values of the six independent elements."""
    difference = difference.abs()
    return (difference[..., :3].sum(-1) + _OFF_DIAGONAL * difference[..., 3:].sum(-1)) / 6


def joint_errors(predicted: Tensor, target: Tensor, scalar_only: Tensor | None) -> Tensor:
    """Error of each crystal and target, the sum of all targets added as one more: [B, K, 6] twice -> [B, K + 1].

    MAE_ten, and where only the mean diagonal is known, half the error of that: what MAE_ten is of an isotropic error.
    """
    predicted, target = (torch.cat([x, x.sum(1, keepdim=True)], 1) for x in (predicted, target))
    errors = _components_mean(predicted - target)
    if scalar_only is None:
        return errors
    isotropic = (predicted - target)[..., :3].mean(-1).abs() / 2
    return torch.where(scalar_only[:, None], isotropic, errors)


def fit(data: CrystalSet, train: np.ndarray, validation: np.ndarray, seed: int, model: DTNetConfig | None = None,
        config: TrainConfig | None = None, checkpoint: str | Path | None = None, checkpoint_every: int = 20,
        progress: bool = True, loss: Callable[[Tensor, Tensor], Tensor] | None = None) -> FitResult:  # fmt: skip
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
        Of predicted and true tensors [b, K, 6] in Mandel's notation; default: see `_Run.loss`. A checkpoint does not know it.

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
    run = _Run(network, optimizer, schedule, order, config, loss)
    identity = json.dumps(
        [seed, asdict(model_config), asdict(config), len(train), len(validation), _fingerprint(data, train)]
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


class _Run:
    """The state of a training run: everything that a checkpoint holds."""

    def __init__(self, network: DTNet, optimizer, schedule, order: torch.Generator, config: TrainConfig,
                 criterion: Callable[[Tensor, Tensor], Tensor] | None = None):  # fmt: skip
        self.criterion = criterion
        self.mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema)) if config.ema else None
        self.weights = config.weights
        self.network, self.optimizer, self.schedule, self.order = network, optimizer, schedule, order
        self.epoch, self.best_epoch, self.best = 0, 0, math.inf
        self.best_state = copy.deepcopy(network.state_dict())
        self.history: dict[str, list[float]] = {"train": [], "validation": []}

    def one_epoch(self, data: CrystalSet, rows: Tensor, config: TrainConfig) -> None:
        self.network.train()
        total = 0.0
        for batch in torch.split(rows[torch.randperm(len(rows), generator=self.order)], config.batch_size):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(data, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
            self.optimizer.step()
            self.schedule.step()
            if self.mean is not None:
                self.mean.update_parameters(self.network)
            total += loss.item() * len(batch)
        self.epoch += 1
        if not math.isfinite(total):
            raise FloatingPointError(
                f"the loss is {total} in epoch {self.epoch}: lower the learning rate or check the data"
            )
        self.history["train"].append(total / len(rows))

    def loss(self, data: CrystalSet, rows: Tensor, network: DTNet | None = None) -> Tensor:
        """MAE_ten of one target; of several, the mean of their `joint_errors`, each in units of its spread."""
        network = network or self.network
        predicted = network.forward_mandel(data.batch(rows))  # [b, K, 6]
        if self.criterion is not None:
            return self.criterion(predicted, data.targets[rows])
        if predicted.shape[1] == 1:
            return mae_ten_loss(predicted, data.targets[rows])
        known = None if data.scalar_only is None else data.scalar_only[rows]
        scale = torch.cat([network.output_scale, network.output_scale.sum(0, keepdim=True)])  # [K + 1]
        weights = scale.new_tensor(self.weights or [1.0] * len(scale))
        return (joint_errors(predicted, data.targets[rows], known) * (weights / weights.mean() / scale)).mean()

    @torch.inference_mode()
    def validate(self, data: CrystalSet, rows: Tensor) -> None:
        network = self.network if self.mean is None else self.mean.module
        network.eval()
        loss = self.loss(data, rows, network).item()
        self.history["validation"].append(loss)
        if loss < self.best:
            self.best, self.best_epoch = loss, self.epoch
            self.best_state = copy.deepcopy(network.state_dict())

    def save(self, path: Path, identity: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".tmp{os.getpid()}")
        torch.save(
            {
                "identity": identity, "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(), "order": self.order.get_state(), "random": torch.get_rng_state(),
                "epoch": self.epoch, "best_epoch": self.best_epoch, "best": self.best, "best_state": self.best_state,
                "history": self.history, "mean": None if self.mean is None else self.mean.state_dict(),
            },
            temporary,
        )  # fmt: skip
        os.replace(temporary, path)

    def load(self, path: Path, identity: str) -> None:
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # a broken zip, a pickle that wants to run code
            raise ValueError(
                f"{path}: not a readable training checkpoint ({error}); delete it to start again"
            ) from error
        if state["identity"] != identity:
            raise ValueError(
                f"{path}: belongs to a run with other data, settings or seed; delete it or name another file"
            )
        self.network.load_state_dict(state["network"])
        if self.mean is not None:
            self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.order.set_state(state["order"])
        torch.set_rng_state(state["random"])
        self.epoch, self.best_epoch, self.best = state["epoch"], state["best_epoch"], state["best"]
        self.best_state, self.history = state["best_state"], state["history"]


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
