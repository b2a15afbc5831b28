"""VASP: the inputs of the paper's Section 5.5, and runs read into records. The vasprun.xml files are made here."""

import gzip
import re

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from dtnet_core import dfpt
from dtnet_core.crystals.record import record_from_dict, record_to_dict
from dtnet_core.crystals.structures import InvalidStructureError
from dtnet_core.data.loading import load_records
from dtnet_core.dfpt.inputs import DFPTError


def wurtzite_record():
    return next(r for r in load_records("mini") if r.id == "BN-wurtzite")


def rows(matrix, tag="v", indent="   "):
    return "\n".join(f"{indent}<{tag}>" + " ".join(f"{x: .10f}" for x in row) + f"</{tag}>" for row in matrix)


def structure_xml(structure, name):
    return f"""<structure name="{name}">
 <crystal><varray name="basis">
{rows(structure.lattice.matrix)}
 </varray><i name="volume"> {structure.volume:.6f} </i>
 <varray name="rec_basis">
{rows(structure.lattice.reciprocal_lattice_crystallographic.matrix)}
 </varray></crystal>
 <varray name="positions">
{rows(structure.frac_coords)}
 </varray></structure>"""


def vasprun(record, steps=12, ionic=True, hubbard=False) -> str:
    """A finished DFPT run (IBRION 8, LEPSILON) with the numbers of a record of the kit's own set."""
    structure = record.structure
    symbols = [s.specie.symbol for s in structure]
    kinds = list(dict.fromkeys(symbols))
    atoms = "".join(f"<rc><c>{s} </c><c> {kinds.index(s) + 1}</c></rc>" for s in symbols)
    types = "".join(f"<rc><c> {symbols.count(k)}</c><c>{k} </c><c> 10.0</c><c> 4.0</c><c> PAW_PBE {k} 08Apr2002 </c></rc>" for k in kinds)
    born = "".join("<set>\n" + rows(atom) + "\n</set>" for atom in record.meta["born_charges"])
    squares = [-np.sign(f) * (f / 521.4709) ** 2 for f in record.meta["gamma_frequencies_cm1"]]
    vectors = np.eye(3 * len(structure))
    gap = record.meta["gap_ev"]
    lattice_part = "" if not ionic else f"""
 <varray name="epsilon_ion">
{rows(record.eps_ionic)}
 </varray>
 <dynmat><varray name="hessian">
{rows(np.diag(squares))}
 </varray><v name="eigenvalues">{" ".join(f"{x:.8f}" for x in squares)}</v>
 <varray name="eigenvectors">
{rows(vectors)}
 </varray></dynmat>"""
    energies = [f'<i name="{name}"> -1.0 </i>' for name in ("e_fr_energy", "e_wo_entrp", "e_0_energy", "alphaZ")]
    short, long = (f"<scstep><energy>{''.join(e)}</energy></scstep>" for e in (energies[:3], energies))
    scf = long + short * (steps - 2) + long + short  # VASP writes all parts of the energy in the first and last step
    incar = "".join(f'<i name="{k}" type="{t}">{v}</i>' for k, t, v in (
        ("PREC", "string", "accurate"), ("IBRION", "int", 8), ("NSW", "int", 1), ("NELM", "int", 60),
        ("EDIFF", "", 1e-7), ("LEPSILON", "logical", "T"), ("ISPIN", "int", 1), ("ISMEAR", "int", 0), ("SIGMA", "", 0.05),
        ("ENMAX", "", 600.0), ("GGA", "string", "PE"), ("LDAU", "logical", "T" if hubbard else "F")))
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<generator><i name="program" type="string">vasp </i><i name="version" type="string">6.4.2 </i></generator>
<incar>{incar}</incar>
<kpoints><generation param="Gamma"><v type="int" name="divisions"> 4 4 3 </v><v name="usershift"> 0.0 0.0 0.0 </v></generation>
<varray name="kpointlist">{rows([[0, 0, 0]])}</varray><varray name="weights">{rows([[1.0]])}</varray></kpoints>
<parameters>{incar}</parameters>
<atominfo><atoms> {len(symbols)} </atoms><types> {len(kinds)} </types>
<array name="atoms"><set>{atoms}</set></array><array name="atomtypes"><set>{types}</set></array></atominfo>
{structure_xml(structure, "initialpos")}
<calculation>
{scf}
{structure_xml(structure, "finalpos")}
<varray name="forces">{rows(np.zeros((len(symbols), 3)))}</varray><varray name="stress">{rows(np.zeros((3, 3)))}</varray>
<energy><i name="e_fr_energy"> -1.0 </i><i name="e_wo_entrp"> -1.0 </i><i name="e_0_energy"> -1.0 </i></energy>
<eigenvalues><array><set><set comment="spin 1"><set comment="kpoint 1">
<r> 0.0 1.0 </r><r> {gap} 0.0 </r></set></set></set></array></eigenvalues>
<varray name="epsilon">
{rows(record.eps_electronic)}
</varray>{lattice_part}
<array name="born_charges">{born}</array>
</calculation>
{structure_xml(structure, "finalpos")}
</modeling>"""


def test_inputs_are_those_of_the_paper(tmp_path):
    structure = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Ni", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    structure = structure.get_primitive_structure()
    folder = dfpt.write_vasp_inputs(structure, tmp_path / "NiO")
    incar, points = Incar.from_file(folder / "INCAR"), Kpoints.from_file(folder / "KPOINTS")
    wanted = {"ENCUT": 600, "ISMEAR": 0, "SIGMA": 0.05, "EDIFF": 1e-7, "LEPSILON": True, "IBRION": 8, "ALGO": "Fast"}
    assert {k: incar[k] for k in wanted} == wanted and incar["PREC"] == "Accurate"
    assert incar["LDAU"] and incar["LDAUU"][0] == pytest.approx(6.2)  # the Materials Project's U of nickel oxides
    assert np.prod(points.kpts[0]) * len(structure) == pytest.approx(3000, rel=0.2) and "grid density = 3000" in points.comment
    assert (folder / "POTCAR.spec").read_text().split() == ["Ni_pv", "O"] and not (folder / "POTCAR").exists()
    written = Poscar.from_file(folder / "POSCAR").structure
    assert np.allclose(written.lattice.matrix, structure.lattice.matrix)  # same frame


def test_inputs_of_a_bad_structure_are_refused(tmp_path):
    disordered = Structure(Lattice.cubic(4), [{"Mg": 0.5, "Ca": 0.5}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(InvalidStructureError, match="occup"):
        dfpt.write_vasp_inputs(disordered, tmp_path / "x")
    unknown = Structure(Lattice.cubic(4), ["Og"], [[0, 0, 0]])
    with pytest.raises(DFPTError, match="Og"):
        dfpt.write_vasp_inputs(unknown, tmp_path / "x")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_finished_run_becomes_the_record_it_was_made_from(tmp_path, compressed):
    record = wurtzite_record()
    path = tmp_path / "BN" / ("vasprun.xml.gz" if compressed else "vasprun.xml")
    path.parent.mkdir()
    text = vasprun(record).encode()
    path.write_bytes(gzip.compress(text) if compressed else text)
    found = dfpt.read_vasprun(path)
    assert found.id == "BN" and found.flags == () and found.functional == "PBE" and found.code == "VASP 6.4.2"
    for target in ("electronic", "ionic", "total"):
        assert np.allclose(found.tensor(target), record.tensor(target), atol=1e-8)
    assert np.allclose(found.structure.lattice.matrix, record.structure.lattice.matrix, atol=1e-8)
    assert np.allclose(found.meta["born_charges"], record.meta["born_charges"])
    assert np.allclose(found.meta["gamma_frequencies_cm1"], sorted(record.meta["gamma_frequencies_cm1"]), atol=0.1)
    assert found.meta["gap_ev"] == pytest.approx(record.meta["gap_ev"])
    assert found.meta["unchecked"] == ["acoustic-sum"]
    again = record_from_dict(record_to_dict(found))
    assert np.array_equal(again.eps_total, found.eps_total) and again.meta["born_charges"] == found.meta["born_charges"]


def test_runs_with_faults_are_flagged(tmp_path):
    record, path = wurtzite_record(), tmp_path / "vasprun.xml"
    path.write_text(vasprun(record, steps=60))  # as many electronic steps as NELM allows
    assert dfpt.read_vasprun(path).flags == ("not-converged",)
    path.write_text(vasprun(record, ionic=False, hubbard=True))
    found = dfpt.read_vasprun(path, "BN")
    assert "incomplete" in found.flags and found.eps_total is None and found.functional == "PBE+U"
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    item = record_to_dict(record)
    item["eps_electronic"] = (turn @ np.diag([4.0, 5.0, 6.0]) @ turn.T).tolist()
    path.write_text(vasprun(record_from_dict(item)))
    assert "asymmetric-tensor" in dfpt.read_vasprun(path).flags


def test_broken_runs_are_refused(tmp_path):
    record, path = wurtzite_record(), tmp_path / "vasprun.xml"
    with pytest.raises(DFPTError, match="no such file"):
        dfpt.read_vasprun(path)
    text = vasprun(record)
    path.write_text(text[: text.index("<calculation>") + 200])
    with pytest.raises(DFPTError, match=r"vasprun\.xml is not a whole"):
        dfpt.read_vasprun(path)
    path.write_text(text.replace('name="epsilon"', 'name="something"'))
    with pytest.raises(DFPTError, match="LEPSILON"):
        dfpt.read_vasprun(path)


@pytest.mark.parametrize("name", ["epsilon", "epsilon_ion", "eigenvalues", "born_charges"])
@pytest.mark.parametrize("bad", ["**********", "NaN", "1.0-234.5"])
def test_numbers_that_overflowed_name_file_and_tensor(tmp_path, name, bad):
    text, path = vasprun(wurtzite_record()), tmp_path / "vasprun.xml"
    start = text.index(f'name="{name}"')
    number = text.index(".", text.index(".", start) + 1)  # not the first: the word itself is named
    begin = max(text.rindex(" ", 0, number), text.rindex(">", 0, number)) + 1
    path.write_text(text[:begin] + bad + text[begin:][text[begin:].index(" ") if " " in text[begin:].split("<")[0] else text[begin:].index("<") :])
    words = f"has {bad!r} where numbers" if bad != "NaN" else "has nan among its numbers"
    with pytest.raises(DFPTError, match=re.escape(f"vasprun.xml: {name}") + ".*" + re.escape(words)):
        dfpt.read_vasprun(path)


def test_a_metal_is_flagged(tmp_path):
    text, path = vasprun(wurtzite_record()), tmp_path / "vasprun.xml"
    band = "<r> 0.0 1.0 </r>"
    path.write_text(text.replace(band, f"{band}<r> 1.0 0.4 </r>"))  # the next empty band is 5 eV higher
    found = dfpt.read_vasprun(path)
    assert set(found.flags) == {"metal", "small-gap"} and found.meta["gap_ev"] == 0
    crossing = '</set><set comment="kpoint 2"><r> 7.0 1.0 </r><r> 9.0 0.0 </r></set></set></set></array></eigenvalues>'
    path.write_text(text.replace("</set></set></set></array></eigenvalues>", crossing))
    assert "small-gap" in dfpt.read_vasprun(path).flags


@pytest.mark.parametrize(("occupation", "metal"), [(0.0099, False), (0.0101, True), (0.5, True), (0.9899, True), (0.9901, False), (1.0, False), (0.0, False)])
def test_a_band_may_be_one_percent_from_empty_or_full(tmp_path, occupation, metal):
    text, path = vasprun(wurtzite_record()), tmp_path / "vasprun.xml"
    band = "<r> 0.0 1.0 </r>"
    path.write_text(text.replace(band, f"<r> -1.0 1.0 </r><r> 0.0 {occupation} </r>"))
    found = dfpt.read_vasprun(path)
    assert ("metal" in found.flags) is metal and (found.meta["gap_ev"] == 0) is metal


def test_eigenvalues_are_those_of_the_dynamical_matrix(tmp_path):
    """Others of that name are not, nor other numbers inside; the last of several steps counts; minus omega^2 is printed."""
    text, path = vasprun(wurtzite_record()), tmp_path / "vasprun.xml"
    start, end = text.index('<v name="eigenvalues">'), text.index("</dynmat>")
    mine = text[start : text.index("</v>", start) + 4]
    other = '<v name="eigenvalues"> 7.0 7.0 7.0 </v>'
    numbers = " ".join(f"{x:.8f}" for x in (-1.0, 0.0, 0.25, -4.0, -9.0, *[-0.01] * 7))
    changed = text.replace(mine, f'<v name="masses"> 1.0 2.0 </v><v name="eigenvalues">{numbers}</v><v name="weights"> 3.0 </v>')
    first = text[text.index("<dynmat>") : end + len("</dynmat>")]
    for before, after in (("", ""), (other, ""), ("", other), (first, "")):
        path.write_text(changed.replace("<dynmat>", before + "<dynmat>", 1).replace("</dynmat>", "</dynmat>" + after))
        found = dfpt.read_vasprun(path).meta["gamma_frequencies_cm1"]
        np.testing.assert_allclose(np.array(found) / 521.4709, [-0.5, 0, *[0.1] * 7, 1, 2, 3], atol=2e-6)
        assert all(x == round(x, 3) for x in found) and any(x != round(x, 2) for x in found)


def test_records_say_how_the_run_was_made(tmp_path):
    record, path = wurtzite_record(), tmp_path / "vasprun.xml"
    path.write_text(vasprun(record))
    found = dfpt.read_vasprun(path)
    kind = found.meta["settings"]
    assert found.id == tmp_path.name and dfpt.read_vasprun(path, "named").id == "named" and found.meta["file"] == "vasprun.xml"
    assert kind["engine"] == "vasp" and kind["ENMAX"] == 600 and kind["EDIFF"] == 1e-7 and kind["ISMEAR"] == 0 and kind["k_points"] == [[4, 4, 3]]
    assert len(kind["potcar"]) == 2 and found.source == "vasp" and found.symmetry_violation < 1e-3
    assert found.formula == "BN" and len(found.structure) == len(record.structure)


@pytest.mark.parametrize(("spoil", "shape"), [
    (lambda t: re.sub(r'(<varray name="epsilon">\n.*?</v>).*?(</varray>)', r"\1\2", t, count=1, flags=re.S), r"epsilon has the shape \[1, 3\], not \[3, 3\]"),
    (lambda t: re.sub(r'(<array name="born_charges"><set>\n.*?</v>\n.*?</v>)(.*?</set>)', r"\1</set>", t, count=1, flags=re.S), "born_charges"),
])  # fmt: skip
def test_tensors_of_another_shape_are_refused(tmp_path, spoil, shape):
    text, path = vasprun(wurtzite_record()), tmp_path / "vasprun.xml"
    assert spoil(text) != text
    path.write_text(spoil(text))
    with pytest.raises(DFPTError, match=shape):
        dfpt.read_vasprun(path)


def test_skew_parts_of_what_vasp_prints_are_left_out(tmp_path):
    record, path = wurtzite_record(), tmp_path / "vasprun.xml"
    item = record_to_dict(record)
    skew = np.array([[0, 0.002, 0], [-0.002, 0, 0], [0, 0, 0]])
    path.write_text(vasprun(record_from_dict(item | {"eps_electronic": (record.eps_electronic + skew).tolist(), "eps_ionic": (record.eps_ionic - 2 * skew).tolist()})))
    found = dfpt.read_vasprun(path)
    for target in ("electronic", "ionic", "total"):
        np.testing.assert_allclose(found.tensor(target), record.tensor(target), atol=1e-8)


def test_inputs_of_another_crystal_are_kept(tmp_path):
    """The same crystal to a tenth of a picometre, atoms in any order of elements; anything else keeps its folder."""
    from dtnet_core.dfpt.vasp import _same_crystal

    cell = Lattice.from_parameters(4.1, 5.2, 6.3, 81, 97, 104)
    sites = np.array([[0.02, 0.05, 0.01], [0.48, 0.53, 0.51], [0.21, 0.62, 0.33]])
    crystal = Structure(cell, ["Na", "Nb", "O"], sites)
    assert dfpt.write_vasp_inputs(crystal, tmp_path / "x") == dfpt.write_vasp_inputs(crystal, tmp_path / "x") == tmp_path / "x"
    shifted = lambda d: Structure(cell, ["Na", "Nb", "O"], sites + np.array([[0, 0, 0], [d / 4.1, 0, 0], [0, 0, 0]]))  # noqa: E731
    bent = lambda d: Structure(Lattice(cell.matrix + d * np.outer([0, 0, 1], [1, 0, 0])), crystal.species, sites)  # noqa: E731
    swapped = Structure(cell, ["Nb", "Na", "O"], sites)
    others = {"moved": shifted(0.0011), "swapped": swapped, "larger": crystal * (1, 1, 2), "other": Structure(cell, ["Na", "Nb", "S"], sites),
              "strained": bent(1.05e-4)}  # fmt: skip
    for name, other in others.items():
        assert not _same_crystal(other, crystal) and not _same_crystal(crystal, other), name
        with pytest.raises(DFPTError, match="another crystal or geometry"):
            dfpt.write_vasp_inputs(other, tmp_path / "x")
    near = bent(0.95e-4)
    for same in (shifted(0.0009), Structure(cell, ["O", "Na", "Nb"], sites[[2, 0, 1]] + [0, 0, 1]), near):
        assert _same_crystal(same, crystal)
    (tmp_path / "x" / "POSCAR").write_text("not one")
    with pytest.raises(DFPTError, match="POSCAR that cannot be read"):
        dfpt.write_vasp_inputs(crystal, tmp_path / "x")


def test_cut_files_and_impossible_crystals_are_named(tmp_path):
    text = vasprun(wurtzite_record())
    for name, content in {"empty.xml": b"", "cut.xml": text[:-30].encode(), "cut.xml.gz": gzip.compress(text.encode())[:-900], "text.xml": b"no xml"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DFPTError, match=f"{name} is not a whole"):
            dfpt.read_vasprun(tmp_path / name)
    line = text[text.index("<v> ") : text.index("</v>") + 4]
    (tmp_path / "vasprun.xml").write_text(text)
    assert line in text
    shrunk = record_from_dict(record_to_dict(wurtzite_record()) | {"structure": wurtzite_record().structure.copy().apply_strain(-0.5).as_dict()})
    (tmp_path / "vasprun.xml").write_text(vasprun(shrunk))
    with pytest.raises(InvalidStructureError, match=r"vasprun\.xml: the cell"):
        dfpt.read_vasprun(tmp_path / "vasprun.xml")


def test_the_functional_of_a_run_is_read(tmp_path):
    text, path = vasprun(wurtzite_record()), tmp_path / "vasprun.xml"
    hybrid = text.replace('<i name="LDAU"', '<i name="LHFCALC" type="logical">T</i><i name="HFSCREEN" type="">0.2</i><i name="AEXX" type="">0.25</i><i name="LDAU"')
    for content, name in ((hybrid, "HSE06"), (text.replace("PAW_PBE", "PAW").replace(">PE<", ">--<"), "LDA"), (text.replace(">PE<", ">CA<"), "LDA")):
        path.write_text(content)
        assert dfpt.read_vasprun(path).functional == name
