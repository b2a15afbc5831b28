"""Every other door: what people bring beside CIF is read, or listed with file, position and reason, and the rest goes on."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.db import connect
from ase.io import write
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from dtnet_core.base.reading import DataFileError, ReadError, ReadWarning
from dtnet_core.crystals.given import as_structures
from dtnet_core.crystals.readers import from_text
from dtnet_core.crystals.sources import entries, read_records, read_structure, to_structure
from dtnet_core.crystals.structures import InvalidStructureError, structure_to_dict
from tests.crystals.mutants import OXIDE, SALT, mutants

POSCAR = """salt
1.0
5.64 0 0
0 5.64 0
0 0 5.64
Na Cl
4 4
Direct
0 0 0
0.5 0.5 0
0.5 0 0.5
0 0.5 0.5
0.5 0 0
0 0.5 0
0 0 0.5
0.5 0.5 0.5
"""
CRYSTALS = {"salt": SALT, "oxide": OXIDE}


def formulas(source) -> dict[str, str]:
    """Formula or error of each entry."""
    found = {}
    for name, content in entries(source):
        try:
            found[name] = to_structure(content).formula.replace(" ", "")
        except ReadError as error:
            found[name] = str(error)
    return found


def optimade(structure: Structure, **more) -> dict:
    return {"lattice_vectors": structure.lattice.matrix.tolist(), "cartesian_site_positions": structure.cart_coords.tolist(),
            "species_at_sites": [e.symbol for e in structure.species], **more}  # fmt: skip


def jarvis(structure: Structure, cartesian: bool) -> dict:
    coordinates = structure.cart_coords if cartesian else structure.frac_coords
    return {"lattice_mat": structure.lattice.matrix.tolist(), "coords": coordinates.tolist(), "elements": [e.symbol for e in structure.species], "cartesian": cartesian}


DICTS = {name: s.as_dict() for name, s in CRYSTALS.items()}
CIFS = {name: str(CifWriter(s)) for name, s in CRYSTALS.items()}
LAYOUTS = {
    "answer": {"data": [{"material_id": k, "structure": d} for k, d in DICTS.items()], "meta": {"total": 2}},
    "meta first": {"meta": {"total": 2}, "data": [{"material_id": k, "structure": d} for k, d in DICTS.items()]},
    "optimade": {"data": [{"id": k, "type": "structures", "attributes": optimade(s)} for k, s in CRYSTALS.items()], "meta": {}},
    "alexandria": {"entries": [{"structure": d, "data": {"mat_id": k}} for k, d in DICTS.items()]},
    "jarvis": [{"jid": k, "atoms": jarvis(s, i == 0)} for i, (k, s) in enumerate(CRYSTALS.items())],
    "split": {"index": list(DICTS), "columns": ["structure", "n"], "data": [[d, 1.7] for d in DICTS.values()]},
    "split, data first": {"data": [[d, 1.7] for d in DICTS.values()], "index": list(DICTS), "columns": ["structure", "n"]},
    "columns": {"structure": DICTS, "n": dict.fromkeys(DICTS, 1.7)},
    "columns, n first": {"n": dict.fromkeys(DICTS, 1.7), "structure": DICTS},
    "lists": {"id": list(DICTS), "structure": list(DICTS.values())},
    "records": [{"id": k, "structure": d, "n": 1.7} for k, d in DICTS.items()],
    "index": {k: {"structure": d, "n": 1.7} for k, d in DICTS.items()},
    "by id": DICTS,
    "cif": [{"id": k, "cif": text} for k, text in CIFS.items()],
    "cif by id": CIFS,
    "cif column": {"cif": CIFS},
    "json in json": [{"id": k, "structure": json.dumps(d)} for k, d in DICTS.items()],
    "ase": [{"id": k, "structure": {"numbers": [e.Z for e in s.species], "positions": s.cart_coords.tolist(), "cell": s.lattice.matrix.tolist(), "pbc": [True] * 3}}
            for k, s in CRYSTALS.items()],
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_json_of_other_programs(tmp_path, layout):
    (tmp_path / "x.json").write_text(json.dumps(LAYOUTS[layout]))
    assert formulas(tmp_path / "x.json") == {"salt": "Na4Cl4", "oxide": "Zr4O8"}
    for (_, content), crystal in zip(entries(tmp_path / "x.json"), CRYSTALS.values(), strict=True):
        found = to_structure(content)
        if "cif" not in layout:
            np.testing.assert_allclose(found.lattice.matrix, crystal.lattice.matrix, atol=1e-8)
            np.testing.assert_allclose(found.frac_coords, crystal.frac_coords, atol=1e-8)


def test_what_stands_beside_the_crystal_is_kept(tmp_path):
    for layout in ("split", "columns, n first", "records", "index"):
        (tmp_path / "x.json").write_text(json.dumps(LAYOUTS[layout]))
        assert [(name, record.meta["n"]) for name, record in read_records(tmp_path / "x.json")] == [("salt", 1.7), ("oxide", 1.7)]


@pytest.mark.parametrize("change, reason", [
    ({"dimension_types": [1, 1, 0]}, "periodic along"), ({"species": [{"name": "Na", "chemical_symbols": ["Na", "K"], "concentration": [0.5, 0.5]}]}, "disordered"),
    ({"species_at_sites": ["Na"]}, "1 elements"), ({"lattice_vectors": None}, "not a structure"),
])  # fmt: skip
def test_optimade_that_is_no_ordered_crystal_is_refused(change, reason):
    with pytest.raises(InvalidStructureError, match=reason):
        to_structure({"id": "x", "attributes": optimade(SALT, **change)})


def test_a_bad_record_is_listed_and_the_rest_goes_on(tmp_path):
    slab = Structure(Lattice(SALT.lattice.matrix, pbc=(True, True, False)), SALT.species, SALT.frac_coords).as_dict()
    (tmp_path / "x.json").write_text("\ufeff" + json.dumps([None, DICTS["salt"], {"id": "e", "structure": None}, 3, "a.cif", slab, {"id": "g", "cif": CIFS["oxide"]}]))
    found = formulas(tmp_path / "x.json")
    assert [k for k, v in found.items() if v in ("Na4Cl4", "Zr4O8")] == ["1", "g"]
    for name, position, word in (("0", 0, "found null"), ("e", 2, "no structure in it"), ("3", 3, "found 3"), ("4", 4, "a.cif"), ("5", 5, "periodic along")):
        assert found[name].startswith(f"{tmp_path / 'x.json'}, record {position}: ") and word in found[name]
    (tmp_path / "lines.ndjson").write_text("\ufeff" + json.dumps({"id": "a", "structure": DICTS["salt"]}) + "\nbroken\n\n" + json.dumps({"id": "b"}))
    found = formulas(tmp_path / "lines.ndjson")
    assert found["a"] == "Na4Cl4" and "line 2: broken" in found["line-2"] and "line 4: no structure" in found["b"]


def test_tables(tmp_path):
    for column, values in {"cif": CIFS, "structure": {k: json.dumps(d) for k, d in DICTS.items()}, "atoms": {k: repr(structure_to_dict(s)) for k, s in CRYSTALS.items()},
                           "poscar": {k: s.to(fmt="poscar") for k, s in CRYSTALS.items()}}.items():  # fmt: skip
        table = pd.DataFrame({"id": list(values), column: list(values.values()), "n": [1.5, np.nan]})
        table.to_csv(tmp_path / "x.csv")
        table.to_csv(tmp_path / "x.tsv.gz", sep="\t", index=False)
        table.to_parquet(tmp_path / "x.parquet")
        for name in ("x.csv", "x.tsv.gz", "x.parquet"):
            assert formulas(tmp_path / name) == {"salt": "Na4Cl4", "oxide": "Zr4O8"}
            assert [r.meta.get("n") for _, r in read_records(tmp_path / name)] == [1.5, None]
    (tmp_path / "bad.csv").write_text('id,cif\na,"data_x\n_cell_length_a ?\n"\nb,1,2\nc,"' + CIFS["salt"] + '"\n')
    found = formulas(tmp_path / "bad.csv")
    assert found["c"] == "Na4Cl4" and "bad.csv, row 0: _cell_length_a is unknown" in found["a"] and "row 1: 3 fields" in found["b"]
    (tmp_path / "none.csv").write_text("id,n\na,1\n")
    with pytest.raises(DataFileError, match="none called structure"):
        list(entries(tmp_path / "none.csv"))


def test_what_ase_reads(tmp_path):
    frames = [Atoms("MgO", cell=[[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]], positions=[[0, 0, 0], [2.1, 0, 0]], pbc=True), Atoms("CsCl", cell=[4.1] * 3, scaled_positions=[[0] * 3, [0.5] * 3], pbc=True)]
    for name in ("x.extxyz", "x.traj", "x.xyz"):
        write(tmp_path / name, frames, format=None if name != "x.xyz" else "extxyz")
        assert formulas(tmp_path / name) == {"0": "Mg1O1", "1": "Cs1Cl1"}
        assert read_structure(f"{tmp_path / name}#1").formula == "Cs1 Cl1"
        with pytest.raises(InvalidStructureError, match="several crystals"):
            read_structure(tmp_path / name)
    (tmp_path / "x.extxyz.gz").write_bytes(gzip.compress((tmp_path / "x.extxyz").read_bytes()))
    assert formulas(tmp_path / "x.extxyz.gz") == {"0": "Mg1O1", "1": "Cs1Cl1"}
    np.testing.assert_allclose(to_structure(frames[0]).cart_coords, frames[0].positions)
    frames[1].pbc = (True, True, False)
    with connect(tmp_path / "x.db") as database:
        for atoms in (Atoms("MgO", positions=[[0, 0, 0], [2.1, 0, 0]], pbc=True), *frames):
            database.write(atoms)
    found = list(formulas(tmp_path / "x.db").values())
    assert found[1] == "Mg1O1" and "x.db, row 1: no cell" in found[0] and "x.db, row 3: periodic along [True, True, False] only" in found[2]
    frames[1].pbc = True
    for name, kind in (("y.json", "json"), ("pw.in", "espresso-in"), ("geometry.in", "aims"), ("z.xsf", "xsf")):
        write(tmp_path / name, frames[1], format=kind, **({"pseudopotentials": {"Cs": "Cs.upf", "Cl": "Cl.upf"}} if kind == "espresso-in" else {}))
        assert list(formulas(tmp_path / name).values()) == ["Cs1Cl1"], name
    (tmp_path / "odd.log").write_text("no crystal\n" * 9)
    with pytest.raises(DataFileError, match=r"odd\.log: no kind of file"):
        list(entries(tmp_path / "odd.log"))
    (tmp_path / "plain.xyz").write_text("2\nwater without a cell\nO 0 0 0\nH 0 0 1\n")
    with pytest.raises(InvalidStructureError, match=r"plain\.xyz.*no cell"):
        read_structure(tmp_path / "plain.xyz")
    (tmp_path / "broken.extxyz").write_text((tmp_path / "x.extxyz").read_text() + "5\nnonsense\nX")
    found = formulas(tmp_path / "broken.extxyz")
    assert list(found.values())[:2] == ["Mg1O1", "Cs1Cl1"] and "ASE cannot read it" in found["2"]


@pytest.mark.parametrize("change", [
    lambda t: t, lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t.replace("1.0\n5.64 0 0\n0 5.64 0\n0 0 5.64", "5.64 5.64 5.64\n1 0 0\n0 1 0\n0 0 1"),
    lambda t: t.replace("1.0\n", "-179.406144\n"), lambda t: t.replace("Direct", "Selective dynamics\nDirect").replace("0 0 0\n", "0 0 0 T F T\n"),
    lambda t: t + "\nCartesian\n" + "0 0 0\n" * 8, lambda t: t.replace("Na Cl", "Na_pv Cl/4f2a"), lambda t: t.replace("salt", "Na Cl").replace("Na Cl\n4 4", "4 4"),
    lambda t: t.replace("Na Cl\n", "Na Cl Na Cl\n").replace("4 4", "2 2 2 2").replace("Direct\n0 0 0\n0.5 0.5 0\n0.5 0 0.5\n0 0.5 0.5\n0.5 0 0", "D\n0 0 0\n.5 .5 0\n.5 0 0\n0 .5 0\n.5 0 .5\n0 .5 .5").replace("0 .5 .5\n0 0.5 0\n", "0 .5 .5\n"),
    lambda t: t.replace("0.5 ", "5.0d-1 "), lambda t: t.replace("0 0 0\n", "0 0 0 Na\n"),
])  # fmt: skip
def test_poscar_as_vasp_has_it(tmp_path, change):
    (tmp_path / "POSCAR").write_text(change(POSCAR), newline="")
    found = read_structure(tmp_path / "POSCAR")
    assert found.formula == "Na4 Cl4" and found.volume == pytest.approx(5.64**3)
    assert found.distance_matrix[found.distance_matrix > 0.1].min() == pytest.approx(2.82)


@pytest.mark.parametrize("change, reason", [
    (lambda t: t.replace("Na Cl\n", ""), "elements are unknown"), (lambda t: t.replace("salt", "Na Cl O").replace("Na Cl\n4 4", "4 4"), "elements are unknown"),
    (lambda t: t.replace("0.5 0.5 0\n", "0,5 0,5 0\n"), "line 10 is '0,5 0,5 0'"), (lambda t: t.replace("4 4", "4 3"), "line 16 has one more position"), (lambda t: t.replace("4 4", "4 9"), r"POSCAR: not a readable POSCAR: 13 atoms announced in line 7, 8 positions$"), (lambda t: t.replace("4 4", "4 5") + "\n\n0 0 0\n", "9 atoms announced in line 7, 8 positions$"),
    (lambda t: t.replace("4 4", "4"), "do not fit"), (lambda t: t.replace("Na Cl", "Na Xx"), "'Xx' in line 6"), (lambda t: t.replace("1.0\n", "1.0 1.0\n"), "2 scale factors"),
    (lambda t: t.replace("1.0\n", "0\n"), "scale factor is 0"), (lambda t: t.replace("0 0 0\n", "0 0 0 Cl\n"), "atom 1 is Na by line 6 and Cl"), (lambda t: t.replace("5.64 0 0", "nan 0 0"), "line 3"),
    (lambda t: t[:60], "POSCAR"), (lambda t: "", "empty"), (lambda t: t.replace("0 0 0.5\n", "0 0 0.01\n"), "apart"),
])  # fmt: skip
def test_poscar_that_leaves_something_open_is_refused(tmp_path, change, reason):
    (tmp_path / "POSCAR").write_text(change(POSCAR))
    with pytest.raises(InvalidStructureError, match=reason) as error:
        read_structure(tmp_path / "POSCAR")
    assert str(tmp_path / "POSCAR") in str(error.value)


def test_packings_and_encodings(tmp_path):
    text = CIFS["oxide"] + "\n_publ_author_name 'M\xfcller'\n"
    for name, content in {
        "a.cif": text.encode("latin-1"), "b.cif": text.encode("utf-8-sig"), "c.cif": text.encode("utf-16"), "d.cif": text.encode("utf-16-le"), "e.cif": text.replace("\n", "\r\n").encode(),
        "f.cif": text.replace("\n", "\r").encode(), "g.cif.gz": gzip.compress(text.encode()), "h.cif.bz2": bz2.compress(text.encode()), "i.mcif.xz": lzma.compress(text.encode()),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        assert read_structure(tmp_path / name).formula == "Zr4 O8", name
    assert list(formulas(tmp_path)) == sorted(p.name for p in tmp_path.iterdir())
    (tmp_path / "cut.cif.gz").write_bytes(gzip.compress(text.encode())[:-30])
    (tmp_path / "binary.cif").write_bytes(bytes(range(256)) * 4)
    for name, reason in (("cut.cif.gz", "damaged compression"), ("binary.cif", "not a text file")):
        with pytest.raises(InvalidStructureError, match=reason):
            read_structure(tmp_path / name)


def test_several_blocks(tmp_path):
    broken = CIFS["salt"].replace("data_NaCl", "data_first").replace("_cell_length_a   5.64000000", "_cell_length_a ?")
    (tmp_path / "two.cif").write_text("data_global\n_publ_author_name 'x'\n" + broken + CIFS["oxide"])
    found = formulas(tmp_path)
    assert list(found) == ["two.cif#first", "two.cif#ZrO2"] and found["two.cif#ZrO2"] == "Zr4O8"
    assert found["two.cif#first"].startswith(f"{tmp_path / 'two.cif'}, block first: _cell_length_a")
    assert read_structure(f"{tmp_path / 'two.cif'}#ZrO2").formula == "Zr4 O8" == to_structure(f"{tmp_path / 'two.cif'}#ZrO2").formula
    with pytest.raises(InvalidStructureError, match=r"several crystals \(first, ZrO2\); name one: .*two\.cif#first"):
        read_structure(tmp_path / "two.cif")
    with pytest.raises(InvalidStructureError, match="no crystal called 'third'; it has 'first', 'ZrO2'"):
        read_structure(f"{tmp_path / 'two.cif'}#third")


def test_a_folder_lists_what_it_passes_over_and_empty_files_are_errors(tmp_path):
    for name, content in {"a.cif": CIFS["oxide"], "b/POSCAR": POSCAR, "notes.txt": "x", "c.json": "[]", "empty.cif": "", "blank.vasp": " \n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.warns(ReadWarning, match=r"2 files passed over.*: c\.json, notes\.txt"):
        found = formulas(tmp_path)
    assert found["a.cif"] == "Zr4O8" and found["b/POSCAR"] == "Na4Cl4" and all("empty" in found[name] for name in ("empty.cif", "blank.vasp"))
    with pytest.raises(DataFileError, match="no crystal in it"):
        list(entries(tmp_path / "c.json"))
    with pytest.raises(DataFileError, match="unknown kind"):
        list(entries(tmp_path / "notes.txt"))
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "x.json").write_text("[]")
    with pytest.raises(FileNotFoundError, match=r"its \.json files are sources of their own"):
        list(entries(tmp_path / "only"))


def test_one_error_with_file_record_and_reason(tmp_path):
    (tmp_path / "x.json").write_text("[null]")
    [(_, error)] = entries(tmp_path / "x.json")
    assert isinstance(error, ReadError) and isinstance(error, ValueError) and issubclass(InvalidStructureError, ReadError) and issubclass(DataFileError, ReadError)
    assert (error.file, error.record) == (str(tmp_path / "x.json"), "record 0") and "found null" in error.reason
    assert str(error) == f"{tmp_path / 'x.json'}, record 0: {error.reason}"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.file) == (type(error), str(error), error.file)
    for wrong in (3, object(), {"a": 1}, "", "neither\nthis", Atoms("H")):
        with pytest.raises(ReadError):
            to_structure(wrong)


def test_far_atoms_and_huge_cells_take_no_memory():
    far = SALT.frac_coords + np.array([[900.0, -900, 900], *[[0.0, 0, 0]] * 7])
    assert to_structure(Structure(SALT.lattice, SALT.species, far)).formula == "Na4 Cl4"
    with pytest.raises(InvalidStructureError, match="check the unit of length"):
        to_structure(Structure(Lattice.cubic(5.64e14), SALT.species, SALT.frac_coords))
    with pytest.raises(InvalidStructureError, match="check the unit of length"):
        to_structure(Structure(Lattice.cubic(900), SALT.species, SALT.frac_coords))


def test_what_waits_to_be_read_goes_to_other_processes(tmp_path):
    (tmp_path / "two.cif").write_text(CIFS["salt"] + CIFS["oxide"])
    (tmp_path / "x.json").write_text(json.dumps(LAYOUTS["jarvis"]))
    for source in (tmp_path / "two.cif", tmp_path / "x.json"):
        for _, content in entries(source):
            assert to_structure(pickle.loads(pickle.dumps(content))) == to_structure(content)


def test_texts_say_what_they_are():
    for text in (CIFS["oxide"], json.dumps(DICTS["oxide"]), OXIDE.to(fmt="poscar"), repr(structure_to_dict(OXIDE))):
        assert from_text(text).formula == "Zr4 O8"


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_or_refused(tmp_path):
    refused = 0
    for name, content in mutants(150, seed=3):
        (tmp_path / name).write_bytes(content)
        try:
            for _, entry in entries(tmp_path / name):
                try:
                    to_structure(entry)
                except ReadError:
                    refused += 1
        except ReadError:
            refused += 1
    assert 50 < refused < 400


@pytest.mark.parametrize(("reason", "file", "record", "said"), [
    ("not a readable POSCAR: line 5", "POSCAR", "", "POSCAR: not a readable POSCAR: line 5"), ("line 12 of it", "a", "line 1", "a, line 1: line 12 of it"),
    ("a.cif: no sites", "a.cif", "", "a.cif: no sites"), ("a.json, record 0: no sites", "a.json", "record 0", "a.json, record 0: no sites"), ("a.json: no sites", "a.json", "record 0", "a.json, record 0: no sites"),
    ("record 0 (mp-1): no sites", "a.json", "record 0", "a.json, record 0 (mp-1): no sites"), ("record 0: no sites", "", "record 0", "record 0: no sites"), ("no sites", "", "", "no sites"),
])  # fmt: skip
def test_a_message_names_file_and_record_once(reason, file, record, said):
    """Also where a file is called like a word of the reason."""
    assert str(ReadError(reason, file, record)) == said == str(ReadError(reason).at(file, record))


def test_messages_of_single_files_name_what_is_there(tmp_path, monkeypatch):
    """By a path as people give it: relative, in the working folder."""
    monkeypatch.chdir(tmp_path)
    files = {"POSCAR": POSCAR.replace("0 0 5.64", "broken"), "empty.cif": "", "one.cif": CIFS["oxide"], "cut.json": "[1, 2", "cut.jsonl": "{\n", "columns.csv": "id,n\na,1\n", "mixed/a.cif": CIFS["oxide"]}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)

    def said(name: str) -> str:
        with pytest.raises((ReadError, OSError)) as error:
            read_structure(name)
        return str(error.value)

    assert said("POSCAR").startswith("POSCAR: not a readable POSCAR: line 5 is 'broken'")
    assert said("empty.cif") == "empty.cif: the file is empty; export it again"
    assert said("one.cif#Foo") == "one.cif: no crystal called 'Foo'; it has 'ZrO2'" and read_structure("one.cif#ZrO2").formula == "Zr4 O8"
    assert said("mixed").startswith("mixed is a folder") and "read_records" in said("mixed") and said("absent.cif") == "absent.cif: no such file"
    for name in ("cut.json", "cut.jsonl", "columns.csv"):
        assert said(name).startswith((f"{name}: ", f"{name}, line 1: ")) and said(name).count(name) == 1
    with pytest.raises(InvalidStructureError) as error:
        as_structures(["one.cif", "empty.cif"])
    assert str(error.value) == "crystal 1 (empty.cif): the file is empty; export it again"


def test_a_note_of_a_reader_is_one_line(tmp_path):
    """Python looks for the source of a warning on its path, where a file may be called like the kit."""
    (tmp_path / "dtnet").write_text("a stray line\n")
    code = "from dtnet_core.base.reading import say; say(['2 files passed over'], 'mixed')"
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"], capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("ReadWarning: mixed: 2 files passed over\n")
