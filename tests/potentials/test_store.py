"""The feature store: found again, checked, resumed."""

import errno
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from dtnet_core.crystals.structures import crystal_key
from dtnet_core.encoder import encode
from dtnet_core.potentials import store as module
from dtnet_core.potentials.registry import load_encoder
from dtnet_core.potentials.store import CorruptFeaturesError, FeatureStore


@pytest.fixture
def store(tmp_path):
    return FeatureStore(load_encoder("7net-0"), tmp_path)


@pytest.mark.parametrize("bonds", [False, True])
def test_gives_what_the_encoder_gives(store, crystals, bonds):
    stored = store.features(crystals, (2, 4), bonds, progress=False)
    direct = encode(store.encoder, crystals, (2, 4), bonds)
    torch.testing.assert_close(torch.cat([f.scalars for f in stored]), direct.scalars)
    torch.testing.assert_close(torch.cat([f.tensors for f in stored]), direct.tensors, rtol=1e-5, atol=1e-6)
    if bonds:
        torch.testing.assert_close(torch.cat([f.edge_vectors for f in stored]), direct.edge_vectors)


def test_computes_each_crystal_once(store, crystals):
    assert store.add(crystals[:2], (4,), progress=False) == 2
    assert store.add(crystals, (4,), progress=False) == 2
    again = FeatureStore(store.encoder, store.folder.parents[1])
    assert again.add(crystals, (4,), progress=False) == 0
    assert (crystal_key(crystals[3]), 4) in again


def test_finds_and_repairs_corruption(store, crystals):
    good = store.features(crystals, 4, progress=False)
    shard = next(store.folder.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1000] ^= 0xFF  # one bit pattern in the last crystal
    shard.write_bytes(content)
    again = FeatureStore(store.encoder, store.folder.parents[1])
    keys = [crystal_key(c) for c in crystals]
    with pytest.raises(CorruptFeaturesError, match=shard.name) as error:
        for key in keys:
            again.read(key, 4)
    assert "checksum" in str(error.value)
    with pytest.warns(UserWarning, match="computed anew"):
        repaired = again.features(crystals, 4, progress=False)
    for a, b in zip(repaired, good, strict=True):
        torch.testing.assert_close(a.scalars, b.scalars, rtol=1e-4, atol=1e-5)


def test_sets_an_unreadable_file_aside(store, crystals):
    store.add(crystals, (4,), progress=False)
    shard = next(store.folder.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.warns(UserWarning, match=shard.name):
        again = FeatureStore(store.encoder, store.folder.parents[1])
    assert again.add(crystals, (4,), progress=False) == 4
    assert len(again.features(crystals, 4, progress=False)) == 4


def test_a_killed_run_goes_on(tmp_path, crystals):
    """Kill the encoding after its first shard; what it wrote is whole and not computed again."""
    program = (
        "import os, signal, sys\n"
        "from dtnet_core.potentials import store as module\n"
        "from dtnet_core.potentials.registry import load_encoder\n"
        "from tests.conftest import CRYSTALS\n"
        "module.ATOMS_PER_SHARD = 4\n"
        "write = module.FeatureStore._write\n"
        "def once(self, *rest):\n"
        "    if list(self.folder.glob('*.safetensors')):\n"
        "        (self.folder / 'half.tmp1').write_bytes(b'half')\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    write(self, *rest)\n"
        "module.FeatureStore._write = once\n"
        "crystals = [make() for make in CRYSTALS.values()]\n"
        "module.FeatureStore(load_encoder('7net-0'), sys.argv[1]).add(crystals, (4,), progress=False)\n"
    )
    root = Path(__file__).resolve().parents[2]
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    store = FeatureStore(load_encoder("7net-0"), tmp_path)
    assert 0 < store.add(crystals, (4,), progress=False) < len(crystals)
    assert all(len(f.scalars) == len(c) for f, c in zip(store.features(crystals, 4, progress=False), crystals, strict=True))


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, crystals):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="DTNET_CACHE_DIR") as told:
        stores = [FeatureStore(load_encoder("7net-0"), tmp_path / "file") for _ in range(2)]
    assert len(told) == 1
    for bonds in (False, True):
        found = stores[0].features([crystals[0], crystals[1], crystals[0]], (2, 4), bonds, progress=False)
        direct = encode(stores[0].encoder, [crystals[0], crystals[1], crystals[0]], (2, 4), bonds)
        torch.testing.assert_close(torch.cat([f.tensors for f in found]), direct.tensors)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_disk_stops_nothing_and_what_is_there_is_read(tmp_path, crystals, monkeypatch, code):
    store = FeatureStore(load_encoder("7net-0"), tmp_path)
    before = store.features(crystals[:1], 4, progress=False)
    monkeypatch.setattr(module, "ATOMS_PER_SHARD", 1)  # a shard a crystal

    def save_file(tensors, path, metadata):
        Path(path).write_bytes(b"begun")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module, "save_file", save_file)
    again = FeatureStore(store.encoder, tmp_path)
    with pytest.warns(UserWarning, match="DTNET_CACHE_DIR") as told:
        found = again.features(crystals, 4, progress=False)
    assert len(told) == 1 and len(found) == len(crystals) and not list(tmp_path.rglob("*.tmp*"))
    assert torch.equal(found[0].tensors, before[0].tensors) and not again._memory
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(again.features(crystals, 4, progress=False)) == len(crystals)
