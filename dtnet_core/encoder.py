"""Frozen pretrained potentials as encoders: a crystal in, equivariant features of every layer out.

The paper encodes with layers of PFP, which is proprietary. Here the encoder is any open potential that fills the
`Encoder` protocol; the SevenNet family, whose weights come inside the `sevenn` wheel, is the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from pymatgen.core import Lattice, Structure

from .crystals.given import as_structures
from .features import Features, concatenate_channels


@runtime_checkable
class Encoder(Protocol):
    """What the rest of the kit asks of an encoder.

    Attributes
    ----------
    name, version : str
        The version changes whenever the features of a crystal would: it addresses stored features.
    cutoff : float
        Reach of one layer in angstrom.
    elements : frozenset of str
    layers : tuple of int
        0 is the embedding of the elements, then one number a message-passing layer.
    """

    name: str
    version: str
    cutoff: float
    elements: frozenset[str]
    layers: tuple[int, ...]

    def encode_layers(
        self, structures: Sequence[Structure], layers: Sequence[int], bonds: bool = False
    ) -> dict[int, Features]:
        """Features of each of `layers`, each with the channels that layer has."""
        ...


def encode(
    encoder: Encoder, structures, layers: int | Sequence[int], bonds: bool = False
) -> Features:
    """Features of one layer, or of several layers side by side.

    A single layer without vectors or tensors of its own (the last one of most potentials) borrows those of the
    deepest layer before it, and so do its bonds, as the paper does for PFP-L5 (Section 2.3.2).

    Parameters
    ----------
    encoder : Encoder
    structures
        One crystal or any iterable of them, an empty one too; see `crystals.given.as_structures`.
    layers : int or sequence of int
    bonds : bool
        With bond features (for DTNet); without them for DTNet-simple.

    Returns
    -------
    Features

    Raises
    ------
    ValueError
        For a layer the encoder does not have, and for structures it cannot encode (`crystals.structures.InvalidStructureError`).
    """
    wanted = (layers,) if isinstance(layers, int) else tuple(layers)
    crystals, needed = as_structures(structures, validate=False), with_donors(encoder, wanted)
    if crystals:
        return select_layers(encoder.encode_layers(crystals, needed, bonds), wanted)
    probe = Structure(Lattice.cubic(3.0), [min(encoder.elements)], [[0, 0, 0]])  # gives the numbers of channels
    return _nothing_of(select_layers(encoder.encode_layers([probe], needed, bonds), wanted))


def _nothing_of(features: Features) -> Features:
    """Features of no crystal, with the same channels."""
    empty = features.scalars[:0], features.vectors[:0], features.tensors[:0], features.n_atoms[:0]
    if features.bonds is None:
        return Features(*empty)
    index, b_s, b_v = features.bonds
    return Features(*empty, index[:, :0], b_s[:0], b_v[:0])


def with_donors(encoder: Encoder, layers: Sequence[int]) -> tuple[int, ...]:
    """`layers`, and for a single layer the one before it, whose vectors and tensors it may borrow."""
    unknown = [n for n in layers if n not in encoder.layers]
    if unknown or not layers:
        raise ValueError(
            f"{encoder.name} has layers {list(encoder.layers)}, not {unknown or 'an empty selection'}"
        )
    layer = layers[0]
    return (
        (layer - 1, layer)
        if len(layers) == 1 and layer == encoder.layers[-1] and layer > 0
        else tuple(layers)
    )


def select_layers(blocks: dict[int, Features], layers: Sequence[int]) -> Features:
    """Concatenate the chosen layers' features (see `encode` for a single last layer)."""
    chosen = concatenate_channels([blocks[n] for n in layers])
    donors = [n for n in sorted(blocks) if n < layers[0]]
    if len(layers) > 1 or not donors or chosen.channels[1] + chosen.channels[2] > 0:
        return chosen
    donor = blocks[donors[-1]]
    bonded = chosen if chosen.edge_index is not None else donor
    vectors = bonded.edge_vectors
    if vectors is not None and vectors.shape[1] == 0:
        vectors = donor.edge_vectors
    return Features(
        chosen.scalars,
        donor.vectors,
        donor.tensors,
        chosen.n_atoms,
        bonded.edge_index,
        bonded.edge_scalars,
        vectors,
    )
