"""Recipes of joint models: which networks an ensemble has, what they learn from and how; and which recipes ship."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..base.results import JOINT, MORE_LABELS
from ..data.labels import LABELS, WITH_TOTAL
from .experiment import PAPER_WIDTH
from .fit import TrainConfig

TRAIN = TrainConfig(1.6e-3, weight_decay=0.01, max_epochs=30, patience=30, ema=0.99, weights=(2.75, 1.0, 1.0))
OPTIONS = {"width": PAPER_WIDTH, "link": "clip", "dropout": 0.04, "blocks": 3}
"""What the search found (`data/results/search.json`, trial 2); further labels make an epoch three times as long, so 30 do."""


@dataclass(frozen=True)
class Recipe:
    """How a joint model is made.

    Attributes
    ----------
    members : tuple of str
        Encoders and layers of each network of the ensemble (see `encoder.parse_features`); the predictions are averaged.
    labels : tuple of str
        Files of `data.labels.LABELS` to train on beside the benchmark (profile "full" only).
    train : TrainConfig
    options : dict
        Arguments of `readout.DTNetConfig` other than its channels and outputs.
    relative : float
        By how much errors of large tensors count less, see `losses.lighter`.
    """

    members: tuple[str, ...]
    labels: tuple[str, ...] = WITH_TOTAL
    train: TrainConfig = field(default_factory=lambda: TRAIN)
    options: dict = field(default_factory=lambda: OPTIONS)
    relative: float = 0.0

    @property
    def features(self) -> str:
        """All encoders and layers of its members, each once."""
        return "+".join(dict.fromkeys(part for member in self.members for part in member.split("+")))

    @property
    def model(self) -> str:
        """What results call it: runs that differ in their labels are not the same model."""
        return MORE_LABELS if set(self.labels) - set(WITH_TOTAL) else JOINT


_SEVENNET, _WIDE, _NEQUIX = "7net-0:0-5", "7net-l3i5:0-5", "nequix-oam-1-pft:0-4"
RECIPES = {
    "default": Recipe((_SEVENNET, _WIDE, _SEVENNET, _WIDE, _WIDE)),
    "best": Recipe((_NEQUIX, _NEQUIX, _SEVENNET, _WIDE, _NEQUIX)),
}
"""With encoders that come with packages, and with the best of all open ones."""
RECIPES |= {f"{name}-wide": replace(recipe, labels=LABELS, train=replace(TRAIN, max_epochs=20)) for name, recipe in RECIPES.items()}
"""The same networks on all files of labels; 20 epochs of these are as many steps, and no worse than 30 on validation crystals."""
RECIPE_OF = {name.removesuffix("-wide"): name for name in RECIPES if name.endswith("-wide")}
"""Variant of `ensemble.load_ensemble` -> the recipe whose networks it has."""
