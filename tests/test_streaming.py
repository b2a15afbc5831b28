"""Streams of crystals: every kind of source, broken crystals, killed workers, full disks, restarts."""

import errno
import gzip
import json
import os
import signal
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from ase.db import connect
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from dtnet_core import files, sources, streaming
from dtnet_core.data import DataFileError, structure_to_dict
from dtnet_core.encoder import encode, load_encoder
from dtnet_core.files import InUseError, locked
from dtnet_core.metrics import anisotropy_ratio
from dtnet_core.pretrained import Pretrained
from dtnet_core.readout import DTNet, DTNetConfig
from dtnet_core.sources import read_source
from dtnet_core.streaming import predict_stream
from tests.conftest import CRYSTALS

FEATURES = "7net-0:1"


def tiny_ensemble(members=2) -> Pretrained:
    """Networks of random weights that answer at once."""
    features = encode(load_encoder("7net-0"), [CRYSTALS["triclinic"]()], 1)
    networks = []
    for seed in range(members):
        torch.manual_seed(seed)
        config = DTNetConfig(features.channels, width=(16, 8, 4), outputs=2, link="softplus", hidden=16)
        networks.append(DTNet(config).eval())
        networks[-1].fit_scales(features.pack(), torch.eye(3).expand(2, 2, 3, 3) * torch.tensor([2.0, 5.0]).view(2, 1, 1, 1))
    return Pretrained("total", networks, [FEATURES] * members, {"base": 0.1, "0.68": 1.0, "0.9": 2.0})


@pytest.fixture(scope="module")
def ensemble():
    return tiny_ensemble()


def salts(n) -> list[tuple[str, Structure]]:
    """Crystals of two atoms, each a little larger than the one before."""
    return [(f"salt-{i}", Structure(Lattice.cubic(3.0 + 0.01 * i), ["K", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])) for i in range(n)]


def read(folder) -> pd.DataFrame:
    return pd.read_parquet(folder).set_index("id").sort_index()


class Counting:
    """`predict_entries` that remembers the ids it was asked for."""

    def __init__(self):
        self.ids, self.work = [], streaming.predict_entries

    def __call__(self, chunk, ensemble):
        self.ids += [name for name, _ in chunk]
        return self.work(chunk, ensemble)


def test_stream_says_what_the_batch_says(ensemble, tmp_path, crystals):
    pairs = list(zip(CRYSTALS, crystals, strict=True))
    assert predict_stream(pairs, tmp_path / "out", ensemble, chunk=3, progress=False) == {"computed": 4, "skipped": 0, "failed": 0}
    assert sorted(p.name for p in (tmp_path / "out").glob("[!.]*")) == ["part-000000.parquet", "part-000001.parquet"]
    table = read(tmp_path / "out").loc[list(CRYSTALS)]
    members = ensemble.predict(crystals, tmp_path / "cache", progress=False).members  # [M, B, 3, 3]
    six = table[[f"eps_total_{c}" for c in ("xx", "yy", "zz", "yz", "xz", "xy")]].to_numpy()
    expected = members.mean(0)[:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    np.testing.assert_allclose(six, expected, rtol=1e-5, atol=1e-5)
    constants = np.trace(members, axis1=2, axis2=3) / 3
    np.testing.assert_allclose(table[["eps_total_mean", "eps_total_std"]].T, [constants.mean(0), constants.std(0, ddof=1)], rtol=1e-4)
    ratios = np.array([anisotropy_ratio(m) for m in members])
    np.testing.assert_allclose(table["anisotropy_mean"], ratios.mean(0), rtol=1e-4)
    parts = [table[[f"eps_{t}_{c}" for c in ("xx", "yz")]].to_numpy() for t in ("electronic", "ionic", "total")]
    np.testing.assert_allclose(parts[0] + parts[1], parts[2], atol=1e-9)
    assert table["n_atoms"].tolist() == [len(c) for c in crystals] and table["error"].isna().all()


def test_every_source_gives_the_same_crystals(tmp_path, crystals):
    names = list(CRYSTALS)
    (tmp_path / "files" / "more").mkdir(parents=True)
    for name, crystal in zip(names[:2], crystals[:2], strict=True):
        crystal.to(tmp_path / "files" / f"{name}.cif")
    for name, crystal in zip(names[2:], crystals[2:], strict=True):
        crystal.to(tmp_path / "files" / "more" / f"POSCAR-{name}", fmt="poscar")
    records = [{"mp_id": n, "structure": structure_to_dict(c)} for n, c in zip(names, crystals, strict=True)]
    (tmp_path / "project.json.gz").write_bytes(gzip.compress(json.dumps(records).encode()))
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "pymatgen.json").write_text(json.dumps([c.as_dict() for c in crystals], indent=2))
    with connect(tmp_path / "ase.db") as database:
        for name, crystal in zip(names, crystals, strict=True):
            database.write(AseAtomsAdaptor.get_atoms(crystal), mp_id=name)
    rows = {"id": names, "structure": [json.dumps(c.as_dict()) for c in crystals]}
    pd.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    paths = ("project.json.gz", "lines.jsonl", "pymatgen.json", "ase.db", "table.parquet")
    for source in [*(tmp_path / p for p in paths), crystals, dict(zip(names, crystals, strict=True)).items()]:
        found = dict(read_source(source))
        assert list(found) == (names if "pymatgen" not in str(source) and source is not crystals else ["0", "1", "2", "3"])
        for crystal, same in zip(crystals, found.values(), strict=True):
            assert same.species == crystal.species
            np.testing.assert_allclose(same.lattice.matrix, crystal.lattice.matrix, atol=1e-7)
            np.testing.assert_allclose(same.cart_coords, crystal.cart_coords, atol=1e-6)
    found = dict(read_source(str(tmp_path / "files")))
    assert list(found) == ["cubic.cif", "hexagonal.cif", "more/POSCAR-chiral", "more/POSCAR-triclinic"]
    assert [s.composition for s in found.values()] == [c.composition for c in crystals]


def test_json_is_read_in_pieces(tmp_path, monkeypatch):
    items = [{"id": f"{i}\u00e9", "structure": None, "text": "[{,}] \\\"" * i} for i in range(40)]
    (tmp_path / "x.json").write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
    for size in (1, 7, 1000):
        monkeypatch.setattr(sources, "_READ", size)
        assert [item for _, item in sources.entries(tmp_path / "x.json")] == items
    (tmp_path / "cut.json").write_text(json.dumps(items)[:-30])
    found = sources.entries(tmp_path / "cut.json")
    assert [next(found)[1] for _ in range(39)] == items[:39]
    with pytest.raises(DataFileError, match=r"cut\.json is damaged"):
        next(found)
    assert [name for name, _ in sources.entries([{"id": "a"}, {"id": "b"}, {"id": "a"}])] == ["a", "b", "a#2"]
    for missing in ("nowhere", "."):
        with pytest.raises(FileNotFoundError):
            next(sources.entries(tmp_path / missing / "nothing"))


def test_broken_crystals_are_listed_and_stop_nothing(ensemble, tmp_path):
    folder = tmp_path / "cifs"
    folder.mkdir()
    for name, crystal in salts(20):
        crystal.to(folder / f"{name}.cif")
    (folder / "salt-7.cif").write_text("data_broken\n_cell_length_a banana\n")
    (folder / "salt-8.cif").write_text("")
    Structure(Lattice.cubic(4), ["Og", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(folder / "salt-9.cif")
    Structure(Lattice.cubic(4), ["K", "Cl"], [[0, 0, 0], [0.01, 0, 0]]).to(folder / "x-close.cif")
    assert predict_stream(folder, tmp_path / "out", ensemble, chunk=8, progress=False) == {"computed": 21, "skipped": 0, "failed": 4}
    table = read(tmp_path / "out")
    wrong = table[table["error"].notna()]
    assert wrong.index.tolist() == ["salt-7.cif", "salt-8.cif", "salt-9.cif", "x-close.cif"]
    for reason, word in zip(wrong["error"], ("not a readable cif", "empty", "Og", "apart"), strict=True):
        assert word in reason
    assert wrong["eps_total_xx"].isna().all() and table["eps_total_xx"].notna().sum() == 17


def test_one_that_only_the_network_refuses_does_not_take_its_neighbours_along(ensemble, tmp_path, monkeypatch):
    work = streaming.predict_members

    def refuse(ensemble, structures):
        if any(abs(s.volume - 3.05**3) < 1e-6 for s in structures):
            raise RuntimeError("out of reach")
        return work(ensemble, structures)

    monkeypatch.setattr(streaming, "predict_members", refuse)
    predict_stream(salts(8), tmp_path / "out", ensemble, progress=False)
    table = read(tmp_path / "out")
    assert table["error"].dropna().to_dict() == {"salt-5": "RuntimeError: out of reach"}
    assert table["eps_total_xx"].notna().sum() == 7


def test_restart_after_a_full_disk_computes_only_what_is_missing(ensemble, tmp_path, monkeypatch):
    """The disk fills up while the third part is written."""
    counting, out = Counting(), tmp_path / "out"
    monkeypatch.setattr(streaming, "predict_entries", counting)
    real, calls = os.fsync, []

    def fsync(handle):
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(OSError, match=r"the disk is full.*make room") as caught:
        predict_stream(salts(10), out, ensemble, chunk=2, progress=False)
    assert caught.value.errno == errno.ENOSPC
    assert sorted(p.name for p in out.iterdir()) == [".run.lock", "part-000000.parquet", "part-000001.parquet"]
    assert len(read(out)) == 4
    (out / ".part-000002.parquet.abc.tmp").write_bytes(b"left by a killed run")
    counting.ids.clear()
    assert predict_stream(salts(11), out, ensemble, chunk=3, progress=False) == {"computed": 7, "skipped": 4, "failed": 0}
    assert counting.ids == [f"salt-{i}" for i in range(4, 11)]
    assert sorted(read(out).index) == sorted(f"salt-{i}" for i in range(11)) and not list(out.glob(".part*"))
    counting.ids.clear()
    assert predict_stream(salts(11), out, ensemble, progress=False)["computed"] == 0 and counting.ids == []

    (out / "part-000000.parquet").write_bytes(b"PAR1 no more")
    with pytest.warns(UserWarning, match="not a readable part"):
        predict_stream(salts(11), out, ensemble, progress=False)
    assert counting.ids == ["salt-0", "salt-1"] and len(read(out)) == 11
    with pytest.raises(ValueError, match="other networks or features"):
        predict_stream(salts(11), out, tiny_ensemble(3), progress=False)
    with locked(out / "run"), pytest.raises(InUseError):
        predict_stream(salts(11), out, ensemble, progress=False)


class Deadly(torch.nn.Module):
    """A network that kills the process it runs in at one of the crystals: the first time only, or `always`."""

    def __init__(self, inner: DTNet, marker: str, always: bool = False):
        super().__init__()
        self.inner, self.marker, self.always = inner, marker, always

    def forward(self, features):
        if len(features.n_atoms) == 5 and (self.always or not os.path.exists(self.marker)):
            with open(self.marker, "a") as file:
                file.write("died\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(features)


def test_killed_workers_lose_nothing(tmp_path):
    """On a Dask cluster of this machine, chunks of five crystals; the worker is killed in the first of them."""
    import dask
    from dask.distributed import Client, LocalCluster

    deadly, out, lost = tiny_ensemble(1), tmp_path / "out", tmp_path / "lost"
    deadly.networks = [Deadly(deadly.networks[0], str(tmp_path / "marker"))]
    one_worker = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    broken = [("broken", {"lattice": "none"})]
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), LocalCluster(**one_worker) as cluster, Client(cluster) as client:
        source = salts(15) + broken
        assert predict_stream(source, out, deadly, chunk=5, client=client, progress=False) == {"computed": 16, "skipped": 0, "failed": 1}
        assert (tmp_path / "marker").read_text() == "died\n"
        table = read(out)
        assert sorted(table.index) == sorted(name for name, _ in source)  # each of them once
        assert table["eps_total_xx"].notna().sum() == 15 and "lattice" in table["error"]["broken"]

        deadly.networks[0].always, cluster.scheduler.allowed_failures = True, 0
        with pytest.raises(RuntimeError, match=r"chunks were lost, all others are written.*begins with salt-[05]:"):
            predict_stream(salts(8), lost, deadly, chunk=5, client=cluster.scheduler_address, progress=False)
    deadly.networks[0].always = False  # Dask may blame a chunk that waited on the same worker, too: it is only put off
    summary = predict_stream(salts(8), lost, deadly, chunk=5, progress=False)
    assert summary["computed"] >= 5 and summary["computed"] + summary["skipped"] == 8 and summary["failed"] == 0
    assert read(lost).index.tolist() == [f"salt-{i}" for i in range(8)]
    both = read(out).loc[[f"salt-{i}" for i in range(8)], "eps_total_mean"]
    np.testing.assert_allclose(read(lost)["eps_total_mean"], both, rtol=1e-5)


def test_schedulers_that_are_not_there(ensemble, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(RuntimeError, match="pip install dask-jobqueue"):
        predict_stream(salts(1), tmp_path / "out", ensemble, client="slurm", progress=False)


def test_command_line(ensemble, tmp_path, monkeypatch, capsys):
    (tmp_path / "one.json").write_text(json.dumps([structure_to_dict(CRYSTALS["cubic"]())]))
    monkeypatch.setattr(Pretrained, "load", lambda target, variant: {"mine": ensemble}[variant])
    streaming.main([str(tmp_path / "one.json"), str(tmp_path / "out"), "--variant", "mine"])
    assert "'computed': 1" in capsys.readouterr().out and read(tmp_path / "out").loc["0", "formula"] == "MgO"
