"""What roads share: the benchmark's crystals, one network of the plain settings, and training in cycles."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from ...members import with_total
from ...readout import DTNet, DTNetConfig
from ..fit import fit
from ..joint import Task, load_task
from ..search import PLAIN, SEARCHED
from ..sets import CrystalSet

NEQUIX = SEARCHED.members[0]
Said = tuple[np.ndarray, np.ndarray]
"""Electronic, ionic and total tensors of the validation crystals [b, 3, 3, 3]: predicted, true."""


@lru_cache(maxsize=1)
def task() -> Task:
    return load_task(SEARCHED, progress=False)


def truth_of(data: CrystalSet, rows: np.ndarray) -> np.ndarray:
    return with_total(data.target_tensors(torch.as_tensor(rows)).double().numpy())


def one_network(data: CrystalSet, seed: int) -> tuple[DTNet, np.ndarray]:
    """A network of the plain settings, and the validation rows."""
    split = task().split(seed)
    config = DTNetConfig(data.channels, data.edge_channels, outputs=data.targets.shape[1], functionals=3, **PLAIN.options)
    return fit(data, split["train"], split["val"], seed, config, PLAIN.train, progress=False).model, split["val"]


def in_cycles(model: nn.Module, rows: Tensor, wanted: Tensor, loss: Callable[[Tensor], Tensor], seed: int, cycles: int) -> list[dict]:
    """Train by the plain settings, `cycles` times from the learning rate to zero; the state of least validation loss of each cycle, the last one loaded."""
    config, order, states = PLAIN.train, torch.Generator().manual_seed(seed), []
    for _ in range(cycles):
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, math.ceil(len(rows) / config.batch_size) * config.max_epochs)
        best, state = math.inf, {}
        for _ in range(config.max_epochs):
            model.train()
            for batch in torch.split(rows[torch.randperm(len(rows), generator=order)], config.batch_size):
                optimizer.zero_grad(set_to_none=True)
                loss(batch).backward()
                nn.utils.clip_grad_norm_(model.parameters(), config.clip)
                optimizer.step()
                schedule.step()
            model.eval()
            with torch.inference_mode():
                now = float(np.mean([loss(part).item() for part in torch.split(wanted, 128)]))
            if now < best:
                best, state = now, copy.deepcopy(model.state_dict())
        states.append(state)
    model.load_state_dict(states[-1])
    return states


