"""Small parts of the teaching notebook: point groups of the seven systems, a tensor's 1 + 5 parts, the terms of Eq. 27."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.groups import PointGroup

from ..crystals.record import Record
from ..crystals.symmetry import CRYSTAL_SYSTEMS, symmetrize
from ..encoder import Encoder, encode
from ..features import from_mandel, mandel_outer
from ..readout import DTNet

_LARGEST_GROUP = {
    "triclinic": "-1", "monoclinic": "2/m", "orthorhombic": "mmm", "tetragonal": "4/mmm", "trigonal": "-3m", "hexagonal": "6/mmm", "cubic": "m-3m",
}  # fmt: skip
SYSTEMS = tuple(_LARGEST_GROUP)
"""The seven crystal systems from the least to the most symmetric."""


def system_rotations(system: str) -> np.ndarray:
    """Cartesian matrices of the largest point group of a crystal system, in the standard axes of the paper's Table 1.

    Parameters
    ----------
    system : str
        One of `CRYSTAL_SYSTEMS`.

    Returns
    -------
    np.ndarray, [G, 3, 3]
        Orthogonal. The special axis is y for monoclinic, z for tetragonal, trigonal and hexagonal crystals.

    Raises
    ------
    ValueError
        For another name.
    """
    if system not in _LARGEST_GROUP:
        raise ValueError(f"unknown crystal system {system!r}; use {', '.join(CRYSTAL_SYSTEMS)}")
    operations = np.array([operation.rotation_matrix for operation in PointGroup(_LARGEST_GROUP[system]).symmetry_ops])
    if system not in ("trigonal", "hexagonal"):
        return operations
    columns = Lattice.hexagonal(1, 1).matrix.T  # operations act on fractional coordinates
    return columns @ operations @ np.linalg.inv(columns)


def named(records: Sequence[Record], name: str) -> Record:
    """The record of that id.

    Raises
    ------
    ValueError
        With the ids that there are, when it is none of them.
    """
    found = next((r for r in records if r.id == name), None)
    if found is None:
        raise ValueError(f"there is no crystal {name!r}; choose one of {', '.join(r.id for r in records)}")
    return found


def split_parts(tensor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric tensor [3, 3] as its 1 and its 5: isotropic part, and symmetric part without a trace; their sum is the tensor."""
    tensor = np.asarray(tensor, float)
    isotropic = np.trace(tensor) / 3 * np.eye(3)
    return isotropic, (tensor + tensor.T) / 2 - isotropic


def readout_terms(network: DTNet, encoder: Encoder, layers: Sequence[int], structure: Structure) -> dict[str, np.ndarray]:
    """What each term of Eq. 27 adds to a crystal's tensor, in dielectric units.

    Parameters
    ----------
    network : DTNet
        With a link that leaves physical tensors as they are ("linear" or "clip").
    encoder, layers
        What the network takes.
    structure : pymatgen Structure

    Returns
    -------
    dict of str to np.ndarray, [K, 3, 3]
        "scalars" (with the constant that the network's units add), "vectors", "tensors" and "sum", which is the network's answer. K outputs.
    """
    kept: list[torch.Tensor] = []
    heads = (network.scalar_out, network.vector_out, network.tensor_out)
    hooks = [head.register_forward_hook(lambda _module, _inputs, output: kept.append(output)) for head in heads]
    packed = encode(encoder, [structure], layers).pack()
    try:
        with torch.no_grad():
            answer = network.eval()(packed)
    finally:
        for hook in hooks:
            hook.remove()
    s, v, t = kept  # [N, K], [N, 3, K], [N, 6, K]
    identity = torch.eye(3)
    atoms = (s[..., None, None] * identity, from_mandel(mandel_outer(v.transpose(1, 2))), from_mandel(t.transpose(1, 2)))  # [N, K, 3, 3] each
    scale = network.output_scale[:, None, None]
    scalars, vectors, tensors = ((part * packed.weights[:, None, None, None]).sum(0) * scale for part in atoms)
    terms = {"scalars": scalars + network.output_mean[:, None, None] * identity, "vectors": vectors, "tensors": tensors, "sum": answer[0].reshape(scalars.shape)}
    return {name: term.numpy().astype(float) for name, term in terms.items()}


def rank_sizes(encoder: Encoder, structure: Structure) -> dict[int, tuple[float, float, float]]:
    """Largest scalar, length of a vector and norm of a tensor among a crystal's atoms, layer by layer; 0 for what a layer lacks or symmetry forbids."""
    sizes = {}
    for layer, found in encoder.encode_layers([structure], encoder.layers).items():
        norms = found.scalars.abs(), found.vectors.norm(dim=-1), found.tensors.norm(dim=(-2, -1))
        sizes[layer] = tuple(float(n.max()) if n.numel() else 0.0 for n in norms)
    return sizes


def free_elements(rotations: np.ndarray) -> int:
    """How many independent elements a point group [G, 3, 3] leaves a symmetric tensor: the rank of averaging over the group."""
    units = np.zeros((6, 3, 3))
    for unit, (i, j) in zip(units, zip(*np.triu_indices(3), strict=True), strict=True):
        unit[i, j] = unit[j, i] = 1.0
    return int(np.linalg.matrix_rank(symmetrize(units, rotations).reshape(6, 9), tol=1e-9))


def lead_titanate() -> Structure:
    """Tetragonal PbTiO3 at room temperature, polar along z; lengths in angstrom, rounded."""
    return Structure(
        Lattice.tetragonal(3.904, 4.152), ["Pb", "Ti", "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.539], [0.5, 0.5, 0.114], [0.5, 0, 0.617], [0, 0.5, 0.617]],
    )  # fmt: skip
