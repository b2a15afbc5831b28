"""Nequix and TensorNet: exact symmetries, their own published energies, and clear words where they are missing."""

import importlib.util
import io
import json
import os
import sys

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals.structures import InvalidStructureError
from dtnet_core.encoder import Encoder, encode
from dtnet_core.features import split_crystals
from dtnet_core.potentials import packages
from dtnet_core.potentials.nequix import NEQUIX_FILES, read_nequix_file
from dtnet_core.potentials.packages import files_version, find_weights, import_bare
from dtnet_core.potentials.registry import load_encoder
from dtnet_core.potentials.tensornet import TENSORNET_FOLDERS, read_tensornet_folder, split_cartesian
from tests.conftest import CRYSTALS, random_rotation, turn

FILES = {name: ("nequix", file) for name, file in NEQUIX_FILES.items()}
FILES |= {name: ("matgl", folder) for name, folder in TENSORNET_FOLDERS.items()}


def _available(name: str) -> bool:
    try:
        find_weights(*FILES[name])
    except FileNotFoundError:
        return False
    return importlib.util.find_spec(FILES[name][0]) is not None


def _needs(*names: str) -> list:
    skip = pytest.mark.skipif
    return [pytest.param(n, marks=skip(not _available(n), reason="no package or weights")) for n in names]


one_of_each = pytest.mark.parametrize("name", _needs("nequix-oam-1-pft", "tensornet-matpes-pbe"))


def _assert_turned(found, wanted, matrix: np.ndarray, tolerance: float) -> None:
    """Every part of `found` is that of `wanted` turned by `matrix`; error in units of the part's largest value."""
    q = torch.from_numpy(matrix).to(wanted.scalars)
    expected = {
        "scalars": wanted.scalars,
        "vectors": wanted.vectors @ q.T,
        "tensors": q @ wanted.tensors @ q.T,
    }
    if wanted.edge_index is not None:
        expected |= {"edge_scalars": wanted.edge_scalars, "edge_vectors": wanted.edge_vectors @ q.T}
    for key, value in expected.items():
        if value.numel():
            error = (getattr(found, key) - value).abs().max() / value.abs().max()
            assert error < tolerance, (key, float(error))


def _rattled(name: str = "chiral") -> Structure:
    """A crystal without symmetry, so that no feature is zero by symmetry."""
    structure = CRYSTALS[name]()
    shifts = np.random.default_rng(1).normal(0, 0.08, (len(structure), 3))
    return Structure(
        structure.lattice, structure.species, structure.cart_coords + shifts, coords_are_cartesian=True
    )


@one_of_each
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
def test_rotations_reflections_and_inversion(name, dtype, tolerance):
    encoder, crystal = load_encoder(name, dtype), _rattled()
    before = encoder.encode_layers([crystal], encoder.layers, bonds=True)
    for matrix in (random_rotation(2), -np.eye(3), -random_rotation(3)):
        after = encoder.encode_layers([turn(crystal, matrix)], encoder.layers, bonds=True)
        for n in encoder.layers:
            _assert_turned(after[n], before[n], matrix, tolerance)
    inner = before[2]
    assert inner.scalars.dtype == dtype
    for part in (inner.vectors, inner.tensors, inner.edge_vectors):  # the test compares something
        assert part.abs().max() > 1e-3
    torch.testing.assert_close(inner.tensors, inner.tensors.transpose(-1, -2))
    traces = inner.tensors.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert traces.abs().max() < 10 * tolerance * inner.tensors.abs().max()


@one_of_each
def test_atom_order_origin_supercell_and_batch(name):
    encoder, crystal = load_encoder(name, torch.float64), _rattled("hexagonal")
    before = encoder.encode_layers([crystal], encoder.layers)
    order = [2, 0, 3, 1]
    shifted = Structure(crystal.lattice, crystal.species, crystal.frac_coords + np.array([0.3, -0.4, 1.7]))
    supercell = crystal * (2, 1, 2)
    origins = np.linalg.solve(crystal.lattice.matrix.T, supercell.cart_coords.T).T
    apart = np.abs((origins[:, None] - crystal.frac_coords + 0.5) % 1 - 0.5).sum(-1)
    same = apart.argmin(1).tolist()  # which atom of the small cell
    batch = encoder.encode_layers(
        [Structure.from_sites([crystal[i] for i in order]), shifted, supercell, CRYSTALS["cubic"]()],
        encoder.layers,
    )
    for n in encoder.layers:
        permuted, moved, large, _ = split_crystals(batch[n])
        for found, index in ((permuted, order), (moved, [0, 1, 2, 3]), (large, same)):
            for part in ("scalars", "vectors", "tensors"):
                wanted = getattr(before[n], part)[index]
                torch.testing.assert_close(getattr(found, part), wanted, rtol=1e-9, atol=1e-10)


@one_of_each
def test_fills_the_contract(name, crystals):
    encoder = load_encoder(name)
    assert isinstance(encoder, Encoder)
    assert encoder.version != load_encoder(name, torch.float64).version
    blocks = encoder.encode_layers(crystals, encoder.layers, bonds=True)
    assert {n: f.channels for n, f in blocks.items()} == {n: encoder.channels(n) for n in encoder.layers}
    inner = (128, 64, 32) if name.startswith("nequix") else (128, 128, 128)
    assert {n: encoder.channels(n) for n in encoder.layers} == {
        0: (128, 0, 0),
        1: inner,
        2: inner,
        3: inner,
        4: (128, 0, 0),
    }
    last = encode(encoder, crystals, 4, bonds=True)
    assert last.channels == inner and last.edge_vectors.shape[1] == 16
    assert last.edge_index.shape[1] == len(last.edge_scalars) == len(last.edge_vectors)
    with pytest.raises(InvalidStructureError, match="Po"):
        encoder.encode_layers([Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]])], [1])


@pytest.fixture
def any_cell(monkeypatch):
    """What is no crystal, such as an atom in a box, reaches the networks."""
    monkeypatch.setattr("dtnet_core.potentials.open_encoder.validate_structure", lambda *_, **__: None)


@one_of_each
def test_atoms_without_neighbours(name, any_cell):
    encoder = load_encoder(name, torch.float64)
    lone = Structure(Lattice.cubic(20), ["Ar"], [[0, 0, 0]])
    alone = encoder.encode_layers([lone], encoder.layers, bonds=True)
    batch = encoder.encode_layers([lone, CRYSTALS["cubic"]()], encoder.layers, bonds=True)
    assert float(alone[2].vectors.abs().max()) == float(alone[2].tensors.abs().max()) == 0.0
    for n in encoder.layers:
        first = split_crystals(batch[n].without_bonds())[0]
        for part in ("scalars", "vectors", "tensors"):
            torch.testing.assert_close(getattr(first, part), getattr(alone[n], part), rtol=1e-9, atol=1e-10)


@one_of_each
def test_a_bond_carries_what_its_neighbour_sends(name, any_cell):
    """In a chain A - B - C without an A - C bond, another C does not change A's messages to B in layer 2."""
    encoder = load_encoder(name)
    positions = [[4.0 * i, 1.0 * (i == 1), 0.0] for i in range(3)]
    first, second = (
        encoder.encode_layers(
            [Structure(Lattice.cubic(30), ["Na", "Cl", end], positions, coords_are_cartesian=True)],
            [2],
            bonds=True,
        )[2]
        for end in ("K", "F")
    )
    neighbours = first.edge_index[0].tolist()
    assert sorted(neighbours) == [0, 1, 1, 2]
    for edge, neighbour in enumerate(neighbours):
        same = torch.allclose(first.edge_vectors[edge], second.edge_vectors[edge], rtol=1e-4, atol=1e-7)
        assert same == (neighbour == 0)


@pytest.mark.parametrize("name", _needs("nequix-oam-1-pft"))
def test_nequix_gives_its_own_energies(name):
    """Atom energies of the library's loader, graph and forward, for three crystals."""
    from matscipy.neighbours import neighbour_list

    (library,) = import_bare("nequix", ["torch_impl.model"])
    encoder = load_encoder(name)
    model, config = library.load_model(find_weights(*FILES[name]))
    model.eval()
    structures = [CRYSTALS["cubic"](), CRYSTALS["chiral"](), _rattled("triclinic")]
    for structure, energy in zip(structures, encoder.energies(structures), strict=True):
        receivers, senders, shifts = neighbour_list("ijS", structure.to_ase_atoms(), config["cutoff"])
        species = [config["atomic_numbers"].index(site.specie.Z) for site in structure]
        energies, _, _ = model(
            torch.tensor(species), torch.tensor(structure.cart_coords, dtype=torch.float32),
            torch.tensor(shifts, dtype=torch.float32), torch.tensor(np.stack([senders, receivers])).long(),
            torch.tensor(structure.lattice.matrix, dtype=torch.float32)[None], torch.tensor([len(structure)]),
            torch.tensor([len(senders)]), torch.zeros(len(structure), dtype=torch.long),
        )  # fmt: skip
        assert float(energy) == pytest.approx(float(energies.detach().sum()), abs=2e-5 * len(structure))


ENERGIES = {  # eV a cell, printed by matgl 2.0.6, for which these weights were published
    "tensornet-matpes-pbe": {"cubic": -11.72884, "hexagonal": -17.62496, "chiral": -70.10762, "triclinic": -21.54647},
    "tensornet-matpes-r2scan": {"cubic": -15.97953, "hexagonal": -36.00463, "chiral": -88.31653, "triclinic": -41.55070},
}  # fmt: skip


@pytest.mark.parametrize("name", _needs(*TENSORNET_FOLDERS))
def test_tensornet_gives_its_own_energies(name):
    energies = load_encoder(name).energies([make() for make in CRYSTALS.values()])
    for crystal, energy in zip(CRYSTALS, energies, strict=True):
        assert float(energy) == pytest.approx(ENERGIES[name][crystal], abs=1e-4), crystal


@pytest.mark.parametrize("name", _needs(*TENSORNET_FOLDERS))
def test_magnesia_is_most_stable_at_its_own_size(name):
    """Measured 4.21 angstrom; wired otherwise than it was trained, the network has no minimum there."""
    primitive = CRYSTALS["cubic"]()
    sizes = np.array([0.94, 0.97, 1.0, 1.03, 1.06])
    cells = [
        Structure(Lattice(primitive.lattice.matrix * s), primitive.species, primitive.frac_coords)
        for s in sizes
    ]
    energies = load_encoder(name).energies(cells).numpy()
    a, b, _ = np.polyfit(sizes, energies - energies.mean(), 2)
    assert a > 0 and 4.21 * -b / (2 * a) == pytest.approx(4.21, rel=0.02)


# What follows needs neither packages nor weights.


def test_version_is_of_the_content(tmp_path):
    first, second = tmp_path / "first.pt", tmp_path / "second.pt"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    version = files_version([first], "float32")
    assert version == files_version([second], "float32") != files_version([first], "float64")
    second.write_bytes(b"Weights")
    assert version != files_version([second], "float32")


def test_antisymmetric_part_is_the_vector_of_a_cross_product():
    x = torch.randn(2, 5, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scalars, vectors, tensors = split_cartesian(x)
    b = torch.tensor([0.3, -1.2, 0.7], dtype=torch.float64)
    whole = scalars[..., None] * b + torch.linalg.cross(vectors, b.expand_as(vectors)) + tensors @ b
    torch.testing.assert_close(x @ b, whole)
    assert tensors.diagonal(dim1=-2, dim2=-1).sum(-1).abs().max() < 1e-14


def test_names_what_is_missing(monkeypatch, tmp_path):
    load_encoder.cache_clear()
    with pytest.raises(ValueError, match=r"no-such.*nequix-mp-1.*tensornet-matpes-pbe"):
        load_encoder("no-such")
    monkeypatch.delenv("DTNET_WEIGHTS_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match=r"DTNET_WEIGHTS_DIR is not set.*nequix-mp-1.pt.*github.*MIT"):
        load_encoder("nequix-mp-1")
    monkeypatch.setenv("DTNET_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}.*TensorNet-MatPES-r2SCAN.*github.*BSD-3"):
        load_encoder("tensornet-matpes-r2scan")


def test_finds_weights_in_the_folder_or_its_subfolder(monkeypatch, tmp_path):
    nested = tmp_path / "nequix" / "nequix-mp-1.pt"
    nested.parent.mkdir()
    nested.touch()
    for root in (tmp_path, nested.parent):
        monkeypatch.setenv("DTNET_WEIGHTS_DIR", str(root))
        assert find_weights("nequix", "nequix-mp-1.pt") == nested


class _Exploit:
    def __reduce__(self):
        return os.putenv, ("DTNET_EXPLOITED", "1")


def test_files_are_not_executed(tmp_path):
    file = tmp_path / "nequix-mp-1.pt"
    content = io.BytesIO()
    torch.save({"weight": _Exploit()}, content)
    file.write_bytes(b'{"cutoff": 6.0}\n' + content.getvalue())
    with pytest.raises(ValueError, match=r"nequix-mp-1\.pt.*[Ww]eights.only"):
        read_nequix_file(file)
    (tmp_path / "state.pt").write_bytes(content.getvalue())
    (tmp_path / "model.json").write_text(json.dumps({"kwargs": {"model": {"@class": "TensorNet"}}}))
    with pytest.raises(ValueError, match=r"[Ww]eights.only"):
        read_tensornet_folder(tmp_path)


def test_old_tensornet_weights_are_converted_and_new_ones_are_not(tmp_path):
    key, weight = "model.tensor_embedding.emb2.weight", torch.arange(8.0).reshape(2, 4)
    torch.save({key: weight}, tmp_path / "state.pt")
    for model_version, expected in ((1, weight[:, [2, 3, 0, 1]]), (2, weight)):
        described = {"@class": "TensorNet", "@model_version": model_version, "init_args": {}}
        (tmp_path / "model.json").write_text(json.dumps({"kwargs": {"model": described}}))
        assert torch.equal(read_tensornet_folder(tmp_path)[1][key], expected)


def test_imports_a_file_without_its_package(monkeypatch, tmp_path):
    package = tmp_path / "heavy_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the package was run')")
    (package / "inner" / "__init__.py").write_text("raise RuntimeError('the inner package was run')")
    (package / "inner" / "light.py").write_text(
        "import heavy_package\nfrom heavy_package.other import two\nkind = heavy_package.kind"
    )
    (package / "other.py").write_text("two = 2")
    monkeypatch.syspath_prepend(tmp_path)
    (light,) = import_bare("heavy_package", ["inner.light"], kind="float")
    assert (light.two, light.kind) == (2, "float")
    assert not [name for name in sys.modules if name.startswith("heavy_package")]
    with pytest.raises(RuntimeError, match="the package was run"):
        importlib.import_module("heavy_package")
    with pytest.raises(ImportError, match=r"does not fit.*no_such"):
        import_bare("heavy_package", ["inner.no_such"])


def test_missing_package_names_the_command(monkeypatch):
    monkeypatch.setitem(packages._SOURCES, "no_such_package", ("no_such_package==1.0", "", ""))
    with pytest.raises(ImportError, match=r"not installed: pip install --no-deps no_such_package==1.0"):
        import_bare("no_such_package", ["model"])
