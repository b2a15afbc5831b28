"""Ways to tell a network of the crystal's vibrations. Force constants are taken from disk."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from ...features import from_mandel, to_mandel
from ...layers import MLP, safe_norm, segment_sum
from ...members import with_total
from ...physics.modes import DAMPINGS, PER_VOLUME, polar_modes
from ...physics.store import stored_force_constants
from ...potentials.registry import load_encoder
from ...potentials.store import compute_features
from ...readout import DTNet, DTNetConfig
from ..born import charges_out_of_fold
from ..fit import fit, predict
from ..joint import PARTS
from ..losses import joint_errors, mean_of_known
from ..physics import benchmark_modes
from ..search import PLAIN
from ..sets import build_set
from .common import NEQUIX, Said, in_cycles, one_network, task, truth_of


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
    plainly = with_total(predict(network, task().data, rows))[None]
    said = known.mended(known.fit(split["train"]), plainly, plainly, rows)[0][0]
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


