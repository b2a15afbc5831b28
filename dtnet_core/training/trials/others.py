"""Kernels, snapshots, bonds, rank 3, and what ships: its networks by number, and distilled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from ...encoder import encode
from ...features import to_mandel
from ...members import with_total
from ...metrics import log_of, raw_constant
from ...potentials.nequix import Nequix
from ...potentials.parts import o3, split_ranks
from ...potentials.store import compute_features
from ...readout import DTNet, DTNetConfig
from ..fit import fit, predict
from ..joint import PARTS, Task, fit_member, load_task, predict_members
from ..losses import joint_errors, mean_of_known
from ..recipes import RECIPES
from ..search import PLAIN
from ..sets import CrystalSet, build_set, pooled_invariants
from .common import NEQUIX, Said, in_cycles, one_network, task, truth_of

FOUR = replace(RECIPES["best-wide"], members=(NEQUIX, "nequix-omat-1:0-4") * 2)
"""Networks of the settings that ship, on all labels."""


def snapshots(seed: int) -> Said:
    """Three cycles of one network, the three ends averaged."""
    data, split = task().data, task().split(seed)
    torch.manual_seed(seed)
    network = DTNet(DTNetConfig(data.channels, outputs=2, functionals=3, **PLAIN.options))
    rows, wanted = torch.as_tensor(split["train"]), torch.as_tensor(split["val"])
    network.fit_scales(data.batch(rows), data.target_tensors(rows))
    scale = torch.cat([network.output_scale, network.output_scale.sum(0, keepdim=True)])
    loss = lambda some: (mean_of_known(*joint_errors(network.forward_mandel(data.batch(some)), data.targets[some], None)) / scale).mean()  # noqa: E731
    said = []
    for state in in_cycles(network, rows, wanted, loss, seed, 3):
        network.load_state_dict(state)
        said.append(with_total(predict(network, data, split["val"])))
    return np.mean(said, 0), truth_of(data, split["val"])


def kernel_beside(seed: int) -> Said:
    """The electronic constant is a mean of logarithms, half of it a support vector machine's."""
    from sklearn.decomposition import PCA
    from sklearn.svm import SVR

    data, split = task().data, task().split(seed)
    network, rows = one_network(data, seed)
    said, x = with_total(predict(network, data, rows)), pooled_invariants(data).astype(float)
    train = split["train"]
    x = np.clip((x - x[train].mean(0)) / np.maximum(x[train].std(0), 1e-8), -5, 5)
    points = PCA(256, random_state=0).fit(x[train]).transform(x)
    points /= np.sqrt(np.square(points[train]).sum(1).mean())
    true = raw_constant(data.target_tensors(torch.as_tensor(train)).double().numpy()[:, 0])
    machine = SVR(C=30.0, epsilon=0.01, gamma=0.3).fit(points[train], log_of(true))
    own = raw_constant(said[:, 0])
    factor = np.exp(0.5 * (machine.predict(points[rows]) - log_of(own)))
    return with_total(np.stack([said[:, 0] * factor[:, None, None], said[:, 1]], 1)), truth_of(data, rows)


def bonds(with_bonds: bool) -> Callable[[int], Said]:
    """`7net-0`, layer 4, with or without its bonds."""

    def road(seed: int) -> Said:
        records = task().records
        data = build_set(compute_features("7net-0:4", [r.structure for r in records], with_bonds, None, False), records, PARTS, scalars=True)
        network, rows = one_network(data, seed)
        return with_total(predict(network, data, rows)), truth_of(data, rows)

    return road


class RankThree(Nequix):
    """Nequix with what its l = 3 channels add: their norms as scalars, and their product with vectors as tensors."""

    def __init__(self):
        super().__init__("nequix-oam-1-pft")
        self.name, self._product = "nequix-oam-1-pft-rank3", o3.wigner_3j(3, 1, 2, dtype=torch.float64).to(self.dtype)

    def channels(self, layer: int) -> tuple[int, int, int]:
        cs, cv, ct = super().channels(layer)
        third = sum(m for m, ir in self._irreps[layer] if ir.l == 3)
        return cs + third, cv, ct + third

    def _features(self, graph, n, x):
        found = super()._features(graph, n, x)
        irreps = self._irreps[n]
        parts = [x[:, where].reshape(len(x), mul, 7) for (mul, ir), where in zip(irreps, irreps.slices(), strict=True) if ir.l == 3]
        if not parts:
            return found
        third = torch.cat(parts, 1)  # [N, C, 7]
        vectors = split_ranks(x[:, : irreps.dim], irreps)[1][:, : third.shape[1]]
        products = torch.einsum("nca,ncb,abm,mij->ncij", third, vectors, self._product, self._to_cartesian)
        return replace(found, scalars=torch.cat([found.scalars, third.norm(dim=2)], 1), tensors=torch.cat([found.tensors, products], 1))


def rank_three(seed: int) -> Said:
    data = _with_rank_three()
    network, rows = one_network(data, seed)
    return with_total(predict(network, data, rows)), truth_of(data, rows)


@lru_cache(maxsize=1)
def _with_rank_three() -> CrystalSet:
    encoder, records = RankThree(), task().records
    found = [encode(encoder, [r.structure], encoder.layers) for r in records]
    return build_set(found, records, PARTS, scalars=True)


def as_shipped(members: Sequence[int]) -> Callable[[int], Said]:
    """Some of `FOUR`."""

    def road(seed: int) -> Said:
        everything = _all_labels()
        split = everything.split(seed)
        networks = [fit_member(FOUR, everything, split, seed, m, None, False).model for m in members]
        said, truth = predict_members(networks, replace(FOUR, members=tuple(FOUR.members[m] for m in members)), everything, split["val"])
        return said.mean(0), truth

    return road


def distilled(seed: int) -> Said:
    """One network on `nequix-oam-1-pft` learns the tensors that `FOUR` give to all crystals that may train."""
    recipe, all_labels = FOUR, _all_labels()
    split = all_labels.split(seed)
    networks = [fit_member(recipe, all_labels, split, seed, m, None, False).model for m in range(4)]
    said = predict_members(networks, recipe, all_labels, np.arange(len(all_labels.records)))[0].mean(0)
    data = all_labels.of(NEQUIX)
    truth = truth_of(data, split["val"])
    taught = replace(data, targets=to_mandel(torch.from_numpy(said[:, :2])).float(), form=None)
    taught.targets[split["val"]] = data.targets[split["val"]]
    config = DTNetConfig(data.channels, outputs=2, functionals=3, **recipe.options)
    network = fit(taught, split["train"], split["val"], seed, config, recipe.train, progress=False).model
    return with_total(predict(network, data, split["val"])), truth


@lru_cache(maxsize=1)
def _all_labels() -> Task:
    return load_task(FOUR, progress=False)


