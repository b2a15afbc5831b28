"""CIF files as people have them: read as the crystal that they mean, or refused with the reason."""

from __future__ import annotations

import re

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from dtnet_core.base.reading import ReadError, ReadWarning
from dtnet_core.crystals.readers import from_text
from dtnet_core.crystals.settings import from_hall, from_list, from_symbol, groups_of
from dtnet_core.crystals.sources import read_structure
from tests.crystals.random_cifs import EVIDENCE, FORMS, is_same, random_crystal, written

TABLE = list(gemmi.spacegroup_table())
_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


def cif(cell: str, sites: str, columns: str = "label type_symbol fract_x fract_y fract_z", operations=(), **tags) -> str:
    """A CIF block of six numbers, sites separated by bars, and other tags."""
    lines = ["data_x", *(f"_cell_{name} {value}" for name, value in zip(_CELL, cell.split(), strict=True))]
    names = {"symbol": "_symmetry_space_group_name_H-M", "hall": "_space_group_name_Hall", "number": "_space_group_IT_number",
             "formula": "_chemical_formula_sum", "Z": "_cell_formula_units_Z", "density": "_exptl_crystal_density_diffrn", "volume": "_cell_volume"}  # fmt: skip
    lines += [f"{names[key]} '{value}'" for key, value in tags.items()]
    lines += ["loop_", "_symmetry_equiv_pos_as_xyz", *(f"'{op}'" for op in operations)] if operations else []
    return "\n".join([*lines, "loop_", *(f"_atom_site_{c}" for c in columns.split()), *(s.strip() for s in sites.split("|")), ""])


CUBE = "5.64 5.64 5.64 90 90 90"
SALT = dict(cell=CUBE, sites="Na1 Na 0 0 0 | Cl1 Cl .5 .5 .5")
BADDELEYITE = dict(cell="5.15 5.21 5.32 90 99.2 90", formula="Zr O2", Z=4,
                   sites="Zr1 Zr .2754 .0395 .2083 | O1 O .07 .3317 .3447 | O2 O .4496 .7569 .4792")  # fmt: skip
SPINEL = dict(cell="8.0858 8.0858 8.0858 90 90 90", formula="Mg Al2 O4", Z=8, sites="Mg Mg .125 .125 .125 | Al Al .5 .5 .5 | O O .2626 .2626 .2626")
CALCITE = dict(cell="6.361 6.361 6.361 46.1 46.1 46.1", formula="Ca C O3", Z=2, sites="Ca Ca 0 0 0 | C C .25 .25 .25 | O O .507 .993 .25")
BRUCITE = dict(cell="3.142 3.142 4.766 90 90 120", symbol="P -3 m 1", sites="Mg Mg 0 0 0 | O O .333333 .666667 .2203 | H H .333333 .666667 .413")
LABELS = dict(BRUCITE, columns="label fract_x fract_y fract_z")
OCCUPIED = dict(cell=CUBE, symbol="F m -3 m", columns="label type_symbol fract_x fract_y fract_z occupancy")


@pytest.mark.parametrize("symbol", ["P 21/c", "P 1 21/c 1", "P21/c", "P_2_1/c", "P 2(1)/c", "p 1 21/c 1", "P 21/c :b1", "P 21/c (No. 14)"])
def test_short_and_full_symbols(symbol):
    assert from_text(cif(**BADDELEYITE, symbol=symbol)).formula == "Zr4 O8"


def test_settings_of_one_group_differ():
    c, n = (from_text(cif(**BADDELEYITE, symbol=symbol)) for symbol in ("P 21/c", "P 21/n"))
    assert n.formula == c.formula and n.distance_matrix[n.distance_matrix > 0].min() > 1.3
    listed = from_text(cif(**BADDELEYITE, operations=["x,y,z", "1/2-x,1/2+y,1/2-z", "-x,-y,-z", "1/2+x,1/2-y,1/2+z"]))
    assert is_same(listed, n) and not is_same(c, n)


@pytest.mark.parametrize("given, formula", [
    (dict(SPINEL, symbol="F d -3 m"), "Mg8 Al16 O32"), (dict(SPINEL, symbol="F d -3 m S", sites="Mg Mg 0 0 0 | Al Al .625 .625 .625 | O O .3876 .3876 .3876"), "Mg8 Al16 O32"),
    (dict(SPINEL, symbol="F 41/d -3 2/m :2"), "Mg8 Al16 O32"), (dict(SPINEL, symbol="Fd-3mZ"), "Mg8 Al16 O32"), (dict(SPINEL, number=227), "Mg8 Al16 O32"),
    (dict(CALCITE, symbol="R -3 c :R"), "Ca2 C2 O6"), (dict(CALCITE, symbol="R -3 c"), "Ca2 C2 O6"), (dict(CALCITE, symbol="R-3cR"), "Ca2 C2 O6"),
    (dict(CALCITE, hall="-P 3* 2n"), "Ca2 C2 O6"), (dict(BADDELEYITE, hall="-P 2ybc"), "Zr4 O8"), (dict(SALT, symbol="F 4/m 3- 2/m"), "Na4 Cl4"),
    (dict(SALT, cell="5.64 5.64 5.64 90 90 90", symbol="Fm3m", formula="Na Cl", density=2.16, Z=4, volume=179.4), "Na4 Cl4"),
    (dict(SALT, symbol="P 1", formula="Na Cl", Z=1), "Na1 Cl1"), (dict(SALT, formula="Na Cl", Z=1), "Na1 Cl1"),
    (dict(SALT, symbol="F m -3 m", sites="Li1 Li 0 0 0 | D1 D .5 .5 .5"), "Li4 H4"), (dict(SALT, symbol="F m -3 m", sites="Na1 Na1+ 0 0 0(1) | Cl1 Cl1- .5(1) .5 .5"), "Na4 Cl4"),
    (dict(LABELS, formula="Mg O2 H2", sites="Mg1 0 0 0 | OH .333333 .666667 .2203 | HO1 .333333 .666667 .413"), "Mg1 H2 O2"),
    (dict(OCCUPIED, sites="Na1 Na 0 0 0 . | Cl1 Cl .5 .5 .5 1.000(2)"), "Na4 Cl4"), (dict(OCCUPIED, formula="Na Cl", sites="Na1 Na 0 0 0 ? | Cl1 Cl .5 .5 .5 1"), "Na4 Cl4"),
    (dict(SALT, symbol="F m -3 m", formula="Na Cl", Z=4, operations=["x,y,z"]), "Na4 Cl4"), (dict(SALT, symbol="F m -3 m", formula="Na Cl", Z=4, number=221), "Na4 Cl4"),
    (dict(SALT, symbol="F m -3 m", columns="label type_symbol fract_x fract_y fract_z calc_flag", sites="Na1 Na 0 0 0 d | Cl1 Cl .5 .5 .5 d | X1 . ? ? ? dum"), "Na4 Cl4"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::dtnet_core.base.reading.ReadWarning")
def test_what_a_file_means_is_read(given, formula):
    assert from_text(cif(**given)).formula == formula


@pytest.mark.parametrize("given, reason", [
    (dict(BADDELEYITE, symbol="P 1 1 21/b"), r"P 1 1 21/b\) does not fit the cell 5.15, 5.21, 5.32, 90, 99.2, 90"), (dict(SALT, symbol="P 63/m m c"), "does not fit the cell"),
    (dict(SALT, symbol="F m -3 m", formula="Na Cl", Z=8), "Na4 Cl4 into the cell, but the file's formula is Na1 Cl1 with Z = 8"),
    (dict(SALT, symbol="F m -3 m", formula="Na2 Cl", Z=4), "Na4 Cl4 into the cell, but the file's formula is Na2 Cl1"), (dict(SALT, formula="Na Cl", Z=4), "Na1 Cl1 into the cell"),
    (dict(SALT), "nothing on symmetry"), (dict(SALT, symbol="F m -3 m", density=4.33), r"2\.16 g/cm3, the file says 4\.33"), (dict(SALT, symbol="Q 1"), "unknown space group, symbol 'Q 1'"),
    (dict(SALT, symbol="H -3 m 1", number=166), "unknown space group"), (dict(SALT, symbol="F m -3 m", number=221), "contradict each other"),
    (dict(SALT, symbol="F m -3 m", operations=["x,y,z"]), "contradict each other"), (dict(SALT, operations=["x,y,z", "-x,y,z", "x,-y,z"]), "no group"),
    (dict(BRUCITE, formula="Mg O2 H2", sites="Mg Mg 0 0 0 | O O .333333 .666667 .2203"), "H2 of it are not in the atom list"),
    (dict(BRUCITE, columns="label type_symbol fract_x fract_y fract_z attached_hydrogens", sites="Mg Mg 0 0 0 0 | O O .333333 .666667 .2203 1"), "attached hydrogens"),
    (dict(LABELS, sites="Mg1 0 0 0 | OH .333333 .666667 .2203 | H1 .333333 .666667 .413"), "label OH names no element"), (dict(LABELS, sites="MG1 0 0 0 | HO1 0 0 .5"), "label HO1 may be Ho or H"),
    (dict(BRUCITE, sites="Mg Mg 0 0 0 | O O .333333 .666667 .2203 | H H ? ? ?"), "coordinates of site H are unknown"), (dict(SALT, symbol="P 1", cell="5.64 5.64 5.64 90 90 ?"), "_cell_angle_gamma"),
    (dict(SALT, symbol="P 1", cell="5 5 5 120 90 10"), r"angles \[120.0, 90.0, 10.0\]"), (dict(SALT, symbol="P 1", volume=90), "the file says 90"),
    *((dict(OCCUPIED, sites=f"Na1 Na 0 0 0 {x} | Cl1 Cl .5 .5 .5 1"), f"occupancy.* of site Na1.*{why}") for x, why in
      (("1.01", "at most 1"), ("0", "more than 0"), ("0.", "more than 0"), ("-1", "more than 0"), ("0.5", "partially occupied"), ("?", "unknown"), ("full", "not a number"))),
    (dict(SALT, symbol="P 1", sites="Na1 Na 0 0 0 | Cl1 Cl 0 0 .01"), "apart"), (dict(SALT, symbol="P 1", sites="Na1 Wat 0 0 0"), "group of atoms"),
    (dict(SALT, symbol="P 1", columns="aniso_label aniso_U_11 aniso_U_22", sites="Na1 .1 .1"), "no atom coordinates"),
    (dict(SALT, symbol="P 4/n b m", cell="6 6 8 90 90 90", sites="Na1 Na .2 .1 .3"), "leaves open what is meant, and these agree .*P 4/n b m:1, P 4/n b m:2"),
])  # fmt: skip
def test_what_contradicts_itself_is_refused_with_the_reason(given, reason):
    with pytest.raises(ReadError, match=reason):
        from_text(cif(**given))


@pytest.mark.parametrize("given, word", [
    (dict(SPINEL, symbol="F d -3 m"), "taken: F d -3 m:2"), (dict(BRUCITE, formula="Mg O2 H2", sites="Mg Mg 0 0 0 | O O .33 .67 .2203 | H H .33 .67 .413"), "O by 0.018"),
    (dict(SALT, symbol="F m -3 m", sites="Na1 Na 0 0 0 | Na2 Na .5 .5 0 | Cl1 Cl .5 .5 .5"), "counted once"), (dict(SALT, number=225), "F m -3 m"),
])  # fmt: skip
def test_what_a_reader_decides_is_said_once_in_one_line(given, word, tmp_path):
    (tmp_path / "x.cif").write_text(cif(**given))
    with pytest.warns(ReadWarning) as caught:
        read_structure(tmp_path / "x.cif")
    [line] = [str(w.message) for w in caught]
    assert line.startswith(f"{tmp_path / 'x.cif'}: ") and word in line and "\n" not in line


def test_sites_near_a_special_position_belong_on_it():
    exact = from_text(cif(**BRUCITE))
    with pytest.warns(ReadWarning, match="special positions"):
        rounded = from_text(cif(**dict(BRUCITE, sites="Mg Mg 0 0 0 | O O .33 .67 .2203 | H H .33 .67 .413")))
    np.testing.assert_allclose(rounded.frac_coords, exact.frac_coords, atol=1e-5)


@pytest.mark.parametrize("text", ["", "data_x\n", "hello", "data_x\n_cell_length_a 4\n_cell_length_b", "data_x\nloop_\n_a\n_b\n1 2 3\n", "data_\n_cell_length_a 1 data_y _b 2"])
def test_broken_text_is_the_kits_own_error(text):
    with pytest.raises(ReadError):
        from_text(text)


def test_other_dialects():
    text = cif(**SALT, symbol="F m -3 m")
    assert from_text(re.sub(r"_(cell|symmetry|atom_site)_", r"_\1.", text)).formula == "Na4 Cl4"  # mmCIF and DDLm
    magnetic = text.replace("_symmetry_space_group_name_H-M 'F m -3 m'", """loop_\n_space_group_symop_magn_operation.xyz\nx,y,z,+1\n-x,-y,-z,-1
loop_\n_space_group_symop_magn_centering.xyz\nx,y,z,+1\nx,y+1/2,z+1/2,+1\nx+1/2,y,z+1/2,-1\nx+1/2,y+1/2,z,-1""")
    assert from_text(magnetic).formula == "Na4 Cl4"
    with pytest.raises(ReadError, match="magnetic space group P_I -1 without its operations"):
        from_text(text.replace("_symmetry_space_group_name_H-M 'F m -3 m'", "_space_group_magn.name_BNS 'P_I -1'"))
    with pytest.raises(ReadError, match="incommensurately modulated"):
        from_text(text + "_cell_modulation_dimension 1\n")
    assert from_text(text.replace("data_x\n", "data_x\n_note\n;\ndata_y\n_cell_length_a 3\n;\n")).formula == "Na4 Cl4"
    cartesian = Structure.from_spacegroup("P-1", Lattice.from_parameters(5, 6, 7, 80, 95, 103), ["Na", "Cl"], [[0.1, 0.2, 0.3], [0.4, 0.8, 0.2]])
    frame = np.array(gemmi.UnitCell(*cartesian.lattice.abc, *cartesian.lattice.angles).orth.mat.tolist())
    sites = "|".join(f"{s.specie} {s.specie} {' '.join(map(str, frame @ s.frac_coords))}" for s in cartesian)
    cell = " ".join(map(str, cartesian.lattice.parameters))
    read = from_text(cif(cell, sites, "label type_symbol Cartn_x Cartn_y Cartn_z", symbol="P 1"))
    assert is_same(read, Structure(read.lattice, cartesian.species, cartesian.frac_coords))


def test_every_setting_has_its_names():
    for group in TABLE:
        triplets = [op.triplet() for op in group.operations()]
        for found in (from_symbol(group.xhm()), from_hall(group.hall), [from_list(triplets)]):
            assert len(found) == 1 and set(found[0].operations) == set(triplets) and found[0].number == group.number
        assert group.number in {g.number for g in groups_of(group.short_name())}


def test_pymatgens_files_keep_frame_and_order():
    crystal = Structure.from_spacegroup("P2_1/c", Lattice.monoclinic(5.15, 5.21, 5.32, 99.2), ["Zr", "O", "O"],
                                        [[0.2754, 0.0395, 0.2083], [0.07, 0.3317, 0.3447], [0.4496, 0.7569, 0.4792]])  # fmt: skip
    for text in (str(CifWriter(crystal)), str(CifWriter(crystal, symprec=0.01))):
        ours, theirs = from_text(text), Structure.from_str(text, fmt="cif")
        assert [s.specie.symbol for s in ours] == [s.specie.symbol for s in theirs]
        np.testing.assert_allclose(ours.lattice.matrix, theirs.lattice.matrix, atol=1e-9)
        np.testing.assert_allclose(ours.cart_coords, theirs.cart_coords, atol=1e-6)


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(k=st.integers(0, len(TABLE) - 1), seed=st.integers(0, 10_000), form=st.sampled_from(FORMS), evidence=st.sampled_from(EVIDENCE))
@pytest.mark.filterwarnings("ignore::dtnet_core.base.reading.ReadWarning")
def test_a_random_crystal_comes_back_or_is_refused(k, seed, form, evidence):
    crystal = random_crystal(TABLE[k], seed)
    for how, text, truth in written(crystal, seed, (form,), (evidence,)):
        try:
            read = from_text(text)
        except ReadError:
            assert form not in ("operations", "Hall symbol", "extended symbol") or "gemmi" not in how, f"{TABLE[k].xhm()}, {how}: refused"
            continue
        assert is_same(read, truth), f"{TABLE[k].xhm()}, {how}: {read.formula} for {truth.formula}"
