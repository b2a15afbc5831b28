"""What notebook 07 stands on: groups, terms of Eq. 27, the network that is not equivariant, the solutions of its exercises."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from dtnet_core.crystals.frames import turned
from dtnet_core.data.loading import load_clean
from dtnet_core.encoder import encode
from dtnet_core.potentials.registry import load_encoder
from dtnet_core.readout import DTNet, DTNetConfig
from dtnet_core.teaching import coordinates, interactive, lessons
from tests.conftest import CRYSTALS, random_rotation, turn

NOTEBOOK = nbformat.read(Path(__file__).resolve().parents[2] / "notebooks" / "07_tensors_and_symmetry.ipynb", 4)
SOLUTIONS = [code for cell in NOTEBOOK.cells for code in re.findall(r"```python\n(.*?)```", cell.source, re.DOTALL)]


def test_every_exercise_has_a_folded_solution():
    exercises = [c.source for c in NOTEBOOK.cells if re.match(r"\*\*\d\. ", c.source)]
    assert len(exercises) == len(SOLUTIONS) == 5
    assert all(e.index("<details>") < e.index("```python") < e.index("</details>") for e in exercises)


@pytest.mark.parametrize("code", SOLUTIONS, ids=range(1, 6))
def test_solutions_run_on_their_own(code):
    assert "assert" in code
    exec(compile(code, "solution", "exec"), {})


def test_cells_are_short_and_the_story_has_both_ends():
    assert "**Question.**" in NOTEBOOK.cells[0].source and NOTEBOOK.cells[-1].source.startswith("## The answer")
    for cell in NOTEBOOK.cells:
        folded = "hide-input" in cell.metadata.get("tags", [])
        assert cell.cell_type != "code" or folded or (len(lines := cell.source.splitlines()) <= 12 and max(map(len, lines)) <= 125), cell.source


@pytest.mark.parametrize("system", lessons.SYSTEMS)
def test_rotations_of_a_system_are_a_group(system):
    group = lessons.system_rotations(system)
    assert np.allclose(group @ group.transpose(0, 2, 1), np.eye(3)) and (np.linalg.det(group) < 0).any()
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 1, 3, 3)
    assert np.isclose(products, group[None]).all((2, 3)).any(1).all()
    with pytest.raises(ValueError, match="cubical"):
        lessons.system_rotations("cubical")


def test_terms_of_a_network_add_up_and_each_turns():
    encoder, crystal = load_encoder("7net-0"), CRYSTALS["triclinic"]()
    torch.manual_seed(0)
    network = DTNet(DTNetConfig(encode(encoder, crystal, [1, 2]).channels, outputs=2))
    network.output_mean.fill_(5.0)
    terms = lessons.readout_terms(network, encoder, [1, 2], crystal)
    parts = [terms[name] for name in ("scalars", "vectors", "tensors")]
    assert np.allclose(sum(parts), terms["sum"], atol=1e-4)
    with torch.no_grad():
        assert np.allclose(network(encode(encoder, crystal, [1, 2]))[0], terms["sum"], atol=1e-5)
    assert np.allclose(terms["scalars"], terms["scalars"][:, :1, :1] * np.eye(3), atol=1e-5)
    assert (np.linalg.eigvalsh(terms["vectors"]) > -1e-5).all() and np.abs(np.trace(terms["tensors"], axis1=1, axis2=2)).max() < 1e-4
    assert min(np.abs(part).max() for part in parts) > 1e-3
    rotation = random_rotation(3)
    for name, term in lessons.readout_terms(network, encoder, [1, 2], turn(crystal, rotation)).items():
        assert np.allclose(term, rotation @ terms[name] @ rotation.T, atol=1e-3), name
    assert not any(head._forward_hooks for head in (network.scalar_out, network.vector_out, network.tensor_out))


def test_a_perceptron_learns_the_crystals_but_not_to_turn():
    records = [r for r in load_clean("mini")[0] if len(r.structure) < 4][:40]
    structures, tensors = [r.structure for r in records], np.array([r.eps_electronic for r in records])
    network = coordinates.fit_coordinates(structures, tensors, steps=300)
    assert np.abs(network.predict(structures) - tensors).mean() < 0.3 * np.abs(tensors - np.median(tensors, 0)).mean()
    uneven = max(records, key=lambda r: np.ptp(np.diag(r.eps_electronic)))
    turns = np.array([random_rotation(seed) for seed in range(4)])
    assert coordinates.equivariance_error(network.predict, uneven.structure, turns).max() > 0.05

    def inertia(structures):  # something that does turn
        return np.array([(s.lattice.matrix.T @ s.lattice.matrix) for s in structures])

    assert coordinates.equivariance_error(inertia, uneven.structure, turns).max() < 1e-12
    right = inertia([uneven.structure])[0]
    assert coordinates.error_when_turned(inertia, uneven.structure, right, turns).max() < 1e-12
    np.testing.assert_allclose(coordinates.error_when_turned(inertia, uneven.structure, 2 * right, turns), 0.5)
    with pytest.raises(ValueError, match="at most 6"):
        coordinates.as_numbers(structures[0] * (2, 2, 2))


def test_a_turned_crystal_is_the_same_crystal_elsewhere():
    crystal, rotation = CRYSTALS["chiral"](), random_rotation(1)
    again = turned(crystal, rotation)
    assert np.allclose(again.cart_coords, crystal.cart_coords @ rotation.T) and np.allclose(again.distance_matrix, crystal.distance_matrix)
    assert np.allclose(interactive.rotation_about("z", 90) @ [1, 0, 0], [0, 1, 0])
    assert interactive.rotation_about("x", [0, 30]).shape == (2, 3, 3)


def test_a_crystal_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match=r"'MgO'; choose one of .*MgO-rocksalt"):
        lessons.named(load_clean("mini")[0], "MgO")
