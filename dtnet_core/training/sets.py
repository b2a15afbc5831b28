"""Training sets in memory: packed features of symmetry-inequivalent atoms, and their tensors.

The readout turns with the crystal, so atoms that a symmetry operation maps onto each other give contributions that the
same operation maps onto each other. The mean over all atoms is then the mean over one atom of each orbit, weighted by
the orbit's size and averaged over the point group: the same numbers from about a third of the atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..crystals.record import Record, functional_kind
from ..crystals.symmetry_store import Orbits, stored_orbits
from ..features import Features, Packed, from_mandel, to_mandel
from ..layers import pooled

ORBIT_SYMPREC = 1e-3
"""Distance in angstrom within which atoms must map onto each other to be treated as equivalent."""
ORBIT_TOLERANCE = 1e-3
"""Largest difference of two equivalent atoms' scalars, relative to the largest scalar; above it nothing is left out."""
FORMS = ("tensor", "constant", "diagonal")
"""What can be known of a tensor: all of it, its mean diagonal element (Eq. 2), its diagonal in the structure's frame."""
_BASIS = from_mandel(torch.eye(6, dtype=torch.float64)).reshape(6, 9).numpy()


@dataclass(frozen=True)
class CrystalSet:
    """Features and tensors of B crystals with A kept atoms, ready for batches.

    Attributes
    ----------
    scalars, vectors, tensors : Tensor, [A, Cs], [A, 3, Cv], [A, 6, Ct]
        As in `features.Packed`.
    weights : Tensor, [A]
    start : Tensor, [B + 1] int64
        Atoms of crystal b are rows start[b] to start[b + 1].
    projectors : Tensor, [B, 6, 6]
    targets : Tensor, [B, K, 6] or None
        Dielectric tensors of K targets, in Mandel's notation.
    bonds : (receiver [E], scalars [E, Cbs], vectors [E, 3, Cbv], start [A + 1]) or None
        Sorted by receiver.
    form : Tensor, [B] int64, or None
        Position in `FORMS`: what is known of each tensor of `targets`. A tensor of which nothing is known is NaN.
    functional : Tensor, [B] int64, or None
        Position of the labels' functional in `crystals.record.FUNCTIONALS`.
    """

    scalars: Tensor
    vectors: Tensor
    tensors: Tensor
    weights: Tensor
    start: Tensor
    projectors: Tensor
    targets: Tensor | None = None
    bonds: tuple[Tensor, Tensor, Tensor] | None = None
    form: Tensor | None = None
    functional: Tensor | None = None

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def channels(self) -> tuple[int, int, int]:
        """(Cs, Cv, Ct)."""
        return self.scalars.shape[-1], self.vectors.shape[-1], self.tensors.shape[-1]

    @property
    def edge_channels(self) -> tuple[int, int] | None:
        """(Cbs, Cbv), or None without bonds."""
        return None if self.bonds is None else (self.bonds[0].shape[-1], self.bonds[1].shape[-1])

    def batch(self, crystals: Tensor) -> Packed:
        """The crystals of these indices [b] as one batch, in this order."""
        rows, crystal = _ranges(self.start, crystals)  # [n], [n]
        edges = None
        if self.bonds is not None:
            bond_rows, receiver = _ranges(self.bonds[2], rows)
            edges = (receiver, self.bonds[0][bond_rows], self.bonds[1][bond_rows])
        return Packed(
            self.scalars[rows], self.vectors[rows], self.tensors[rows], crystal, self.weights[rows], len(crystals),
            self.projectors[crystals], edges, None if self.functional is None else self.functional[crystals],
        )  # fmt: skip

    def target_tensors(self, crystals: Tensor | None = None) -> Tensor:
        """Dielectric tensors [b, K, 3, 3] of these crystals (default all)."""
        return from_mandel(self.targets if crystals is None else self.targets[crystals])


def pooled_invariants(data: CrystalSet) -> np.ndarray:
    """`layers.pooled` of all crystals of a set, [B, 2 Cs + Cv + Ct]."""
    return torch.cat([pooled(data.batch(rows)) for rows in torch.split(torch.arange(len(data)), 1000)]).numpy()


def build_set(features: Sequence[Features], records: Sequence[Record], target: str | Sequence[str] | None = None,
              reduce: bool = True, scalars: bool = False, cache_dir: str | Path | None = None) -> CrystalSet:  # fmt: skip
    """Pack the features of crystals and the tensors of their records.

    Parameters
    ----------
    features : sequence of Features
        One crystal each, in the order of `records`.
    records : sequence of Record
    target : {"electronic", "ionic", "total"} or several of them, optional
        None: without targets, for prediction.
    reduce : bool
        Keep one atom of each orbit; False keeps all.
    scalars : bool
        Take records that have scalars, diagonals or the electronic tensor only, too, and keep the functional of the labels (for joint models).
    cache_dir : path, optional
        Where the orbits are kept, default `base.paths.default_cache_dir()`; see `crystals.symmetry_store`.

    Returns
    -------
    CrystalSet

    Raises
    ------
    ValueError
        When a record has no tensor of that name, or, with `scalars`, labels of another functional; the record is named.
    """
    targets = (target,) if isinstance(target, str) else tuple(target or ())
    rows: dict[str, list[Tensor]] = {
        "s": [],
        "v": [],
        "t": [],
        "w": [],
        "p": [],
        "y": [],
        "bs": [],
        "bv": [],
        "bn": [],
    }
    found = stored_orbits([r.structure for r in records], ORBIT_SYMPREC, cache_dir) if reduce else [None] * len(records)
    for feature, record, equivalent in zip(features, records, found, strict=True):
        keep, weights, projector = _orbit_weights(feature, equivalent)
        packed = feature.pack()
        for name, value in (("s", packed.scalars), ("v", packed.vectors), ("t", packed.tensors)):
            rows[name].append(value[keep])
        rows["w"].append(weights.to(packed.scalars))
        rows["p"].append(projector.to(packed.scalars))
        if packed.edges is not None:
            order, counts = _bonds_of(packed.edges[0], keep, len(feature.scalars))
            rows["bs"].append(packed.edges[1][order])
            rows["bv"].append(packed.edges[2][order])
            rows["bn"].append(counts)
        if targets:
            rows["y"].append(torch.stack([_label(record, t, scalars) for t in targets]).to(packed.scalars))  # [K, 6]
    bonds = None
    if rows["bs"]:
        bonds = (torch.cat(rows["bs"]), torch.cat(rows["bv"]), _starts(torch.cat(rows["bn"])))
    return CrystalSet(
        torch.cat(rows["s"]), torch.cat(rows["v"]), torch.cat(rows["t"]), torch.cat(rows["w"]),
        _starts(torch.tensor([len(w) for w in rows["w"]])), torch.stack(rows["p"]),
        torch.stack(rows["y"]) if targets else None, bonds,
        torch.tensor([_form(r) for r in records]) if scalars else None,
        torch.tensor([functional_kind(r) for r in records]) if scalars else None,
    )  # fmt: skip


def _label(record: Record, target: str, scalars: bool) -> Tensor:
    """[6]: the record's tensor of a target; where that is allowed, its diagonal, or its constant on the diagonal, or NaN beside a known one."""
    tensor = record.tensor(target)
    if tensor is None and scalars:
        if (diagonal := record.diagonal(target)) is not None:
            tensor = np.diag(diagonal)
        elif (scalar := record.scalar(target)) is not None:
            tensor = scalar * np.eye(3)
        elif record.scalar("electronic") is not None:
            tensor = np.full((3, 3), np.nan)
    if tensor is None:
        raise ValueError(f"record {record.id} ({record.formula}) has no {target} tensor: drop it before training")
    return to_mandel(torch.tensor(tensor))


def _form(record: Record) -> int:
    if record.eps_electronic is not None or record.eps_total is not None:
        return FORMS.index("tensor")
    return FORMS.index("constant" if record.diagonal("electronic") is None else "diagonal")


def _orbit_weights(feature: Features, found: Orbits | None) -> tuple[Tensor, Tensor, Tensor]:
    """Kept atoms [k], their weights [k], and the point group's projector [6, 6] of one crystal."""
    if found is None:
        return _all_atoms(feature)
    representative, rotations = found
    index = torch.from_numpy(np.asarray(representative))
    difference = (feature.scalars - feature.scalars[index]).abs().max()
    if difference > ORBIT_TOLERANCE * feature.scalars.abs().max():
        return _all_atoms(feature)
    keep, counts = torch.unique(index, return_counts=True)
    return keep, counts / len(index), group_projector(rotations)


def _all_atoms(feature: Features) -> tuple[Tensor, Tensor, Tensor]:
    n = len(feature.scalars)
    return torch.arange(n), torch.full((n,), 1.0 / n, dtype=torch.float64), torch.eye(6, dtype=torch.float64)


def group_projector(rotations: np.ndarray) -> Tensor:
    """[6, 6]: mean over rotations [G, 3, 3] of T -> R T R^t, in Mandel's notation."""
    r = np.asarray(rotations, dtype=float).reshape(-1, 9)
    mean = (r.T @ r).reshape(3, 3, 3, 3) / len(r)  # [i, a, j, b]: mean of R_ia R_jb
    mean = mean.transpose(0, 2, 1, 3).reshape(9, 9)  # [ij, ab]
    return torch.from_numpy(_BASIS @ mean @ _BASIS.T)


def _bonds_of(receiver: Tensor, keep: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Rows of the bonds that kept atoms receive, sorted by receiver, and how many each receives."""
    position = torch.full((n,), -1)
    position[keep] = torch.arange(len(keep))
    mine = torch.nonzero(position[receiver] >= 0)[:, 0]
    order = mine[torch.argsort(position[receiver[mine]], stable=True)]
    return order, torch.bincount(position[receiver[mine]], minlength=len(keep))


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])


def _ranges(start: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """Rows start[i]:start[i+1] for each i of `which`, one after the other, and the position in `which` of each row."""
    counts = start[which + 1] - start[which]
    owner = torch.repeat_interleave(torch.arange(len(which)), counts)
    offset = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    return start[which][owner] + offset, owner
