"""What learns between the rounds of a campaign: an ensemble of small DTNets on features held in memory, trained in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ..crystals.record import Record
from ..crystals.structures import crystal_key
from ..features import to_mandel
from ..members import with_total
from ..potentials.store import compute_features
from ..readout import DTNet, DTNetConfig
from ..training.fit import TrainConfig, fit, predict
from ..training.joint import PARTS
from ..training.sets import CrystalSet, build_set
from .campaign import Predictor
from .selection import KAPPA


@dataclass(frozen=True)
class Setup:
    """What is hidden, and how the small ensemble is trained.

    Attributes
    ----------
    known : int
        Labelled crystals at the start (whole formulas, so at least as many); all others are hidden.
    rounds, top_k : int
    kappa : float
    features : str
        See `encoder.parse_features`.
    members : int
    epochs : int
    learning_rate : float
    options : dict
        Further arguments of `readout.DTNetConfig`.
    """

    known: int = 300
    rounds: int = 3
    top_k: int = 20
    kappa: float = KAPPA
    features: str = "7net-0:0-5"
    members: int = 3
    epochs: int = 60
    learning_rate: float = 1e-3
    options: dict = field(default_factory=lambda: {"width": (64, 32, 16), "hidden": 64, "link": "clip"})


class DTNetLearner:
    """A `campaign.Learner`: an ensemble of small DTNets for the electronic and ionic tensor, trained in seconds.

    Parameters
    ----------
    data : CrystalSet
        Features of all crystals that it may be asked for, the candidates' included (see `learner_set`). Labels in it are not looked
        at: they come with the records given to `fit`, whose crystals are encoded then where they are new (relaxed by an oracle).
    records : sequence of Record
        Of `data`, in its order.
    setup : Setup
    seed : int
        Member m has the seed `seed + 1000 * m`, for its weights and for the tenth of the crystals that it is validated on.
    """

    def __init__(self, data: CrystalSet, records: Sequence[Record], setup: Setup, seed: int = 0, cache_dir: str | Path | None = None):
        self.data, self.setup, self.seed, self.cache_dir = data, setup, seed, cache_dir
        self.rows = {crystal_key(r.structure): i for i, r in enumerate(records)}
        self._last: tuple[frozenset, Predictor] | None = None
        self.about = {"seed": seed} | {k: getattr(setup, k) for k in ("features", "members", "epochs", "learning_rate", "options")}

    def row(self, structure) -> int:
        """Position in `data`."""
        try:
            return self.rows[crystal_key(structure)]
        except KeyError:
            raise ValueError(f"a crystal of {structure.composition.reduced_formula} is not in the learner's set: encode it first") from None

    def fit(self, records: Sequence[Record]) -> Predictor:
        """Train on records; asked for the same ones again, it answers with what it trained before.

        Raises
        ------
        ValueError
            For a record without electronic and ionic (or total) tensor.
        """
        labels = {crystal_key(r.structure): labels_of(r) for r in records}
        key = frozenset((name, label.numpy().tobytes()) for name, label in labels.items())
        if self._last is None or self._last[0] != key:
            self._encode([r for r in records if crystal_key(r.structure) not in self.rows])
            rows = np.array([self.rows[name] for name in labels])
            targets = torch.full((len(self.data), 2, 6), torch.nan)  # nobody trains on what is hidden
            targets[rows] = torch.stack(list(labels.values())).to(targets)
            data = replace(self.data, targets=targets)
            networks = [self._member(data, np.sort(rows), m) for m in range(self.setup.members)]
            self._last = (key, lambda structures: self._predict(networks, structures))
        return self._last[1]

    def _encode(self, records: Sequence[Record]) -> None:
        if not records:
            return
        more, start = learner_set(records, self.setup.features, self.cache_dir, False), len(self.data)
        self.rows |= {crystal_key(r.structure): start + i for i, r in enumerate(records)}
        joined = {k: torch.cat([getattr(self.data, k), getattr(more, k)]) for k in ("scalars", "vectors", "tensors", "weights", "projectors")}
        self.data = replace(self.data, **joined, start=torch.cat([self.data.start, more.start[1:] + self.data.start[-1]]), targets=None)

    def _member(self, data: CrystalSet, rows: np.ndarray, member: int) -> DTNet:
        seed = self.seed + 1000 * member
        order = np.random.default_rng(seed).permutation(rows)
        n = max(1, len(rows) // 10)
        config = TrainConfig(self.setup.learning_rate, max_epochs=self.setup.epochs, patience=self.setup.epochs,
                             batch_size=min(64, max(4, len(rows) // 10)), ema=0.9)  # fmt: skip
        shape = DTNetConfig(data.channels, outputs=len(PARTS), **self.setup.options)
        return fit(data, order[n:], order[:n], seed, shape, config, progress=False).model

    def _predict(self, networks, structures) -> tuple[np.ndarray, np.ndarray]:
        rows = np.array([self.row(s) for s in structures], dtype=int)
        members = np.stack([with_total(predict(n, self.data, rows))[:, 2] for n in networks])  # [M, B, 3, 3]
        return members.mean(0), members


def learner_set(records: Sequence[Record], features: str, cache_dir: str | Path | None = None, progress: bool = True) -> CrystalSet:
    """Features of records and candidates for a `DTNetLearner`, without labels."""
    return build_set(compute_features(features, [r.structure for r in records], False, cache_dir, progress), records, cache_dir=cache_dir)


def labels_of(record: Record) -> torch.Tensor:
    """Electronic and ionic tensor of a record in Mandel's notation, [2, 6]."""
    electronic, ionic, total = (record.tensor(t) for t in (*PARTS, "total"))
    if ionic is None and electronic is not None and total is not None:
        ionic = total - electronic
    if electronic is None or ionic is None:
        raise ValueError(f"record {record.id} ({record.formula}) has no electronic and ionic tensor to learn from")
    return to_mandel(torch.tensor(np.stack([electronic, ionic])))
