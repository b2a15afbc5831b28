"""Born effective charges of any crystal, by the models that ship: what a polarisation gains when an atom moves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from ..base.paths import WEIGHTS
from ..crystals.given import as_structures
from ..potentials.registry import load_encoder, parse_features
from ..potentials.store import compute_features
from .charges import ChargeModel, load_charges

FEATURES = {"default": "7net-l3i5:0-5", "best": "nequix-oam-1-pft:0-4"}
"""Variant -> encoder and layers; the first works with what packages bring, the second needs a further package and downloaded weights."""


@dataclass(frozen=True)
class BornCharges:
    """Charges of the N atoms of a crystal.

    Attributes
    ----------
    structure : pymatgen Structure
        As it was given: frame, cell and order of the atoms are kept.
    charges : np.ndarray, [N, 3, 3]
        In e, in the Cartesian frame of `structure`. They sum to zero. They are symmetric matrices, so it makes no difference which axis is the field's (or polarisation's) and
        which the displacement's; the small antisymmetric part that DFPT finds on sites of low symmetry is left out.
    half_width : np.ndarray, [N]
        In e: the interval around the mean diagonal element of each atom that holds the computed one for 68 % of atoms of formulas that the model did not see.
    """

    structure: Structure
    charges: np.ndarray
    half_width: np.ndarray

    @property
    def isotropic(self) -> np.ndarray:
        """Mean diagonal elements [N] in e."""
        return np.trace(self.charges, axis1=1, axis2=2) / 3


def predict_charges(structures, variant: str = "default", folder: str | Path | None = None, cache_dir: str | Path | None = None, progress: bool = True) -> list[BornCharges]:
    """Born effective charges of crystals, each with the half width of its interval.

    Parameters
    ----------
    structures
        One crystal or any iterable of them; see `crystals.given.as_structures`.
    variant : {"default", "best"}
        See `FEATURES`.
    folder : path, optional
        Of weights, with a subfolder "charges"; default: what ships with the kit.
    cache_dir : path, optional
        Where features are kept, default `base.paths.default_cache_dir()`. One that cannot be written is done without.
    progress : bool

    Returns
    -------
    list of BornCharges
        One a crystal, in order. The labels are PBEsol's.

    Raises
    ------
    ValueError
        For an unknown variant.
    FileNotFoundError
        Where the variant has no weights.
    dtnet_core.crystals.structures.InvalidStructureError
        For what is no crystal, or has elements that the encoder does not know; its position and the reason are named.

    Examples
    --------
    >>> [found] = predict_charges("my.cif")                              # doctest: +SKIP
    >>> found.charges[0], found.half_width[0]                            # doctest: +SKIP
    """
    model = load_model(variant, folder)
    [(encoder, _)] = parse_features(model.features)
    crystals = as_structures(structures, load_encoder(encoder).elements)
    features = compute_features(model.features, crystals, False, cache_dir, progress)
    return [BornCharges(s, *answer) for s, answer in zip(crystals, model.predict(features), strict=True)]


def load_model(variant: str = "default", folder: str | Path | None = None) -> ChargeModel:
    """The fitted process of a variant, read once; parameters and errors as `predict_charges`."""
    path = file_of(variant, folder)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: `dtnet train charges` makes it")
    return _read(path, path.stat().st_mtime_ns)


def file_of(variant: str, folder: str | Path | None = None) -> Path:
    """File of a variant's model in a folder of weights."""
    if variant not in FEATURES:
        raise ValueError(f"variant is {variant!r}; charges have {', '.join(FEATURES)}")
    [(encoder, _)] = parse_features(FEATURES[variant])
    return Path(folder or WEIGHTS) / "charges" / f"{encoder}.safetensors"


@lru_cache(maxsize=4)
def _read(path: Path, _: int) -> ChargeModel:
    return load_charges(path)
