"""A bag of small multilayer perceptrons for log n, on the numbers that the kernel machines see.

Unlike a kernel they learn which of many columns matter. Columns are divided by the square root of their spread: halfway
between principal components as they come, where the first few drown the others, and whitened ones, where noise is as loud as
signal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from .model import Inputs, _check_labels, _within, design_matrix


@dataclass(frozen=True)
class Perceptron:
    """Perceptrons of random initial weights, trained on the mean absolute error of log n and averaged.

    Attributes
    ----------
    components, share
        See `model.Shallow`.
    width, layers : int
        Of the hidden layers.
    dropout : float
    epochs : int
        Of a cosine schedule; the last weights are taken.
    learning_rate, weight_decay : float
        Of AdamW.
    batch_size : int
        Crystals.
    members : int
        Perceptrons in the bag.
    """

    components: int = 512
    share: float = 0.03
    width: int = 256
    layers: int = 2
    dropout: float = 0.1
    epochs: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 64
    members: int = 5

    def predict(self, inputs: Inputs, labels: np.ndarray, train: np.ndarray, validation: np.ndarray, wanted: np.ndarray,
                seed: int, progress: bool = True) -> np.ndarray:  # fmt: skip
        """Refractive index [w] of the crystals `wanted`, within the range of the training labels; no other labels [B] are used."""
        _check_labels(labels, train, validation)
        x = torch.from_numpy(half_whitened(design_matrix(inputs, train, self.components, self.share), train)).float()
        y = torch.from_numpy(np.log(labels[train])).float()
        logs = [self._train(x[train], y, 1000 * seed + m)(x[wanted]).double().numpy() for m in range(self.members)]
        return _within(np.exp(np.mean(logs, 0)), labels[train])

    def _train(self, x: Tensor, y: Tensor, seed: int):
        torch.manual_seed(seed)
        sizes = [x.shape[1], *[self.width] * self.layers]
        hidden = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.SiLU(), nn.Dropout(self.dropout))]
        network = nn.Sequential(*hidden, nn.Linear(self.width, 1), nn.Flatten(0))
        with torch.no_grad():
            network[-2].bias.fill_(y.median())
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        steps = self.epochs * math.ceil(len(x) / self.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(self.epochs):
            for batch in torch.split(torch.randperm(len(x)), self.batch_size):
                optimizer.zero_grad()
                nn.functional.l1_loss(network(x[batch]), y[batch]).backward()
                optimizer.step()
                schedule.step()
        return torch.inference_mode()(network.eval())


def half_whitened(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Columns of [B, D] without their mean, over the root of their spread, then all over one number; facts of the rows `train`."""
    spread = x[train].std(0)
    x = (x - x[train].mean(0)) / np.where(spread > 1e-9, spread, 1) ** 0.5
    return x / np.sqrt((x[train] ** 2).mean())
