"""Loading, validating, cleaning and splitting records."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.base.files import DataFileError, read_json, write_atomic
from dtnet_core.crystals import frames, structures
from dtnet_core.crystals.record import TARGETS, Record, functional_kind, record_from_dict, record_to_dict
from dtnet_core.crystals.sources import read_structure
from dtnet_core.crystals.structures import (
    InvalidStructureError,
    crystal_key,
    crystal_systems,
    structure_from_dict,
    structure_to_dict,
    validate_structure,
)
from dtnet_core.data import cleaning, splits
from dtnet_core.data import loading as data
from dtnet_core.data.cleaning import REFUSED_FLAGS, SUPPORTED_ELEMENTS, clean
from dtnet_core.data.loading import data_sha256, load_records, resolve_data_dir, save_records

FULL = os.environ.get("DTNET_DATA_DIR")
needs_full = pytest.mark.skipif(not FULL, reason="DTNET_DATA_DIR is not set")


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def turned(structure: Structure, q: np.ndarray) -> Structure:
    """The crystal rotated in space: x -> q x."""
    return Structure(structure.lattice.matrix @ q.T, structure.species, structure.frac_coords)


def rutile() -> Structure:
    x = 0.305
    return Structure(
        Lattice.tetragonal(4.6, 2.96),
        ["Ti", "Ti", "O", "O", "O", "O"],
        [
            [0, 0, 0],
            [0.5, 0.5, 0.5],
            [x, x, 0],
            [-x, -x, 0],
            [0.5 + x, 0.5 - x, 0.5],
            [0.5 - x, 0.5 + x, 0.5],
        ],
    )


def rocksalt(a: float = 4.21, species: tuple[str, str] = ("Mg", "O")) -> Structure:
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, species, [[0, 0, 0], [0.5, 0.5, 0.5]])


def record(structure: Structure, electronic, ionic, name: str = "x", **fields) -> Record:
    electronic, ionic = (np.diag(t) if np.ndim(t) == 1 else np.array(t) for t in (electronic, ionic))
    formula = structure.composition.reduced_formula
    return Record(name, structure, formula, electronic, ionic, electronic + ionic, **fields)


def rutile_record(name: str = "rutile", **fields) -> Record:
    return record(rutile(), [7.0, 7.0, 8.5], [60.0, 60.0, 80.0], name, **fields)


# --- structures


def test_valid_structures_pass_and_come_back():
    crystal = rutile()
    assert validate_structure(crystal, elements=SUPPORTED_ELEMENTS) is crystal
    validate_structure(Structure(Lattice.cubic(3.0), ["Po"], [[0, 0, 0]]))  # any element without a list


@pytest.mark.parametrize(
    ("structure", "options", "words"),
    [
        (Structure(Lattice.cubic(4), [], []), {}, ["no sites"]),
        (Structure(Lattice.cubic(4), ["H"], [[np.nan, 0, 0]]), {}, ["site 0", "nan", "correct"]),
        (Structure(Lattice.cubic(4), ["H", "H"], [[0, 0, 0], [0, np.inf, 0]]), {}, ["site 1", "inf"]),
        (Structure(Lattice([[1, 0, 0], [0, 1, 0], [1, 1, 0]]), ["H"], [[0, 0, 0]]), {}, ["zero volume"]),
        (
            Structure(Lattice.cubic(4), [{"Fe": 0.5, "Co": 0.5}], [[0, 0, 0]]),
            {},
            ["partially occupied", "Fe"],
        ),
        (Structure(Lattice.cubic(4), [{"Fe": 0.9}], [[0, 0, 0]]), {}, ["partially occupied"]),
        (rocksalt(species=("Mg", "Po")), {"elements": {"Mg", "O"}}, ["site 1", "Po", "not among the 2"]),
        (Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.1, 0, 0]]), {}, ["0.4000", "0.5 angstrom"]),
        (Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0.01], [0, 0, 0.99]]), {}, ["0.0800", "Na", "Cl"]),
        (Structure(Lattice.orthorhombic(0.4, 5, 5), ["Na"], [[0, 0, 0]]), {}, ["0.4000", "site 0"]),
        (rutile(), {"max_atoms": 5}, ["6 atoms", "max_atoms=5"]),
    ],
)
def test_invalid_structures_are_refused_with_the_offending_value(structure, options, words):
    with pytest.raises(InvalidStructureError) as error:
        validate_structure(structure, name="my-crystal", **options)
    assert str(error.value).startswith("my-crystal")
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(("suffix", "fmt"), [("a.cif", "cif"), ("POSCAR", "poscar"), ("b.vasp", "poscar")])
def test_read_structure_reads_what_pymatgen_wrote(tmp_path, suffix, fmt):
    path = tmp_path / suffix
    path.write_text(rutile().to(fmt=fmt))
    read = read_structure(path)
    assert len(read) == 6 and read.composition == rutile().composition
    assert np.allclose(np.sort(read.lattice.abc), np.sort(rutile().lattice.abc), atol=1e-5)


def test_read_structure_reads_json_in_the_frame_it_was_written(tmp_path):
    crystal = turned(rutile(), rotation(0))
    (tmp_path / "a.json").write_text(json.dumps(structure_to_dict(crystal)))
    (tmp_path / "b.json").write_text(json.dumps(crystal.as_dict()))
    for name in ("a.json", "b.json"):
        assert np.allclose(
            read_structure(tmp_path / name).lattice.matrix, crystal.lattice.matrix, atol=1e-7
        )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.cif", ""),
        ("blank.cif", "  \n\n"),
        ("words.cif", "this is not a crystal"),
        ("cut.cif", "data_x\n_cell_length_a 4.0\n_cell_length_b"),
        ("POSCAR", "comment\n1.0\n1 0 0\n"),
        ("broken.json", '{"lattice": [[1, 0'),
        ("keys.json", '{"cell": [4, 4, 4, 90, 90, 90], "species": ["H"]}'),
        ("crystal.xyz", "1\n\nH 0 0 0"),
    ],
)
def test_read_structure_names_a_broken_file(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InvalidStructureError, match=name):
        read_structure(path)


def test_read_structure_refuses_bad_content_by_name(tmp_path):
    (tmp_path / "half.cif").write_text(Structure(Lattice.cubic(4), [{"Fe": 0.5}], [[0, 0, 0]]).to(fmt="cif"))
    with pytest.raises(InvalidStructureError, match=r"half\.cif.*partially occupied"):
        read_structure(tmp_path / "half.cif")
    nan = rocksalt().to(fmt="poscar").replace("0.5000000000000000", "nan", 1).replace("0.5 ", "nan ", 1)
    assert "nan" in nan
    (tmp_path / "nan.vasp").write_text(nan)
    with pytest.raises(InvalidStructureError, match=r"nan\.vasp"):
        read_structure(tmp_path / "nan.vasp")
    with pytest.raises(FileNotFoundError, match=r"none.cif"):
        read_structure(tmp_path / "none.cif")


def test_crystal_key_is_the_content():
    crystal = rutile()
    key = crystal_key(crystal)
    assert key == crystal_key(crystal.copy()) and len(key) == 64
    again = structure_from_dict(json.loads(json.dumps(structure_to_dict(crystal))))
    assert crystal_key(again) == key
    assert crystal_key(crystal.copy().add_oxidation_state_by_element({"Ti": 4, "O": -2})) == key
    others = [turned(crystal, rotation(1)), crystal * (1, 1, 2), Structure.from_sites(crystal[::-1])]
    moved = crystal.copy()
    moved.translate_sites([0], [1e-6, 0, 0])
    swapped = crystal.copy()
    swapped.replace(0, "Zr")
    keys = {crystal_key(s) for s in (*others, moved, swapped)} | {key}
    assert len(keys) == 6
    zero = Structure(Lattice.cubic(3), ["H"], [[-0.0, 0.0, 0.0]])
    assert crystal_key(zero) == crystal_key(Structure(Lattice.cubic(3), ["H"], [[0.0, 0.0, 0.0]]))


def test_crystal_systems_are_computed_once_and_stored(tmp_path, monkeypatch):
    crystals = [rocksalt(a=4.2173), turned(rutile(), rotation(5)), rocksalt(a=4.2173)]
    cache = tmp_path / "systems.json"
    assert crystal_systems(crystals, cache=cache) == ["cubic", "tetragonal", "cubic"]
    assert len(json.loads(cache.read_text())) == 2
    monkeypatch.setattr(structures, "_SYSTEMS", {})
    monkeypatch.setattr(structures, "crystal_system", lambda *a: pytest.fail("was stored"))
    assert crystal_systems(crystals, cache=cache) == ["cubic", "tetragonal", "cubic"]


def test_write_atomic_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_atomic(path, b"old")
    monkeypatch.setattr(structures.os, "fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


# --- files


def test_records_survive_the_file(tmp_path):
    records = [
        rutile_record(mp_id="mp-2657", functional="PBE", code="VASP", flags=("soft-mode",), meta={"gap": 2})
    ]
    records.append(replace(records[0], id="b", eps_ionic=None, eps_total=None, symmetry_violation=0.25))
    save_records(records, tmp_path / "mp_tensors.json.gz")
    loaded = load_records("full", data_dir=tmp_path)
    for a, b in zip(records, loaded, strict=True):
        assert (a.id, a.mp_id, a.formula, a.flags, a.functional, a.code, a.symmetry_violation) == (
            b.id, b.mp_id, b.formula, b.flags, b.functional, b.code, b.symmetry_violation,
        )  # fmt: skip
        assert crystal_key(a.structure) == crystal_key(b.structure)
        for target in TARGETS:
            assert (a.tensor(target) is None) == (b.tensor(target) is None)
            if a.tensor(target) is not None:
                assert np.array_equal(a.tensor(target), b.tensor(target))
    assert loaded[0].meta == {"gap": 2, "file": "mp_tensors.json.gz"}
    assert data_sha256(records) == data_sha256(loaded[::-1])
    with pytest.raises(ValueError, match="read-only"):
        loaded[0].eps_total[0, 0] = 1.0
    with pytest.raises(ValueError, match="'ions'"):
        loaded[0].tensor("ions")


def test_data_sha256_sees_every_change(tmp_path):
    base = rutile_record()
    other = base.eps_total.copy()
    other[0, 0] = np.nextafter(other[0, 0], 0)
    variants = [base, replace(base, eps_total=other), replace(base, id="y"), replace(base, eps_ionic=None)]
    variants.append(replace(base, structure=turned(base.structure, rotation(2))))
    assert len({data_sha256([r]) for r in variants}) == len(variants)
    for level in (1, 9):  # the compression does not matter
        (tmp_path / f"{level}.json.gz").write_bytes(gzip.compress(b"[1]", level, mtime=level))
    assert data_sha256(tmp_path / "1.json.gz") == data_sha256(tmp_path / "9.json.gz")


def test_missing_data_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("DTNET_DATA_DIR", raising=False)
    with pytest.raises(FileNotFoundError, match=r"DTNET_DATA_DIR.*not set"):
        load_records("full")
    monkeypatch.setenv("DTNET_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; correct DTNET_DATA_DIR"):
        load_records("full")
    monkeypatch.setenv("DTNET_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"mp_tensors.json.gz is not in.*DTNET_DATA_DIR"):
        load_records("full")
    with pytest.raises(ValueError, match="'huge'"):
        load_records("huge")
    save_records([rutile_record()], tmp_path / "data" / "mp_tensors.json.gz")  # the parent is enough
    assert [r.id for r in load_records("full")] == ["rutile"]
    assert resolve_data_dir("mini") == data.Path(data.__file__).parents[2] / "data"


def good_file(path) -> bytes:
    save_records([rutile_record(str(i)) for i in range(20)], path)
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip", "cut json", "not a list"])
def test_damaged_files_are_named(tmp_path, damage):
    path = tmp_path / "mp_tensors.json.gz"
    content = good_file(path)
    broken = {
        "cut": content[: len(content) // 2],
        "flipped": content[:-12] + bytes(b ^ 255 for b in content[-12:]),
        "not gzip": b"<html>404</html>",
        "cut json": gzip.compress(b'[{"id": "a", "struc'),
        "not a list": gzip.compress(b'{"id": "a"}'),
    }[damage]
    path.write_bytes(broken)
    with pytest.raises(DataFileError, match=r"mp_tensors.json.gz"):
        load_records("full", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"structure": None}, "no structure"),
        (
            {"structure": {"lattice": [[1, 0, 0]], "species": ["H"], "frac_coords": [[0, 0, 0]]}},
            "not a structure",
        ),
        ({"eps_total": [[1, 2], [3, 4]]}, r"eps_total has shape \(2, 2\)"),
        ({"eps_total": "large"}, "eps_total is not numeric"),
        (
            {"structure": {"cell": [4, 4, 4, 90, 90, 90], "species": ["H"], "frac_coords": [[0, 0, 0]]}},
            "no common",
        ),
    ],
)
def test_bad_records_are_named(change, words):
    item = {**record_to_dict(rutile_record("mp-7")), **change}
    with pytest.raises(DataFileError, match=rf"set\.json\.gz, record 4 \(mp-7\).*{words}"):
        record_from_dict(item, "set.json.gz", 4)


# --- frame check and cleaning


def test_supported_elements_are_those_of_the_encoder():
    encoder = pytest.importorskip("dtnet_core.potentials.registry").load_encoder("7net-0")
    assert encoder.elements == SUPPORTED_ELEMENTS and len(SUPPORTED_ELEMENTS) == 89


@pytest.mark.parametrize("seed", range(3))
def test_violation_does_not_depend_on_the_frame(seed):
    q, good = rotation(seed), rutile_record()
    off = np.zeros((3, 3))
    off[0, 2] = off[2, 0] = 4.0
    bad = record(good.structure, good.eps_electronic, good.eps_ionic + off)
    for r in (good, bad):
        moved = record(turned(r.structure, q), q @ r.eps_electronic @ q.T, q @ r.eps_ionic @ q.T)
        a, b = frames.tensor_violations(r), frames.tensor_violations(moved)
        assert a.keys() == b.keys() == {"electronic", "total"}
        assert a["electronic"] < 1e-9 and b["electronic"] < 1e-6
    assert frames.tensor_violations(good)["total"] < 1e-9
    assert frames.tensor_violations(bad)["total"] == pytest.approx(
        2 * 4.0 / 88.5
    )  # xz changes sign: twice itself


def test_supercell_does_not_hide_the_point_group():
    tensor = np.diag([10.0, 10.0, 12.0])
    long = record(rocksalt().to_conventional() * (1, 1, 3), tensor, np.zeros((3, 3)))  # tetragonal cell
    assert frames.tensor_violations(long, primitive=False)["total"] < 1e-9
    assert frames.tensor_violations(long)["total"] == pytest.approx(2 / 12, rel=1e-4)


def test_clean_keeps_in_order_and_reports_every_drop():
    nan = np.full((3, 3), np.nan)
    cases = {
        "good": rutile_record(),
        "high": record(rutile(), [7, 7, 8.5], [60, 60, 92]),
        "low": record(rutile(), [7, 7, 8.5], [60, 60, -19]),
        "edge": record(rutile(), [10, 10, 10], [90, 90, -20]),  # exactly 100 and -10 stay
        "nan": record(rutile(), nan, [1, 1, 1]),
        "element": record(rocksalt(species=("Po", "O")), [4, 4, 4], [1, 1, 1]),
        "close": record(
            Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.05, 0, 0]]), [2, 2, 2], [1, 1, 1]
        ),
        "sum": replace(rutile_record(), eps_total=np.diag([67.0, 67.0, 95.0])),
        "none": replace(rutile_record(), eps_total=None),
        "metal": rutile_record(flags=("small-gap",)),
        "doubt": rutile_record(flags=("frame_reconstructed",)),
    }
    records = [replace(r, id=name, meta={"file": "set.json.gz"}) for name, r in cases.items()]
    kept, report = clean([*records, records[0]])
    assert [r.id for r in kept] == ["good", "edge", "doubt"]
    assert {f.id: f.reason for f in report.dropped[:-1]} == {
        "high": "outside window", "low": "outside window", "nan": "not finite",
        "element": "unsupported element", "close": "invalid structure",
        "sum": "inconsistent tensors", "none": "missing tensor",
        "metal": "quality flag",
    }  # fmt: skip
    assert (report.dropped[-1].id, report.dropped[-1].reason) == ("good", "duplicate id")
    assert report.n_input == 12 and report.n_kept == 3 and report.n_kept + sum(report.counts().values()) == 12
    table = report.table().set_index("id")
    assert list(table.columns) == ["formula", "file", "reason", "detail", "value"] and len(table) == 9
    assert table.loc["high", "detail"] == "elements from 0 to 100.5" and table.loc["high", "value"] == 100.5
    assert table.loc["low", "value"] == -10.5
    assert "0.2000 angstrom" in table.loc["close", "detail"] and set(table.file) == {"set.json.gz"}
    assert report.flag_counts() == {"frame_reconstructed": 1}
    assert kept[2].flags == ("frame_reconstructed",)
    assert "3 of 12 records kept" in str(report) and json.loads(json.dumps(report.to_dict()))["n_kept"] == 3


def test_clean_window_and_elements_are_parameters():
    records = [rutile_record("a"), record(rocksalt(), [3, 3, 3], [7, 7, 7], "b")]
    assert [r.id for r in clean(records, high=50)[0]] == ["b"]
    assert [r.id for r in clean(records, elements={"Ti", "O"})[0]] == ["a"]
    polonium = record(rocksalt(species=("Po", "O")), [4, 4, 4], [1, 1, 1])
    assert len(clean([polonium], elements=None)[0]) == 1


@pytest.mark.parametrize(("size", "flagged"), [(0.2, False), (2.0, True)])
def test_clean_flags_or_refuses_what_violates_the_point_group(size, flagged):
    off = np.diag([size, -size, 0.0])  # x and y must be equal in rutile
    r = record(rutile(), [7, 7, 8.5], np.diag([60.0, 60, 80]) + off)
    kept, report = clean([r])
    expected = 2 * size / 88.5
    assert kept[0].symmetry_violation == pytest.approx(expected)
    assert kept[0].flags == (("symmetry_violation",) if flagged else ())
    assert report.flag_counts() == ({"symmetry_violation": 1} if flagged else {})
    kept, report = clean([r], policy="refuse")
    assert len(kept) == (not flagged) and report.counts() == ({"symmetry violation": 1} if flagged else {})
    with pytest.raises(ValueError, match="'ignore'"):
        clean([r], policy="ignore")


def test_clean_drops_a_tensor_given_in_another_frame():
    good, q = rutile_record(), rotation(3)
    wrong = record(good.structure, q @ good.eps_electronic @ q.T, q @ good.eps_ionic @ q.T)
    _, report = clean([wrong])
    assert report.counts() == {"rotated frame": 1} and "eigenvalues fit" in report.dropped[0].detail
    together = record(turned(good.structure, q), q @ good.eps_electronic @ q.T, q @ good.eps_ionic @ q.T)
    assert clean([together])[1].counts() == {}
    noisy = record(rutile(), [7, 7, 8.5], np.diag([60.0, 60, 80]) + np.diag([9.0, -9.0, 0]))  # not a rotation
    assert clean([noisy])[1].flag_counts() == {"symmetry_violation": 1}


@pytest.mark.parametrize("strain", [0.02, 0.03])
def test_a_sheared_crystal_keeps_its_tensor_and_a_rounded_one_its_symmetry(strain):
    """Small cells: at 0.05 angstrom, a rock salt sheared by percents would pass for one that is not."""
    shear = strain * np.array([[2 / 3, 1, -2 / 3], [1, -1, 1 / 2], [-2 / 3, 1 / 2, 1 / 3]])
    plain = Structure(Lattice([[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]]), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    sheared = Structure(plain.lattice.matrix @ (np.eye(3) + shear), plain.species, plain.frac_coords)
    tensor = 10 * (np.eye(3) - 8 * shear)  # soft modes make much of a little strain
    kept, report = clean([record(sheared, 3 * (np.eye(3) - shear), tensor)])
    assert len(kept) == 1 and kept[0].flags == () and kept[0].symmetry_violation < 1e-6 and not report.counts()
    assert clean([record(plain, 3 * np.eye(3), tensor)])[1].flag_counts() == {"symmetry_violation": 1}
    rounded = Structure(plain.lattice, plain.species, [[0, 0, 0], [0.497, 0.502, 0.501]])
    assert clean([record(rounded, 3 * np.eye(3), tensor)])[1].flag_counts() == {"symmetry_violation": 1}


def test_clean_flags_asymmetric_tensors():
    skew = np.zeros((3, 3))
    skew[0, 1] = 0.2
    kept, _ = clean([record(rutile(), np.diag([7.0, 7, 8.5]) + skew, [60, 60, 80])])
    assert "asymmetric" in kept[0].flags


EDGES = {  # what is changed in rutile's tensors (electronic, ionic, total), and what that is called on either side of the limit
    "above the window": (lambda x: [np.diag([7.0, 7, 8]), np.diag([60.0, 60, x - 8]), np.diag([67.0, 67, x])], 100.0, 100.01, "outside window"),
    "below the window": (lambda x: [np.diag([7.0, 7, 8]), np.diag([60.0, 60, x - 8]), np.diag([67.0, 67, x])], -10.0, -10.01, "outside window"),
    "sum too large": (lambda x: [np.diag([7.0, 7, 8]), np.diag([60.0, 60, 72]), np.diag([67.0, 67, 80 + x])], 0.80, 0.82, "inconsistent tensors"),
    "sum too small": (lambda x: [np.diag([7.0, 7, 8]), np.diag([60.0, 60, 72]), np.diag([67.0, 67, 80 - x])], 0.79, 0.81, "inconsistent tensors"),
    "sum of negatives": (lambda x: [np.diag([1.0, 1, 2]), np.diag([-9.0, -9, 0]), np.diag([-8.0, -8, 2 + x])], 0.07, 0.09, "inconsistent tensors"),
    "skew": (lambda x: [np.diag([7.0, 7, 8]) + x * np.eye(3, k=1) / 2 - x * np.eye(3, k=-1) / 2, np.zeros((3, 3)), np.diag([7.0, 7, 8])], 0.0, 0.082, "asymmetric"),
    "total skew": (lambda x: [np.diag([7.0, 7, 8]), x * np.eye(3, k=2), np.diag([7.0, 7, 8]) + x * np.eye(3, k=2)], 0.0, 0.082, "asymmetric"),
    "symmetry": (lambda x: [np.diag([7.0, 7, 8]), np.diag([x, 0, 0]), np.diag([7.0 + x, 7, 8])], 0.079, 0.081, "symmetry_violation"),
}  # fmt: skip


@pytest.mark.parametrize("case", EDGES)
def test_limits_of_the_cleaning_to_the_digit(case):
    """A hundredth of the largest element in each case but the window's."""
    make, kept, refused, reason = EDGES[case]
    for x, found in ((kept, {}), (refused, {reason: 1})):
        r = replace(rutile_record(), **dict(zip(("eps_electronic", "eps_ionic", "eps_total"), make(x), strict=True)))
        records, report = clean([r])
        told = report.counts() | {k: v for k, v in report.flag_counts().items() if k == reason}
        assert told == found and len(records) == (reason not in report.counts())


def test_limits_of_the_cleaning_can_be_moved():
    mismatch = replace(rutile_record(), eps_total=np.diag([67.0, 67.0, 92.0]))
    skew = replace(rutile_record(), eps_electronic=np.diag([7.0, 7, 8.5]) + 0.2 * np.eye(3, k=1))
    skew = replace(skew, eps_total=skew.eps_electronic + skew.eps_ionic)
    off = record(rutile(), [7, 7, 8.5], np.diag([62.0, 58, 80]))
    assert clean([mismatch])[1].counts() == {"inconsistent tensors": 1} and clean([mismatch], max_mismatch=0.04)[1].counts() == {}
    assert clean([skew])[1].flag_counts()["asymmetric"] == 1 and "asymmetric" not in clean([skew], max_asymmetry=0.03)[1].flag_counts()
    assert clean([off])[1].flag_counts() == {"symmetry_violation": 1} and clean([off], max_violation=0.05)[1].flag_counts() == {}
    assert clean([rutile_record()], low=1.0)[1].counts() == {"outside window": 1} and clean([rutile_record()], high=88.4)[1].counts() == {"outside window": 1}
    assert clean([rutile_record(flags=("metal",))], refuse_flags=())[1].counts() == {}
    assert clean([rutile_record(), rutile_record()], policy="refuse")[1].settings == {
        "window": [-10.0, 100.0], "policy": "refuse", "max_violation": 0.01, "symprec": 0.05, "require": ["total"], "refuse_flags": sorted(REFUSED_FLAGS),
        "max_mismatch": 0.01, "max_asymmetry": 0.01, "elements": 89}  # fmt: skip
    assert clean([], elements=None, require=("total", "electronic"))[1].settings["elements"] is None


def test_a_record_without_total_is_judged_by_what_it_has():
    """The window then is that of the electronic tensor; a missing tensor that is asked for is named, the first of several reasons told."""
    electronic = replace(rutile_record(), eps_ionic=None, eps_total=None)
    assert [r.id for r in clean([electronic], require=("electronic",))[0]] == ["rutile"]
    kept, report = clean([replace(electronic, eps_electronic=np.diag([101.0, 101, 120]))], require=("electronic",))
    assert not kept and report.dropped[0].value == 120 and report.dropped[0].detail == "elements from 0 to 120"
    kept, report = clean([electronic], require=("total", "ionic", "electronic"))
    assert report.dropped[0].detail == "total, ionic" and report.dropped[0].reason == "missing tensor"
    below = replace(electronic, eps_electronic=np.diag([-11.0, -11, 20]))
    assert clean([below], require=("electronic",))[1].dropped[0].value == -11
    both = replace(electronic, eps_electronic=np.diag([-11.0, -11, 120]))
    assert clean([both], require=("electronic",))[1].dropped[0].value == 120  # above the window is told first
    flagged = rutile_record(flags=("unphysical", "metal", "odd"))
    assert clean([flagged])[1].dropped[0].detail == "metal, unphysical"
    strange = record(rocksalt(species=("Po", "At")), [4, 4, 4], [1, 1, 1])
    assert clean([replace(strange, functional="HSE06", flags=("metal",))])[1].dropped[0].detail == "At, Po"
    assert clean([replace(rutile_record(), functional="HSE06", flags=("metal",))])[1].counts() == {"other functional": 1}
    zero = record(rutile(), [0, 0, 0], [0, 0, 0])
    assert clean([zero])[1].counts() == clean([zero])[1].flag_counts() == {}


def test_reports_put_the_worst_first(monkeypatch):
    """Flags of the file keep their place before new ones, none twice; a symmetry that cannot be found is a flag, or a reason."""
    records = [rutile_record("a", flags=("doubt", "symmetry_violation"), meta={"file": "one.json"})]
    records += [record(rutile(), [7, 7, 8.5], np.diag([60.0 + x, 60 - x, 80]), n) for n, x in (("b", 1.0), ("c", 3.0), ("d", 2.0))]
    kept, report = clean(records)
    assert [r.flags for r in kept] == [("doubt", "symmetry_violation"), *[("symmetry_violation",)] * 3]
    table = report.flag_table()
    assert table.id.tolist() == ["c", "d", "b", "a", "a"] and table.value[0] == pytest.approx(6 / 88.5)
    assert report.flag_counts() == {"symmetry_violation": 4, "doubt": 1} and list(report.flag_counts()) == ["symmetry_violation", "doubt"]
    assert set(table[table.id == "a"].detail) == {"set in the file"} and set(table[table.id == "a"].file) == {"one.json"}
    assert [r.symmetry_violation for r in kept] == pytest.approx([0, 2 / 88.5, 6 / 88.5, 4 / 88.5], abs=1e-9)
    assert "total tensor off its point group by 0.0678" in table.detail[0]
    lines = str(report).splitlines()
    assert lines == ["4 of 4 records kept", "  flagged     4  symmetry_violation", "  flagged     1  doubt"]
    many = clean([replace(r, eps_total=None) for r in records] + [rutile_record("x", flags=("metal",)), records[0]])[1]
    assert list(many.counts()) == ["missing tensor", "quality flag", "duplicate id"] and str(many).splitlines()[1] == "  dropped     4  missing tensor"
    worse = record(rutile(), np.diag([7.5, 6.5, 8.5]), np.diag([60.0, 61, 80]), "e")  # of the electronic tensor 1 in 8.5, of the total none
    assert "electronic tensor off" in clean([worse])[1].flagged[0].detail

    def blind(record):
        raise ValueError("no symmetry found")

    monkeypatch.setattr(cleaning, "tensor_violations", blind)
    kept, report = clean([rutile_record()])
    assert kept[0].flags == ("symmetry_unknown",) and report.flagged[0].detail == "no symmetry found"
    assert clean([rutile_record()], policy="refuse")[1].counts() == {"symmetry unknown": 1}


# --- splits


def test_split_by_record_is_a_partition_and_ignores_the_order():
    ids = [f"mp-{i}" for i in range(2591)]
    parts = splits.split_by_record(ids, seed=0)
    assert [len(parts[p]) for p in splits.PARTS] == [2073, 259, 259]
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(2591))
    backwards = splits.split_by_record(ids[::-1], seed=0)
    for part in splits.PARTS:
        assert [ids[i] for i in parts[part]] == [ids[::-1][i] for i in backwards[part]]
    tests = [set(splits.split_by_record(ids, seed)["test"]) for seed in range(5)]
    assert all(len(a & b) < 80 for k, a in enumerate(tests) for b in tests[:k])


def test_split_by_record_is_the_same_everywhere():
    parts = splits.split_by_record([f"mp-{i}" for i in range(20)], seed=0)
    assert parts["test"].tolist() == [12, 9] and parts["val"].tolist() == [14, 10]
    assert parts["train"][:5].tolist() == [3, 6, 11, 19, 18]


@pytest.mark.parametrize("n", [3, 4, 9, 25])
def test_split_of_few_records_leaves_no_set_empty(n):
    parts = splits.split_by_record([str(i) for i in range(n)], seed=1)
    assert min(len(p) for p in parts.values()) >= 1 and sum(len(p) for p in parts.values()) == n


def test_split_by_record_refuses_bad_input():
    with pytest.raises(ValueError, match="'a' appears more than once"):
        splits.split_by_record(["a", "b", "a", "c"], 0)
    with pytest.raises(ValueError, match="2 items"):
        splits.split_by_record(["a", "b"], 0)
    with pytest.raises(ValueError, match="add up to 1"):
        splits.split_by_record(["a", "b", "c"], 0, (0.8, 0.1, 0.2))


@pytest.mark.parametrize("seed", range(5))
def test_split_by_group_never_divides_a_group(seed):
    rng = np.random.default_rng(99)
    crystal = rocksalt()
    records = [Record(f"r{i}", crystal, f"F{g}") for i, g in enumerate(rng.geometric(0.02, size=600))]
    parts = splits.split_by_group(records, seed)
    groups = {part: {records[i].formula for i in index} for part, index in parts.items()}
    assert not (
        groups["train"] & groups["test"] or groups["train"] & groups["val"] or groups["val"] & groups["test"]
    )
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(600))
    largest = max(sum(r.formula == f for r in records) for f in {r.formula for r in records})
    for part in ("val", "test"):
        assert 60 <= len(parts[part]) < 60 + largest
    again = splits.split_by_group(records[::-1], seed)
    assert {records[i].id for i in parts["test"]} == {records[::-1][i].id for i in again["test"]}


def test_split_by_groups_of_one_is_the_split_by_record():
    """The same order, the same sizes: neither set gets one more than its share."""
    ids = [f"{i:03d}" for i in np.random.default_rng(3).permutation(60)]
    records = [Record(i, rocksalt(), f"F{i}") for i in ids]
    for fractions in ((0.8, 0.1, 0.1), (0.55, 0.3, 0.15), (0.2, 0.5, 0.3)):
        one, other = splits.split_by_group(records, 4, fractions), splits.split_by_record(ids, 4, fractions)
        assert [one[p].tolist() for p in splits.PARTS] == [other[p].tolist() for p in splits.PARTS]
        assert [len(one[p]) for p in splits.PARTS] == [round(60 * f) for f in fractions]
        assert {p: a.dtype for p, a in (one | other).items()} == dict.fromkeys(splits.PARTS, np.dtype(np.int64))
    halves = splits.split_by_group(records, 0, key=lambda r: r.id[-1])  # groups of six: the first ends each set
    assert [len(halves[p]) for p in splits.PARTS] == [48, 6, 6]
    assert all(len({records[i].id[-1] for i in halves[p]}) == 1 for p in ("val", "test"))


def test_groups_fill_the_test_set_first_then_the_validation_set():
    """In the order of the sorted names that the seed shuffles; records of a group in the order of their ids."""
    records = [Record(f"{f}{i}", rocksalt(), f) for i in (2, 0, 1) for f in "hgfedcba"]
    order = [sorted("abcdefgh")[i] for i in np.random.default_rng(6).permutation(8)]
    parts = splits.split_by_group(records, 6, (0.5, 0.3, 0.2))  # 12, 7 and 5 of 24
    names = {part: [records[i].id for i in rows] for part, rows in parts.items()}
    cuts = {"test": order[:2], "val": order[2:5], "train": order[5:]}
    assert names == {part: [f"{f}{i}" for f in cuts[part] for i in range(3)] for part in ("train", "val", "test")}


def test_a_split_is_drawn_as_it_is_called():
    """By record or by group; of the training set the first share, never nothing."""
    records = [Record(f"r{i}", rocksalt(), f"F{i % 7}") for i in range(35)]
    by = {"record": splits.split_by_record([r.id for r in records], 2), "group": splits.split_by_group(records, 2)}
    for kind, whole in by.items():
        for fraction, kept in ((1.0, None), (0.5, 0.5), (0.001, 0)):
            found = splits.draw_split(records, 2, kind, fraction)
            n = len(whole["train"]) if kept is None else max(1, round(kept * len(whole["train"])))
            assert found["train"].tolist() == whole["train"][:n].tolist()
            assert [found[p].tolist() for p in ("val", "test")] == [whole[p].tolist() for p in ("val", "test")]
    assert splits.draw_split(records, 2)["test"].tolist() == by["record"]["test"].tolist() != by["group"]["test"].tolist()
    assert [splits.spell_split("group", f) for f in (1, 1.0, 0.25)] == ["group", "group", "group:0.25"]
    for fraction in (0, -0.1, 1.01):
        with pytest.raises(ValueError, match="above 0, at most 1"):
            splits.spell_split("record", fraction)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (1.0, 0.0, 0.0), (0.9, 0.2, -0.1), (0.8, 0.1, 0.1 + 1.05e-9), (0.8, 0.1, 0.1 - 1.05e-9), (0.4, 0.3, 0.2, 0.1)])
def test_shares_that_are_none_are_refused(fractions):
    records = [Record(str(i), rocksalt(), f"F{i}") for i in range(30)]
    for draw in (lambda: splits.split_by_record([r.id for r in records], 0, fractions), lambda: splits.split_by_group(records, 0, fractions)):
        with pytest.raises(ValueError, match="three positive numbers that add up to 1"):
            draw()
    assert len(splits.split_by_record([r.id for r in records], 0, (0.8, 0.1, 0.1 + 0.9e-9))["test"]) == 3


def test_two_groups_cannot_be_three_sets():
    with pytest.raises(ValueError, match="2 items cannot be divided"):
        splits.split_by_group([Record(str(i), rocksalt(), f"F{i % 2}") for i in range(30)], 0)
    with pytest.raises(ValueError, match="'c' appears more than once"):
        splits.split_by_record(["a", "b", "c", "c", "d", "d"], 0)


def test_split_by_group_refuses_one_big_group():
    records = [Record(str(i), rocksalt(), "MgO" if i > 2 else f"F{i}") for i in range(30)]
    with pytest.raises(ValueError, match="'MgO' has 27 of 30"):
        for seed in range(20):
            splits.split_by_group(records, seed)


# --- the full data


@needs_full
def test_full_data_gives_the_papers_set():
    records = load_records("full")
    assert len(records) == 2652 and len({r.id for r in records}) == 2652
    kept, report = clean(records)
    assert len(kept) == 2591 and report.counts() == {"outside window": 61}
    assert report.flag_counts() == {"symmetry_violation": 68, "asymmetric": 2}
    assert all(r.eps_total.min() >= -10 and r.eps_total.max() <= 100 for r in kept)


@needs_full
def test_full_data_recomputed_violations_agree_with_the_stored_ones():
    path = resolve_data_dir("full") / "mp_tensors.json.gz"
    for item in read_json(path)[::7]:
        found = frames.tensor_violations(record_from_dict(item), primitive=False)
        for target, value in item["symmetry_violation"].items():
            assert found[target] == pytest.approx(value, abs=1e-6), item["id"]


def test_labels_of_other_functionals_do_not_train():
    records = [replace(record(rutile(), [7.0, 7, 8.5], [60, 60, 80]), id=name or "none", functional=name) for name in ("", "PBE", "PBE+U", "PBEsol", "HSE06", "LDA", "PBE-D3", "PBE+SOC")]
    kept, report = clean(records)
    assert [r.functional for r in kept] == ["", "PBE", "PBE+U", "PBEsol"] and report.counts() == {"other functional": 4}
    assert "HSE06 is none of PBE" in report.dropped[0].detail and len(clean(records, functionals=None)[0]) == len(records)
    assert [functional_kind(r) for r in kept] == [0, 0, 0, 1]
    with pytest.raises(ValueError, match=r"record HSE06 \(TiO2\) was computed with HSE06"):
        functional_kind(records[4])
