"""The state of a training run: an epoch, its validation, and a checkpoint of everything that determines what comes next."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..readout import DTNet
from .losses import joint_errors, lighter, mae_ten_loss, mean_of_known
from .sets import CrystalSet


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


class Run:
    """The state of a training run: everything that a checkpoint holds."""

    def __init__(self, network: DTNet, optimizer, schedule, order: torch.Generator, config: TrainConfig,
                 criterion: Callable[[Tensor, Tensor], Tensor] | None = None, relative: float = 0.0):  # fmt: skip
        self.criterion, self.relative = criterion, relative
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
        """MAE_ten of one target; of several, the mean of their `joint_errors`, each in units of its spread. In training (without `network`) those of large tensors may count less."""
        lightened, network = self.relative if network is None else 0.0, network or self.network
        predicted = network.forward_mandel(data.batch(rows))  # [b, K, 6]
        if self.criterion is not None:
            return self.criterion(predicted, data.targets[rows])
        if predicted.shape[1] == 1:
            return mae_ten_loss(predicted, data.targets[rows])
        scale = torch.cat([network.output_scale, network.output_scale.sum(0, keepdim=True)])  # [K + 1]
        weights = scale.new_tensor(self.weights or [1.0] * len(scale))
        errors, known = joint_errors(predicted, data.targets[rows], None if data.form is None else data.form[rows])
        if lightened:
            errors = errors * lighter(data.targets[rows], network.output_mean, lightened)
        return (mean_of_known(errors, known) * (weights / weights.mean() / scale)).mean()

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
