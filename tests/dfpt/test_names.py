"""No file takes the place of another one: names come from the whole path where needed, and a clash is an error before any work."""

import json

import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals.record import record_to_dict
from dtnet_core.crystals.sources import read_structure
from dtnet_core.data.loading import load_records
from dtnet_core.dfpt import queue
from dtnet_core.dfpt.inputs import DFPTError
from dtnet_core.dfpt.names import file_names, refuse_other_records, run_names
from dtnet_core.dfpt.seeds import load_set, merge_record
from dtnet_core.dfpt.vasp_files import read_many, write_many
from dtnet_core.run import command_line

from .test_vasp import vasprun, wurtzite_record


def poscar(path, anion="Cl", a=4.12):
    path.parent.mkdir(parents=True, exist_ok=True)
    Structure(Lattice.cubic(a), ["Cs", anion], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(filename=str(path), fmt="poscar")
    return path


def test_names_are_short_where_they_can_be():
    assert file_names(["x/MgO.cif", "y/ZnO.cif.gz", "z/POSCAR"]) == {"x/MgO.cif": "MgO", "y/ZnO.cif.gz": "ZnO", "z/POSCAR": "POSCAR"}
    assert list(file_names(["x/a/POSCAR", "x/b/POSCAR", "x/c.cif"]).values()) == ["a-POSCAR", "b-POSCAR", "c"]
    assert list(file_names(["x/A.cif", "x/a.vasp"]).values()) == ["A.cif", "a.vasp"]
    assert list(file_names(["x/a.cif", "y/a.cif"]).values()) == ["x-a", "y-a"]
    assert list(run_names(["MgO/vasprun.xml", "ZnO/vasprun.xml.gz"]).values()) == ["MgO", "ZnO"]
    assert list(run_names(["a/dfpt/vasprun.xml", "b/dfpt/vasprun.xml"]).values()) == ["a-dfpt", "b-dfpt"]
    assert list(run_names(["a/one.xml", "a/two.xml.gz"]).values()) == ["one", "two"]


def test_a_clash_names_both_files():
    with pytest.raises(DFPTError, match="given twice"):
        file_names(["a/POSCAR", "a/../a/POSCAR"])
    with pytest.raises(DFPTError, match=r"a-b/POSCAR and a/b/POSCAR would both"):
        file_names(["a-b/POSCAR", "a/b/POSCAR"])
    with pytest.raises(DFPTError, match=r"x/a-POSCAR\.vasp"):
        file_names(["x/a/POSCAR", "x/b/POSCAR", "x/a-POSCAR.vasp"])


def test_inputs_of_files_of_one_name_stand_side_by_side(tmp_path):
    files = [poscar(tmp_path / "a" / "POSCAR"), poscar(tmp_path / "b" / "POSCAR", "Br"), tmp_path / "c" / "POSCAR"]
    found = dict(write_many(files, tmp_path / "out"))
    assert isinstance(found.pop(str(files[2])), FileNotFoundError)  # and the others are written
    assert [read_structure(folder / "POSCAR").formula for folder in found.values()] == ["Cs1 Cl1", "Cs1 Br1"]
    assert dict(write_many(files[:2], tmp_path / "out")).keys() == found.keys()  # the same again replaces itself
    later = poscar(tmp_path / "d" / "a-POSCAR.vasp", "I")
    with pytest.raises(DFPTError, match="another crystal"):
        list(write_many([files[0].rename(tmp_path / "first.vasp"), later], tmp_path / "out"))
    assert not (tmp_path / "out" / "first").exists()  # before any work


def test_runs_of_one_folder_name_are_two_records_and_a_bad_one_stops_nothing(tmp_path, capsys):
    text, paths = vasprun(wurtzite_record()), []
    for name, content in {"a": text, "b": text.replace("6.4.2", "5.4.4"), "c": text[:3000], "d": text.replace(' name="epsilon"', ' name="other"')}.items():
        paths.append(tmp_path / name / "dfpt" / "vasprun.xml")
        paths[-1].parent.mkdir(parents=True)
        paths[-1].write_text(content)
    target = tmp_path / "set.json.gz"
    with pytest.raises(SystemExit) as ended:
        command_line.main(["dfpt", "read-vasp", "--set", str(target), *map(str, paths[::-1])])
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert "2 failed" in shown.err and str(paths[2]) in shown.err and "LEPSILON" in shown.err and "b-dfpt" in shown.out
    assert [(r["id"], r["code"]) for r in load_set(target)] == [("a-dfpt", "VASP 6.4.2"), ("b-dfpt", "VASP 5.4.4")]
    (first,), (second,) = (list(read_many([path], tmp_path / "second.json.gz")) for path in paths[:2])
    assert first[1]["id"] == "dfpt" and "another record called dfpt" in str(second[1])
    assert [r["code"] for r in load_set(tmp_path / "second.json.gz")] == ["VASP 6.4.2"]
    assert next(read_many(paths[:1], tmp_path / "second.json.gz"))[1]["id"] == "dfpt"  # the same run again is no clash


def test_compute_gives_each_file_a_folder_and_keeps_records_of_other_crystals(tmp_path, monkeypatch):
    files, seen = [poscar(tmp_path / "a" / "POSCAR"), poscar(tmp_path / "b" / "POSCAR", "Br")], {}

    def run_many(jobs, *_, command, **__):
        seen.update({key: (make().formula, command(key)) for key, make in jobs})
        return {}

    monkeypatch.setattr(queue, "run_many", run_many)
    with pytest.raises(SystemExit) as ended:
        command_line.main(["dfpt", "compute", *map(str, files)])
    assert ended.value.code == 0
    assert {key: formula for key, (formula, _) in seen.items()} == {"a-POSCAR": "Cs1 Cl1", "b-POSCAR": "Cs1 Br1"}
    assert all("compute POSCAR" in command for _, command in seen.values())
    record = record_to_dict(next(r for r in load_records("mini") if r.id == "BN-wurtzite"))
    merge_record(json.loads(json.dumps(record | {"id": "POSCAR"})), tmp_path / "set.json.gz")
    with pytest.raises(DFPTError, match=r"another crystal called POSCAR \(BN; now CsCl\)"):
        refuse_other_records({"POSCAR": read_structure(files[0])}, tmp_path / "set.json.gz")
    refuse_other_records({"POSCAR": wurtzite_record().structure}, tmp_path / "set.json.gz")
