"""One optimiser step of 64 crystals: the kit's training against the plain readout on the same crystals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from plain_readout import PlainDTNet
from timing import alternate, busyness, median_ratio, median_seconds

from dtnet_core.crystals.record import Record
from dtnet_core.features import Features, concatenate_crystals
from dtnet_core.readout import DTNet, DTNetConfig
from dtnet_core.training.loop import Run, TrainConfig
from dtnet_core.training.sets import CrystalSet, build_set


class KitEpoch:
    """Epochs as `dtnet_core.training.fit` runs them, without validation; input scales stay one, time is the same."""

    def __init__(self, data: CrystalSet, config: TrainConfig):
        torch.manual_seed(0)
        self.data, self.config, self.rows = data, config, torch.arange(len(data))
        network = DTNet(DTNetConfig(data.channels, data.edge_channels))
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, betas=config.betas,
                                      weight_decay=config.weight_decay, fused=True)  # fmt: skip
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10_000)
        self.run = Run(network, optimizer, schedule, torch.Generator().manual_seed(0), config)

    def __call__(self) -> None:
        self.run.one_epoch(self.data, self.rows, self.config)


class PlainEpoch:
    """The same optimisation with the plain readout on all atoms: features joined to batches, 3x3 targets, Eq. 3."""

    def __init__(
        self, features: Sequence[Features], targets: np.ndarray, config: TrainConfig, network: DTNet
    ):
        self.features, self.config = list(features), config
        self.targets = torch.as_tensor(targets, dtype=features[0].scalars.dtype)  # [B, 3, 3]
        self.network = PlainDTNet(network.config).load_weights(network.state_dict())
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate, betas=config.betas,
                                           weight_decay=config.weight_decay, fused=True)  # fmt: skip
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 10_000)
        self.order = torch.Generator().manual_seed(0)

    def __call__(self) -> None:
        self.network.train()
        upper = torch.triu_indices(3, 3)
        for rows in torch.randperm(len(self.features), generator=self.order).split(self.config.batch_size):
            self.optimizer.zero_grad()
            predicted = self.network(concatenate_crystals([self.features[i] for i in rows]))
            loss = (predicted - self.targets[rows])[:, upper[0], upper[1]].abs().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
            self.optimizer.step()
            self.schedule.step()
            loss.item()


def measure_training(
    features: Sequence[Features], records: Sequence[Record], repeats: int, batch_size: int = 64
) -> dict:
    """Step times of the kit with and without symmetry reduction, and of the plain readout.

    All three use AdamW (fused), clipping and the schedule of Section 5.3, in full batches. Both are checked to give the
    same tensors before they are timed. The plain readout gets its atoms' features as `Features`, a list of crystals.

    Raises
    ------
    ValueError
        For fewer crystals than one batch.
    """
    n = len(records) // batch_size * batch_size
    if n == 0:
        raise ValueError(f"{len(records)} crystals do not fill one batch of {batch_size}: measure more")
    features, records = list(features[:n]), list(records[:n])
    config = TrainConfig(batch_size=batch_size)
    reduced, whole = (
        build_set(features, records, "total"),
        build_set(features, records, "total", reduce=False),
    )
    kit, kit_all = KitEpoch(reduced, config), KitEpoch(whole, config)
    targets = np.stack([r.eps_total for r in records])
    plain = PlainEpoch(features, targets, config, kit.run.network)
    difference = _check_equal(kit.run.network, plain.network, reduced, features)
    times = alternate({"plain": plain, "kit_all_atoms": kit_all, "kit": kit}, repeats)
    steps = n // batch_size
    result = {
        "model": "DTNet-simple" if reduced.edge_channels is None else "DTNet", "batch_size": batch_size,
        "crystals": n, "steps_a_repeat": steps, "repeats": repeats,
        "atoms_a_step": len(whole.scalars) / steps, "kept_atoms_a_step": len(reduced.scalars) / steps,
        "largest_difference_of_tensors": difference, "wall_over_cpu": busyness(times),
    }  # fmt: skip
    for name in times:
        result[f"{name}_step_ms"] = 1e3 * median_seconds(times, name) / steps
    result["speedup"] = median_ratio(times, "plain", "kit")
    result["speedup_cpu"] = median_ratio(times, "plain", "kit", "cpu")
    result["speedup_of_layout_and_fusion"] = median_ratio(times, "plain", "kit_all_atoms")
    result["speedup_of_symmetry_reduction"] = median_ratio(times, "kit_all_atoms", "kit")
    return result


@torch.inference_mode()
def _check_equal(network: DTNet, plain: PlainDTNet, data: CrystalSet, features: Sequence[Features]) -> float:
    """Largest difference of the two models' tensors relative to the largest element."""
    rows = torch.arange(min(len(data), 64))
    found = network.eval()(data.batch(rows))
    expected = plain.eval()(concatenate_crystals(features[: len(rows)]))
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference < 1e-3:
        raise ArithmeticError(
            f"kit and plain readout differ by {difference:.2g}: a comparison of times means nothing"
        )
    return difference
