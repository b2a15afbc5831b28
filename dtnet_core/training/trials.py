"""Roads that need code of their own, each measured as those of `search` are (`dtnet train search`).

All but the last ones start from one network on `nequix-oam-1-pft` and the benchmark's own labels, the road "encoder: nequix-oam-1-pft instead". Force constants are taken from disk.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..base.results import load_results
from ..encoder import encode
from ..features import from_mandel, to_mandel
from ..layers import MLP, safe_norm, segment_sum
from ..members import with_total
from ..metrics import log_of, mae_ten, raw_constant
from ..physics.modes import DAMPINGS, PER_VOLUME, polar_modes
from ..physics.store import stored_force_constants
from ..potentials.nequix import Nequix
from ..potentials.parts import o3, split_ranks
from ..potentials.registry import load_encoder
from ..potentials.store import compute_features
from ..readout import DTNet, DTNetConfig
from .born import charges_out_of_fold
from .fit import fit, predict
from .joint import PARTS, Task, fit_member, load_task, predict_members
from .losses import joint_errors, mean_of_known
from .physics import benchmark_modes
from .recipes import RECIPES
from .search import PLAIN, ROADS, SEARCHED, SEEDS, add_road, changed, run_roads
from .sets import CrystalSet, build_set, pooled_invariants

NEQUIX = SEARCHED.members[0]
FOUR = replace(RECIPES["best-wide"], members=(NEQUIX, "nequix-omat-1:0-4") * 2)
"""Networks of the settings that ship, on all labels."""
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


# -- modes --------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def vibrations() -> tuple[np.ndarray, np.ndarray, np.ndarray, list, list]:
    """Sums at all dampings [n, D, 3, 3], numbers [n, 7] in units of their deviation, which crystals have them [n], force constants and charges."""
    records = task().records
    constants = stored_force_constants(load_encoder("nequix-oam-1-pft"), [r.structure for r in records], None, False, compute=False)
    charges = charges_out_of_fold(NEQUIX, records, progress=False)
    sums, numbers = np.zeros((len(records), len(DAMPINGS), 3, 3)), np.zeros((len(records), len(DAMPINGS) + 2))
    known = np.array([k is not None for k in constants])
    for i in np.flatnonzero(known):
        modes = polar_modes(constants[i], charges[i], records[i].structure.volume)
        numbers[i], sums[i] = modes.numbers(), [modes.sum(d) for d in DAMPINGS]
    mean, spread = numbers[known].mean(0), numbers[known].std(0)
    return sums, np.where(known[:, None], np.clip((numbers - mean) / spread, -4, 4), 0), known, constants, charges


def bounded_sums() -> Tensor:
    """[n, D, 3, 3]: soft crystals' sums grow without bound; these do not."""
    sums = vibrations()[0]
    constant = np.trace(sums, axis1=2, axis2=3)[..., None, None] / 3
    return torch.from_numpy(sums / (1 + constant / 40) / 10).float()


def modes_as_input(seed: int) -> Said:
    data, (_, numbers, known, _, _) = task().data, vibrations()
    atoms = torch.repeat_interleave(torch.arange(len(data)), data.start.diff())
    more = torch.from_numpy(np.c_[numbers, known]).float()[atoms]
    tensors = to_mandel(bounded_sums()).transpose(1, 2)[atoms]  # [A, 6, D]
    data = replace(data, scalars=torch.cat([data.scalars, more], 1), tensors=torch.cat([data.tensors, tensors], 2))
    network, rows = one_network(data, seed)
    return with_total(predict(network, data, rows)), truth_of(data, rows)


def modes_as_task(seed: int) -> Said:
    """The sum over modes is a third tensor that the network learns, with half the weight of the others."""
    data, known = task().data, vibrations()[2]
    third = to_mandel(bounded_sums()[:, DAMPINGS.index(0.3)])
    third[~torch.from_numpy(known)] = math.nan
    data = replace(data, targets=torch.cat([data.targets, third[:, None]], 1), form=None)
    split = task().split(seed)
    spread = (data.targets[split["train"]][..., :3].mean(-1) - data.targets[split["train"]][..., :3].mean(-1).nanmedian(0).values).abs().nanmean(0)
    scale = torch.cat([spread[:2], spread[:2].sum()[None]])

    def loss(said: Tensor, true: Tensor) -> Tensor:
        main = mean_of_known(*joint_errors(said[:, :2], true[:, :2], None)) / scale
        extra = mean_of_known(*joint_errors(said[:, 2:], true[:, 2:], None))[0] / spread[2]
        return main.mean() + 0.5 * extra / 3

    config = DTNetConfig(data.channels, outputs=3, functionals=3, floors=(1.0, 0.0, 0.0), **PLAIN.options)
    network = fit(data, split["train"], split["val"], seed, config, PLAIN.train, progress=False, loss=loss).model
    return with_total(predict(network, data, split["val"])[:, :2]), truth_of(replace(data, targets=data.targets[:, :2]), split["val"])


def mended(seed: int) -> Said:
    """What the variant "physics" does, on one network."""
    known = _known()
    network, rows = one_network(task().data, seed)
    split = task().split(seed)
    said = known.mended(known.fit(split["train"]), with_total(predict(network, task().data, rows))[None], rows)[0][0]
    return said, truth_of(task().data, rows)


@lru_cache(maxsize=1)
def _known():
    return benchmark_modes("best", task(), progress=False)


class ThroughModes(nn.Module):
    """A DTNet whose ionic tensor is mixed, by a gate a crystal, with a sum over modes that it corrects.

    Each atom gets a factor on its charges and one on its force constants, each crystal a damping: eps = PER_VOLUME / V Z^t (D K D + c)^-1 Z, Z and
    D K D without net charge and translation. K is the positive square root of K^2 + 0.05^2.
    """

    def __init__(self, config: DTNetConfig):
        super().__init__()
        self.net = DTNet(config)
        inside = config.width or config.channels
        self.head = MLP(sum(inside), config.hidden, 4, 2, config.dropout)
        nn.init.zeros_(self.head[-1].weight)
        self._last: tuple = ()
        self.net.blocks[-1].register_forward_hook(lambda module, given, found: setattr(self, "_last", found))

    def forward(self, packed, k: Tensor, z: Tensor, where: tuple[Tensor, Tensor], known: Tensor) -> Tensor:
        """[B, 2, 6]; k [B, 3N, 3N] and z [B, N, 3, 3] in padded cells, divided by the root of the volume; `where` atoms lie in these."""
        plain_tensors = self.net.forward_mandel(packed)
        s, v, t = self._last
        said = self.head(torch.cat([s, safe_norm(v, 1), safe_norm(t, 1)], 1))  # [A, 4]
        crystal = segment_sum(said * packed.weights[:, None], packed.crystal, packed.n_crystals)  # [B, 4]
        b, n = z.shape[:2]
        charge, stiff, real = z.new_zeros(b, n), z.new_zeros(b, n), z.new_zeros(b, n)
        charge = charge.index_put(where, 0.5 * torch.tanh(said[:, 0])).exp()
        stiff = stiff.index_put(where, 0.5 * torch.tanh(said[:, 1])).exp()
        real = real.index_put(where, torch.ones_like(said[:, 0]))  # [B, N]
        count = real.sum(1).clamp_min(1)
        z = z * (charge * real)[..., None, None]
        z = (z - z.sum(1, keepdim=True) / count[:, None, None, None] * real[..., None, None]).flatten(1, 2)  # [B, 3N, 3]
        d = stiff.repeat_interleave(3, 1)
        k = k * d[:, :, None] * d[:, None, :]
        # translations out: rows and columns lose their means over the atoms, axis by axis
        k = k.view(b, n, 3, n, 3)
        k = k - (k.sum(1, keepdim=True) / count.view(-1, 1, 1, 1, 1)) * real.view(b, n, 1, 1, 1)
        k = k - (k.sum(3, keepdim=True) / count.view(-1, 1, 1, 1, 1)) * real.view(b, 1, 1, n, 1)
        k = k.reshape(b, 3 * n, 3 * n)
        damping = nn.functional.softplus(crystal[:, 2] - 1.5) + 0.02
        x = torch.linalg.solve(k + damping[:, None, None] * torch.eye(3 * n), z)
        ionic = to_mandel(PER_VOLUME * z.transpose(1, 2) @ x)  # [B, 6]
        gate = (torch.sigmoid(crystal[:, 3]) * known)[:, None]
        return torch.stack([plain_tensors[:, 0], gate * ionic + (1 - gate) * plain_tensors[:, 1]], 1)


def modes_end_to_end(seed: int) -> Said:
    _, _, known, constants, charges = vibrations()
    records, split = task().records, task().split(seed)
    data = build_set(compute_features(NEQUIX, [r.structure for r in records], False, None, False), records, PARTS, reduce=False, scalars=True)
    most = max(len(records[i].structure) for i in np.flatnonzero(known))
    k, z = torch.zeros(len(records), 3 * most, 3 * most), torch.zeros(len(records), most, 3, 3)
    for i in np.flatnonzero(known):
        values, vectors = np.linalg.eigh(constants[i])
        n = len(values)
        k[i, :n, :n] = torch.from_numpy((vectors * np.sqrt(np.maximum(values, 0) ** 2 + 0.05**2)) @ vectors.T)
        z[i, : n // 3] = torch.from_numpy(charges[i] / records[i].structure.volume**0.5)

    def given(rows: Tensor):
        packed = data.batch(rows)
        counts = data.start.diff()[rows]
        place = torch.arange(len(packed.crystal)) - (counts.cumsum(0) - counts)[packed.crystal]
        fits = torch.from_numpy(known)[rows]
        place = torch.where(fits[packed.crystal], place, torch.zeros_like(place))  # larger cells have no modes: all in one place, and the gate is shut
        return packed, k[rows], z[rows], (packed.crystal, place), fits.float()

    torch.manual_seed(seed)
    model = ThroughModes(DTNetConfig(data.channels, outputs=2, functionals=3, **PLAIN.options))
    rows, wanted = torch.as_tensor(split["train"]), torch.as_tensor(split["val"])
    model.net.fit_scales(data.batch(rows), data.target_tensors(rows))
    scale = torch.cat([model.net.output_scale, model.net.output_scale.sum(0, keepdim=True)])

    def loss(some: Tensor) -> Tensor:
        return (mean_of_known(*joint_errors(model(*given(some)), data.targets[some], None)) / scale).mean()

    def say(some: Tensor) -> np.ndarray:
        return np.concatenate([from_mandel(model(*given(part))).double().numpy() for part in torch.split(some, 128)])

    in_cycles(model, rows, wanted, loss, seed, 1)
    with torch.inference_mode():
        return with_total(say(wanted)), truth_of(data, split["val"])


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


# -- others -------------------------------------------------------------------------------------------------------------


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


TRIALS: dict[str, Callable[[int], Said]] = {
    "modes: mended by the companion": mended,
    "modes: sums as input": modes_as_input,
    "modes: sum as a further task": modes_as_task,
    "modes: charges and force constants corrected, end to end": modes_end_to_end,
    "kernel beside the network": kernel_beside,
    "three snapshots of one network": snapshots,
    "layer 4 of 7net-0": bonds(False),
    "layer 4 of 7net-0 with its bonds": bonds(True),
    "rank 3": rank_three,
    "as shipped, one nequix-oam-1-pft": as_shipped([0]),
    "as shipped, two nequix-oam-1-pft": as_shipped([0, 2]),
    "as shipped, nequix-oam-1-pft and nequix-omat-1": as_shipped([0, 1]),
    "as shipped, two of each": as_shipped([0, 1, 2, 3]),
    "as shipped, these four distilled into one nequix-oam-1-pft": distilled,
}


NAMES = (*ROADS, *TRIALS)


def run(names: Sequence[str], results: str | Path) -> None:
    """Measure roads of `search.ROADS` and `TRIALS` that the results file does not hold yet."""
    run_roads([name for name in names if name in ROADS], results)
    recipe = changed(PLAIN, members=SEARCHED.members)
    for name in names:
        if name in ROADS:
            continue
        if any(r["road"] == name for r in load_results(results)):
            print(f"{name} not measured now: {results} has it", flush=True)
            continue
        started, scores = time.monotonic(), {t: [] for t in (*PARTS, "total")}
        for seed in SEEDS:
            said, truth = TRIALS[name](seed)
            for k, target in enumerate(scores):
                scores[target].append(mae_ten(truth[:, k], said[:, k]))
        add_road(results, name, {"trial": name}, scores, recipe, task().checksum, started)
