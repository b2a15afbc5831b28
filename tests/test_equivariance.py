"""The promise: encoder and readout together turn with the crystal, and see the crystal, not its description."""

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from dtnet_core.encoder import encode
from dtnet_core.potentials.registry import load_encoder
from dtnet_core.readout import DTNet, DTNetConfig
from tests.conftest import CRYSTALS, random_rotation, turn

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture(scope="module", params=["float32", "float64"])
def dtype(request) -> torch.dtype:
    return getattr(torch, request.param)


@pytest.fixture(scope="module", params=[("DTNet-simple", 4), ("DTNet", 4), ("DTNet-simple", (0, 1, 2, 3, 4, 5))], ids=str)
def predictor(request, dtype):
    """A function from structures to tensors [B, 3, 3], with random weights and every path active."""
    model, layers = request.param
    encoder = load_encoder("7net-0", dtype)
    examples = encode(encoder, [make() for make in CRYSTALS.values()], layers, model == "DTNet")
    torch.manual_seed(0)
    network = DTNet(DTNetConfig(examples.channels, examples.edge_channels)).to(dtype).eval()
    network.fit_scales(examples.pack(), torch.diag_embed(torch.tensor([[2.0] * 3, [4.0] * 3, [9.0] * 3, [5.0] * 3])))

    def predict(structures):
        with torch.inference_mode():
            return network(encode(encoder, structures, layers, model == "DTNet")).numpy()

    return predict


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("improper", [1, -1], ids=["rotation", "rotoinversion"])
def test_turns_with_the_crystal(predictor, dtype, crystal, improper):
    matrix = improper * random_rotation(7)
    tensor, turned = predictor([crystal])[0], predictor([turn(crystal, matrix)])[0]
    assert relative(turned, matrix @ tensor @ matrix.T) < TOLERANCE[dtype]
    assert relative(tensor, tensor.T) < TOLERANCE[dtype]


def test_inversion_and_reflection(predictor, dtype, crystal):
    mirror = np.diag([1.0, -1.0, 1.0])
    tensor, inverted, mirrored = predictor([crystal, turn(crystal, -np.eye(3)), turn(crystal, mirror)])
    assert relative(inverted, tensor) < TOLERANCE[dtype]
    assert relative(mirrored, mirror @ tensor @ mirror) < TOLERANCE[dtype]


def test_sees_the_crystal_not_its_description(predictor, dtype, crystal):
    order = np.random.default_rng(1).permutation(len(crystal))
    permuted = Structure(crystal.lattice, [crystal.species[i] for i in order], crystal.frac_coords[order])
    shifted = Structure(crystal.lattice, crystal.species, crystal.frac_coords + np.array([0.31, -0.17, 2.63]))
    shear = np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]])  # unimodular: another primitive cell
    other = Structure(Lattice(shear @ crystal.lattice.matrix), crystal.species, crystal.frac_coords @ np.linalg.inv(shear))
    tensor, *others = predictor([crystal, permuted, shifted, other, crystal.make_supercell((2, 2, 2), in_place=False)])
    for again in others:
        assert relative(again, tensor) < TOLERANCE[dtype]
    assert relative(predictor([crystal])[0], tensor) < TOLERANCE[dtype]  # alone or in a batch


def test_tensors_are_not_trivial(predictor, crystals):
    """Equivariance would be easy to pass with isotropic output."""
    cubic, hexagonal, chiral, triclinic = predictor(crystals)
    assert np.ptp(np.linalg.eigvalsh(cubic)) < 1e-4 * np.abs(cubic).max()
    for tensor in (hexagonal, chiral):
        assert np.ptp(np.linalg.eigvalsh(tensor)) > 1e-3 * np.abs(tensor).max()
    assert np.diff(np.linalg.eigvalsh(triclinic)).min() > 1e-3 * np.abs(triclinic).max()
