"""Which training a baseline gets: a tuned learning rate, and as many epochs as its hours buy."""

from __future__ import annotations

from dataclasses import replace

from .experiment import NETWORKS, TRAIN, BaselineExperiment
from .price import epochs_within
from .search import tuned


def plan(model: str, target: str, fraction: float, profile: str, split: str = "record", hours: float | None = None,
         max_epochs: int | None = None, learning_rate: float | None = None, weight_decay: float | None = None, batch_size: int | None = None,
         patience: int | None = None) -> BaselineExperiment:  # fmt: skip
    """The experiment of a model; what is None is looked up (learning rate, epochs for the hours) or the default.

    Parameters
    ----------
    model, target, profile, split : str
        As in `BaselineExperiment`.
    fraction : float
        Share of the training set.
    hours : float, optional
        Of processor time; those that were paid for are spent, whatever the patience.

    Raises
    ------
    ValueError
        For hours of a network that was not measured (see `price.epochs_within`).
    """
    train = TRAIN
    if model in NETWORKS:
        if max_epochs is None:
            max_epochs = epochs_within(model, hours, profile, fraction) if hours else TRAIN.max_epochs
        patience = TRAIN.patience if patience is None else patience
        train = replace(TRAIN, learning_rate=learning_rate or tuned(model, target, profile), max_epochs=max_epochs,
                        weight_decay=TRAIN.weight_decay if weight_decay is None else weight_decay, batch_size=batch_size or TRAIN.batch_size,
                        patience=max(patience, max_epochs) if hours else patience)  # fmt: skip
    return BaselineExperiment(model, target, profile, split, fraction, train)
