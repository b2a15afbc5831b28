"""Streams of crystals: every kind of source, broken crystals, killed workers, full disks, restarts."""

import errno
import gzip
import json
import os
import signal
import stat
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from ase.db import connect
from pyarrow import parquet
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from dtnet_core.base import cluster, files
from dtnet_core.base.files import DataFileError, InUseError, locked
from dtnet_core.crystals import cif, json_source
from dtnet_core.crystals.record import record_to_dict
from dtnet_core.crystals.sources import entries, read_records, to_structure
from dtnet_core.crystals.structures import structure_to_dict
from dtnet_core.data.loading import load_records
from dtnet_core.encoder import encode
from dtnet_core.ensemble import Ensemble, load_ensemble
from dtnet_core.metrics import anisotropy_ratio
from dtnet_core.potentials.registry import load_encoder, parse_features
from dtnet_core.potentials.store import compute_features
from dtnet_core.readout import DTNet, DTNetConfig
from dtnet_core.screening import streaming
from dtnet_core.screening.parts import EXTREME, INTERVALS, read_parts
from dtnet_core.screening.streaming import predict_stream
from dtnet_core.trust import guess
from dtnet_core.trust import reach as reach_module
from dtnet_core.trust.doubts import Chance, Doubts, Tail
from dtnet_core.trust.reach import fit_reach, invariants_of
from dtnet_core.trust.standing import COLUMNS
from tests.command import dtnet
from tests.conftest import CRYSTALS

FEATURES = "7net-0:1"


def tiny_ensemble(members=2, text=FEATURES, reach=None) -> Ensemble:
    """Networks of random weights that answer at once."""
    ((name, layers),) = parse_features(text)
    features = encode(load_encoder(name), [CRYSTALS["triclinic"]()], layers)
    networks = []
    for seed in range(members):
        torch.manual_seed(seed)
        config = DTNetConfig(features.channels, width=(16, 8, 4), outputs=2, link="softplus", hidden=16)
        networks.append(DTNet(config).eval())
        networks[-1].fit_scales(features.pack(), torch.eye(3).expand(2, 2, 3, 3) * torch.tensor([2.0, 5.0]).view(2, 1, 1, 1))
    return Ensemble("total", networks, [text] * members, {"base": 0.1, "0.68": 1.0, "0.9": 2.0}, reach)


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
    assert table["distance"].isna().all() and (table["nearest"] == "").all()  # these networks know no training crystals


def test_stream_says_where_each_crystal_stands(tmp_path):
    """As `predict` does, whatever the pieces; in parts and in what reads them."""
    known = [s for _, s in salts(8)]
    reach = fit_reach(invariants_of(compute_features(reach_module.FEATURES, known, False, tmp_path, False)), [f"mp-{i}" for i in range(8)], ["KCl"] * 8)
    ensemble = tiny_ensemble(text=reach_module.FEATURES, reach=replace(reach, limit=3.0))
    ensemble.doubts = Doubts({"total": Tail(1e9, 1.3)}, {"total": Chance(0.0, 1.0, 0.5)})
    argon = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.31), ["Ar"], [[0, 0, 0]])
    pairs = [("argon", argon), ("salt", salts(3)[2][1]), ("slab", Structure(Lattice.tetragonal(4, 24), ["K", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.1]])), ("MgO", CRYSTALS["cubic"]())]
    with pytest.warns(UserWarning, match="a slab"):
        told = ensemble.predict([s for _, s in pairs], tmp_path, False)
    predict_stream(pairs, tmp_path / "out", ensemble, chunk=3, progress=False)
    table = read_parts(tmp_path / "out")
    assert table["in_domain"].tolist() == told.in_domain.tolist() and not table.loc["argon", "in_domain"] and table["in_domain"].any()
    np.testing.assert_allclose(table[list(INTERVALS)].T, [told.std, told.wide, told.chance], rtol=0.05)
    assert table["extreme"].tolist() == told.extreme.tolist() and set(told.extreme) == {False, True}
    np.testing.assert_allclose(table["distance"], told.distance, rtol=0.05)  # stored features are rounded, the stream takes them as they come
    assert table["warnings"].tolist() == ["; ".join(words) for words in told.warnings] and "no training crystal has Ar" in table.loc["argon", "warnings"]
    assert table.loc["salt", "nearest"].split(", ")[0] == "mp-2 KCl" and "slab" in table.loc["slab", "warnings"]


def test_a_stream_wants_an_ensemble_for_the_total_tensor(tmp_path):
    with pytest.raises(ValueError, match="the ensemble is for the ionic tensor; a stream, which tells all three, takes one for the total tensor"):
        predict_stream(salts(1), tmp_path / "out", load_ensemble("ionic"), progress=False)


def test_stream_knows_modes(tmp_path, monkeypatch):
    """As `predict` does, and nothing of them is kept; a supercell, an unstable crystal and one without polar modes among them."""
    shipped = load_ensemble("total", "default-physics")
    fluoride = Structure.from_spacegroup("Pm-3m", Lattice.cubic(4.3), ["Ba", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]])
    pairs = [("MgO", CRYSTALS["cubic"]()), ("twice", CRYSTALS["cubic"]() * (1, 1, 2)), ("stretched", fluoride), ("ZnO", CRYSTALS["hexagonal"]())]
    told = shipped.predict([s for _, s in pairs], tmp_path / "cache", False)
    monkeypatch.setenv("DTNET_CACHE_DIR", str(tmp_path / "empty"))
    predict_stream(pairs, tmp_path / "out", shipped, chunk=3, progress=False)
    assert not list((tmp_path / "empty").rglob("*.npy"))
    table = read_parts(tmp_path / "out").loc[[name for name, _ in pairs]]
    np.testing.assert_allclose(table["eps_total_mean"], np.trace(told.tensors, axis1=1, axis2=2) / 3, rtol=0.01)  # stored features are rounded
    assert table["in_domain"].tolist() == told.in_domain.tolist() and table["warnings"].tolist() == ["; ".join(words) for words in told.warnings]
    np.testing.assert_allclose(table[list(INTERVALS)].T, [told.std, told.wide, told.chance], rtol=0.03)
    assert "unstable" in table.loc["stretched", "warnings"] and not table.loc["stretched", "in_domain"]
    np.testing.assert_allclose(table.loc["MgO", "eps_total_mean"], table.loc["twice", "eps_total_mean"], rtol=1e-3)


def test_parts_of_before_are_read_beside_new_ones(ensemble, tmp_path):
    """Parts without the columns that say where a crystal stands are not computed again; the table has None there."""
    out = tmp_path / "out"
    predict_stream(salts(2), out, ensemble, progress=False)
    old = parquet.read_table(out / "part-000000.parquet").drop_columns([*COLUMNS, *INTERVALS, EXTREME])
    parquet.write_table(old, out / "part-000000.parquet")
    assert predict_stream(salts(4), out, ensemble, progress=False) == {"computed": 2, "skipped": 2, "failed": 0}
    table = read_parts(out)
    assert table.index.tolist() == [f"salt-{i}" for i in range(4)] and table["in_domain"].isna().tolist() == [True, True, False, False]
    assert table["eps_total_mean"].notna().all() and table[[*INTERVALS, EXTREME]].isna().all(axis=1).tolist() == [True, True, False, False]
    (out / "part-000001.parquet").unlink()
    assert read_parts(out)[[*INTERVALS, EXTREME]].isna().all(axis=None)


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
        found = {name: record.structure for name, record in read_records(source)}
        assert list(found) == (names if "pymatgen" not in str(source) and source is not crystals else ["0", "1", "2", "3"])
        for crystal, same in zip(crystals, found.values(), strict=True):
            assert same.species == crystal.species
            np.testing.assert_allclose(same.lattice.matrix, crystal.lattice.matrix, atol=1e-7)
            np.testing.assert_allclose(same.cart_coords, crystal.cart_coords, atol=1e-6)
    (tmp_path / "by_id.json").write_text(json.dumps({n: c.as_dict() for n, c in zip(names, crystals, strict=True)}, indent=1))
    assert {n: to_structure(c) for n, c in entries(tmp_path / "by_id.json")} == {n: to_structure(c) for n, c in zip(names, crystals, strict=True)}
    found = {name: record.structure for name, record in read_records(str(tmp_path / "files"))}
    assert list(found) == ["cubic.cif", "hexagonal.cif", "more/POSCAR-chiral", "more/POSCAR-triclinic"]
    assert [s.composition for s in found.values()] == [c.composition for c in crystals]


def test_json_is_read_in_pieces(tmp_path, monkeypatch):
    items = [{"id": f"{i}\u00e9", "structure": None, "text": "[{,}] \\\"" * i} for i in range(40)]
    (tmp_path / "x.json").write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
    for size in (1, 7, 1000):
        monkeypatch.setattr(json_source, "_READ", size)
        assert [item for _, item in entries(tmp_path / "x.json")] == items
    (tmp_path / "cut.json").write_text(json.dumps(items)[:-30])
    found = entries(tmp_path / "cut.json")
    assert [next(found)[1] for _ in range(39)] == items[:39]
    with pytest.raises(DataFileError, match=r"cut\.json: damaged"):
        next(found)
    monkeypatch.setattr(json_source, "_LONGEST", 1000)
    (tmp_path / "first.json").write_text('[{"id": "a" "b"}, ' + json.dumps(items)[1:] + " " * 100_000)
    with pytest.raises(DataFileError, match=r"first\.json: damaged.*element 1, of which [1-4]\d{3} characters were read, at character 12 "):
        next(entries(tmp_path / "first.json"))
    for missing in ("nowhere", "."):
        with pytest.raises(FileNotFoundError):
            next(entries(tmp_path / missing / "nothing"))


@pytest.mark.parametrize("names, unique", [("a b a", "a b a#2"), ("a#2 a a", "a#2 a a#3"), ("a a a#2 a", "a a#2 a#2#2 a#3")])
def test_no_id_stands_twice(names, unique):
    assert [name for name, _ in entries([{"id": name} for name in names.split()])] == unique.split()


def test_broken_json_lines_are_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(json_source, "_LONGEST", 20_000)
    good = {"id": "good", "structure": structure_to_dict(CRYSTALS["cubic"]())}
    lines = ["x" * 50_000, json.dumps(good), "", '{"id": "cut", "struc', b'{"id": "\xe9"}', '{"a":' * 3000, json.dumps(good)]
    content = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(content))
    found = dict(entries(tmp_path / "x.jsonl.gz"))
    assert list(found) == ["line-1", "good", "line-4", "line-5", "line-6", "good#2"] and found["good"] == good
    for name in ("line-1", "line-4", "line-5", "line-6"):
        with pytest.raises(DataFileError, match=rf"x\.jsonl\.gz, line {name[-1]}: broken"):
            to_structure(found[name])
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(DataFileError, match=r"cut\.jsonl\.gz: damaged"):
        list(entries(tmp_path / "cut.jsonl.gz"))


@pytest.mark.parametrize("content", [b"", b"no database " * 500, b"SQLite format 3\0" + bytes(3000)])
def test_broken_databases_and_tables_are_named(tmp_path, content):
    for name in ("x.db", "x.parquet"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataFileError, match=f"{name}: {'damaged' if content else 'the file is empty'}"):
            next(entries(tmp_path / name))
        assert (tmp_path / name).read_bytes() == content


def test_records_keep_what_the_source_knows(tmp_path):
    whole, crystal = load_records("mini")[0], CRYSTALS["cubic"]()
    structure = structure_to_dict(crystal)
    items = [record_to_dict(whole), {"id": 7, "structure": structure, "band_gap_ev": 1.5, "material_id": "mp-1", "eps_total": 9.5, "flags": "odd"},
             crystal.as_dict(), {"id": "bad", "structure": {}}, {"id": "flat", "structure": structure, "eps_total": [1, 2]}]  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps(items))
    first, few, bare, *broken = (record for _, record in read_records(tmp_path / "x.json"))
    assert record_to_dict(first) == record_to_dict(whole) and first.meta == whole.meta | {"file": "x.json"}
    assert (few.id, few.mp_id, few.formula, few.source, few.flags) == ("7", "mp-1", "MgO", "x.json", ("odd",))
    assert few.meta["band_gap_ev"] == 1.5 and few.scalar("total") == 9.5 and few.eps_total is None
    assert (bare.id, bare.formula, bare.source, bare.meta) == ("2", "MgO", "x.json", {"file": "x.json"})
    assert [type(e).__name__ for e in broken] == ["InvalidStructureError", "DataFileError"]

    rows = {"material_id": ["mp-1", "mp-2"], "structure": [json.dumps(structure)] * 2, "band_gap_ev": [1.5, np.nan], "stable": [True, False],
            "sites": [[1, 2], [3]]}  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "x.parquet")
    with connect(tmp_path / "x.db") as database:
        for name in rows["material_id"]:
            known = {"band_gap_ev": 1.5, "stable": True} if name == "mp-1" else {"stable": False}
            database.write(AseAtomsAdaptor.get_atoms(crystal), material_id=name, data={"energy_above_hull_ev": 0.1, "dos": [1, 2]}, **known)
    for name, more in (("x.parquet", {}), ("x.db", {"energy_above_hull_ev": 0.1})):
        one, two = (record for _, record in read_records(tmp_path / name))
        assert (one.mp_id, two.mp_id, one.source) == ("mp-1", "mp-2", name)
        assert one.meta == {"material_id": "mp-1", "band_gap_ev": 1.5, "stable": True, "file": name} | more
        assert two.meta == {"material_id": "mp-2", "stable": False, "file": name} | more
        assert one.structure.composition == crystal.composition
    crystal.to(tmp_path / "cifs.cif")
    assert [(r.id, r.source) for _, r in read_records(tmp_path)] == [("cifs.cif", "cifs.cif")]


def test_broken_crystals_are_listed_and_stop_nothing(ensemble, tmp_path):
    folder = tmp_path / "cifs"
    folder.mkdir()
    for name, crystal in salts(20):
        crystal.to(folder / f"{name}.cif")
    (folder / "salt-7.cif").write_text("data_broken\n_cell_length_a banana\n")
    (folder / "salt-8.cif").write_text("")
    (folder / "POSCAR-many").write_text("x\n1\n3 0 0\n0 3 0\n0 0 3\nK\n99999999999999\ndirect\n0 0 0\n")
    (folder / "x-link.cif").symlink_to("gone.cif")
    Structure(Lattice.cubic(4), ["Og", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(folder / "salt-9.cif")
    Structure(Lattice.cubic(4), ["K", "Cl"], [[0, 0, 0], [0.01, 0, 0]]).to(folder / "x-close.cif")
    assert predict_stream(folder, tmp_path / "out", ensemble, chunk=8, progress=False) == {"computed": 23, "skipped": 0, "failed": 6}
    table = read(tmp_path / "out")
    wrong = table[table["error"].notna()]
    assert wrong.index.tolist() == ["POSCAR-many", "salt-7.cif", "salt-8.cif", "salt-9.cif", "x-close.cif", "x-link.cif"]
    for reason, word in zip(wrong["error"], ("99999999999999 atoms announced in line 7", "_cell_length_a is 'banana'", "empty", "Og", "apart", "a link to gone.cif"), strict=True):
        assert word in reason
    assert wrong["eps_total_xx"].isna().all() and table["eps_total_xx"].notna().sum() == 17


@pytest.mark.parametrize("failure", [MemoryError("no room"), OSError(errno.EMFILE, "Too many open files")])
@pytest.mark.parametrize("place", ["open", "parse", "encode"])
def test_what_is_no_crystal_s_fault_is_not_written_as_its_error(ensemble, tmp_path, monkeypatch, failure, place):
    for name, crystal in salts(2):
        crystal.to(tmp_path / f"{name}.cif")

    def fail(*arguments, **options):
        raise failure

    owner, name = {"open": (streaming, "to_structure"), "parse": (cif, "read_block"), "encode": (streaming, "predict_members")}[place]
    chunk = list(entries(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        if place == "parse" and isinstance(failure, MemoryError):  # what a broken file asks for may be too much
            assert "no room" in streaming.predict_entries(chunk, ensemble)[0]["error"]
        else:
            with pytest.raises(type(failure), match=str(failure.args[-1])):
                streaming.predict_entries(chunk, ensemble)
    assert [row["error"] for row in streaming.predict_entries(chunk, ensemble)] == [None, None]


def test_repaired_crystals_are_tried_again_when_asked(ensemble, tmp_path, monkeypatch):
    counting, out, source = Counting(), tmp_path / "out", dict(salts(6))
    monkeypatch.setattr(streaming, "predict_entries", counting)
    broken = {"salt-1": {"lattice": 1}, "salt-4": {"lattice": 1}, "salt-5": {"lattice": 1}}
    for _ in range(2):
        assert predict_stream((source | broken).items(), out, ensemble, chunk=2, progress=False)["failed"] == 3
    assert len(counting.ids) == 6
    repaired = source | {"salt-5": broken["salt-5"]}
    found = predict_stream(repaired.items(), out, ensemble, chunk=2, progress=False, retry=True)
    assert found == {"computed": 3, "skipped": 3, "failed": 1} and counting.ids[6:] == ["salt-1", "salt-4", "salt-5"]
    assert read(out).index.tolist() == list(source) and read(out)["error"].dropna().index.tolist() == ["salt-5"]
    assert predict_stream(source.items(), out, ensemble, progress=False, retry=True) == {"computed": 1, "skipped": 5, "failed": 0}
    assert sorted(p.name for p in out.glob("[!.]*")) == [f"part-{i:06d}.parquet" for i in range(4)] and len(read(out)) == 6


@pytest.mark.parametrize("wrong", [{"chunk": 0}, {"chunk": -1}, {"workers": 0}])
def test_numbers_that_would_compute_nothing(ensemble, tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))};"):
        predict_stream(salts(1), tmp_path / "out", ensemble, progress=False, **wrong)


def test_one_that_only_the_network_refuses_does_not_take_its_neighbours_along(ensemble, tmp_path, monkeypatch):
    work = streaming.predict_members

    def refuse(ensemble, structures, flags=()):
        if any(abs(s.volume - 3.05**3) < 1e-6 for s in structures):
            raise RuntimeError("out of reach")
        return work(ensemble, structures, flags)

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

    def in_units(self, packed):
        if packed.n_crystals == 5 and (self.always or not os.path.exists(self.marker)):
            with open(self.marker, "a") as file:
                file.write("died\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.in_units(packed)

    def unbounded(self, six):
        return self.inner.unbounded(six)

    def bound(self, tensors):
        return self.inner.bound(tensors)


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


def slurm_here(folder, monkeypatch) -> None:
    """`sbatch` and `scancel` that run and stop a job on this machine; each one submitted adds a line to `jobs`."""
    programs = {"sbatch": 'echo >>{0}/jobs; cp "$1" {0}/job.sh; setsid bash {0}/job.sh >{0}/log 2>&1 & echo $! >{0}/pid; echo "Submitted batch job 7"',
                "scancel": "kill -- -$(cat {0}/pid)"}  # fmt: skip
    for name, text in programs.items():
        (folder / name).write_text("#!/bin/bash\n" + text.format(folder) + "\n")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_jobs_that_end_are_replaced(tmp_path, monkeypatch):
    """`sbatch` of this test runs jobs of two workers on this machine; the first one ends in the middle of a chunk."""
    import dask
    import dask_jobqueue  # noqa: F401 - reads its defaults, which `dask.config.set` is to replace

    slurm_here(tmp_path, monkeypatch)
    for name, seconds in {"PATIENCE_S": 0.5, "LOST_S": 1.0, "_POLL_S": 0.2}.items():
        monkeypatch.setattr(cluster, name, seconds)
    folder, written = str(tmp_path), []

    def work(chunk, model):
        with open(f"{folder}/jobs") as jobs, open(f"{folder}/pid") as pid:
            if len(jobs.readlines()) == 1:
                time.sleep(1)
                os.killpg(int(pid.read()), signal.SIGKILL)
        return chunk

    queue = {"cores": 2, "processes": 2, "memory": "3GB", "interface": "lo"}
    told = pytest.warns(UserWarning, match=r"no worker for \d+ s: \d chunks .* wait for one to join tcp")
    queue = dask.config.set({f"jobqueue.slurm.{name}": value for name, value in queue.items()})
    with queue, cluster.connect("slurm", 1) as client, told:
        assert cluster.on_cluster(client, work, None, [[(str(i), None)] for i in range(6)], written.extend) == {}
    assert sorted(name for name, _ in written) == list("012345") and (tmp_path / "jobs").read_text() == "\n\n"


def test_schedulers_that_are_not_there(ensemble, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(RuntimeError, match="pip install dask-jobqueue"):
        predict_stream(salts(1), tmp_path / "out", ensemble, client="slurm", progress=False)


def test_command_line(ensemble, tmp_path, monkeypatch, capsys):
    (tmp_path / "one.json").write_text(json.dumps([structure_to_dict(CRYSTALS["cubic"]())]))
    monkeypatch.setattr(streaming, "load_ensemble", lambda target, variant: {"mine": ensemble}[variant])
    assert dtnet("screen", "stream", tmp_path / "one.json", tmp_path / "out", "--variant", "mine") == 0
    said = capsys.readouterr().out
    assert "'computed': 1" in said and "--retry" not in said and read(tmp_path / "out").loc["0", "formula"] == "MgO"
    (tmp_path / "one.json").write_text("[{}, {}]")
    assert dtnet("screen", "stream", tmp_path / "one.json", tmp_path / "out", "--variant", "mine") == 0
    assert "1 crystals failed" in (said := capsys.readouterr().out) and "--retry" in said
    (tmp_path / "one.json").write_text(json.dumps([structure_to_dict(CRYSTALS["cubic"]())] * 2))
    assert dtnet("screen", "stream", tmp_path / "one.json", tmp_path / "out", "--variant", "mine", "--retry") == 0
    assert "'computed': 1, 'skipped': 1, 'failed': 0" in capsys.readouterr().out


def test_parts_know_how_answers_lean(monkeypatch):
    """Another ramp, another machine: other answers, so another folder."""
    shipped = load_ensemble("total")
    told = lambda reach, doubts=None: streaming._Ensemble(shipped.features, shipped.networks, reach, None, shipped.calibration, doubts or shipped.doubts).digest()  # noqa: E731
    before = told(shipped.reach)
    assert before == told(shipped.reach) != told(replace(shipped.reach, guess=None))
    assert before != told(replace(shipped.reach, guess=replace(shipped.reach.guess, weights=2 * shipped.reach.guess.weights)))
    physics = load_ensemble("total", "default-physics").physics
    others = [replace(physics, companion=replace(physics.companion, weights=2 * physics.companion.weights)), replace(physics, charges=replace(physics.charges, isotropic=2 * physics.charges.isotropic))]
    each = [streaming._Ensemble(shipped.features, shipped.networks, shipped.reach, p, shipped.calibration, shipped.doubts).digest() for p in (None, physics, *others)]
    assert each[0] == before and len(set(each)) == 4
    assert before != streaming._Ensemble(shipped.features, shipped.networks, shipped.reach, None, shipped.calibration | {"growth": 9.0}, shipped.doubts).digest()  # other intervals
    assert len({before, told(shipped.reach, Doubts()), told(replace(shipped.reach, strain=None)), told(replace(shipped.reach, strain=replace(shipped.reach.strain, intercept=0.5)))}) == 4
    monkeypatch.setattr(guess, "RAMPS", guess.Ramps(apart=(0.1, 0.2)))
    assert told(shipped.reach) != before
