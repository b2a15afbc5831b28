"""A network that is NOT equivariant, as a warning: a perceptron that reads coordinates as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pymatgen.core import Structure
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from ..crystals.frames import turned
from ..features import from_mandel, to_mandel

_ATOMS = 6  # most atoms of a crystal that ships with the kit


class CoordinateNetwork(nn.Module):
    """Cell, elements and Cartesian coordinates in, six numbers of a symmetric tensor out. Nothing tells it what x, y and z mean."""

    def __init__(self, hidden: int = 64):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(9 + 5 * _ATOMS, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 6))

    def forward(self, numbers: Tensor) -> Tensor:
        """[B, 39] -> [B, 3, 3]."""
        return from_mandel(self.layers(numbers))

    def predict(self, structures: Sequence[Structure]) -> np.ndarray:
        """[B, 3, 3]"""
        with torch.no_grad():
            return self(torch.stack([as_numbers(s) for s in structures])).numpy().astype(float)


def as_numbers(structure: Structure) -> Tensor:
    """A crystal as 39 numbers: three cell vectors, then atomic number, electronegativity and position of each atom, in round units.

    Raises
    ------
    ValueError
        For more than six atoms.
    """
    if len(structure) > _ATOMS:
        raise ValueError(f"{structure.composition.reduced_formula} has {len(structure)} atoms in the cell; this network takes at most {_ATOMS}")
    atoms = np.zeros((_ATOMS, 5))
    for row, site in zip(atoms, structure, strict=False):
        chi = site.specie.X
        row[:] = [site.specie.Z / 50, 0.0 if np.isnan(chi) else chi / 2, *site.coords / 4]
    return torch.tensor(np.concatenate([structure.lattice.matrix.ravel() / 4, atoms.ravel()]), dtype=torch.float32)


def fit_coordinates(structures: Sequence[Structure], tensors: np.ndarray, copies: int = 0, steps: int = 400, seed: int = 0) -> CoordinateNetwork:
    """Train a `CoordinateNetwork`.

    Parameters
    ----------
    structures : sequence of B pymatgen Structure
    tensors : np.ndarray, [B, 3, 3]
    copies : int
        Of each crystal, turned at random together with its tensor ("augmentation"); 0: each as it is given.
    steps : int
        Of Adam, on all crystals at once.
    seed : int
    """
    if copies:
        rotations = Rotation.random(copies * len(structures), random_state=seed).as_matrix()  # [copies x B, 3, 3]
        structures = [turned(s, r) for s, r in zip(list(structures) * copies, rotations, strict=True)]
        tensors = rotations @ np.tile(tensors, (copies, 1, 1)) @ rotations.transpose(0, 2, 1)
    numbers = torch.stack([as_numbers(s) for s in structures])
    target = to_mandel(torch.tensor(np.asarray(tensors), dtype=torch.float32))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CoordinateNetwork()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (network.layers(numbers) - target).abs().mean().backward()
        optimizer.step()
        schedule.step()
    return network


def equivariance_error(predict, structure: Structure, rotations: np.ndarray) -> np.ndarray:
    """How far a model is from Phi(R X) = R Phi(X) R^t: Frobenius norm of the difference over that of Phi(X), for each R.

    Parameters
    ----------
    predict : callable
        Structures -> tensors [B, 3, 3].
    structure : pymatgen Structure
    rotations : np.ndarray, [G, 3, 3]

    Returns
    -------
    np.ndarray, [G]
    """
    return error_when_turned(predict, structure, predict([structure])[0], rotations)


def error_when_turned(predict, structure: Structure, tensor: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """How far a model's answers for a turned crystal are from its true tensor, turned: Frobenius norm of Phi(R X) - R tensor R^t over that of the tensor, for each R.

    A model that turns its answers may still be wrong, and a sphere turns for free: `equivariance_error` alone says nothing of that.

    Parameters
    ----------
    predict : callable
        Structures -> tensors [B, 3, 3].
    structure : pymatgen Structure
    tensor : np.ndarray, [3, 3]
        Of the crystal as it is given.
    rotations : np.ndarray, [G, 3, 3]

    Returns
    -------
    np.ndarray, [G]
    """
    answers = predict([turned(structure, r) for r in rotations])  # [G, 3, 3]
    wanted = rotations @ tensor @ rotations.transpose(0, 2, 1)
    return np.linalg.norm(answers - wanted, axis=(1, 2)) / np.linalg.norm(tensor)
