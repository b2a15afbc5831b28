"""Numbers of a cleaned set, beside the paper's, and Table 1 as a check."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals.record import Record
from dtnet_core.data import summary as ds
from dtnet_core.data.loading import resolve_data_dir


def record(name: str, lattice: Lattice, electronic, ionic=None, species="Cs") -> Record:
    structure = Structure(lattice, [species, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    electronic = np.array(electronic, dtype=float)
    ionic = None if ionic is None else np.array(ionic, dtype=float)
    total = electronic if ionic is None else electronic + ionic
    return Record(name, structure, structure.composition.reduced_formula, electronic, ionic, total)


CUBIC = record("a", Lattice.cubic(4.1), np.eye(3) * 3, np.eye(3) * 4)
TETRAGONAL = record("b", Lattice.tetragonal(4.1, 4.6), np.diag([3, 3, 5]), np.eye(3), species="Rb")
OFF = record("c", Lattice.tetragonal(4.1, 4.6), np.diag([3, 3, 5]), np.diag([1, 2, 5]), species="Rb")
SYSTEMS = ["cubic", "tetragonal", "tetragonal"]


def test_summary_counts_what_is_there():
    found = ds.summarise([CUBIC, TETRAGONAL, OFF], SYSTEMS)
    assert (found["n"], found["n_atoms"], found["n_elements"], found["n_formulas"]) == (3, 6, 3, 2)
    assert (
        found["crystal_system_counts"]["tetragonal"] == 2
        and sum(found["crystal_system_counts"].values()) == 3
    )
    assert found["scalar_range"]["total"] == [pytest.approx(14 / 3, abs=1e-4), 7.0]
    assert "ionic" not in ds.summarise([record("d", Lattice.cubic(4), np.eye(3))], ["cubic"])["scalar_range"]
    json.dumps(found)


def test_comparison_shows_the_papers_own_numbers():
    paper = json.loads((resolve_data_dir("mini") / "paper" / "performance.json").read_text())["dataset"]
    table = ds.compare_with_paper({**ds.summarise([CUBIC, TETRAGONAL], SYSTEMS[:2]), "n_input": 5}, paper)
    assert table.loc["tensors before cleaning"].tolist() == [5, 7277]
    assert table.loc["after cleaning"].tolist() == [2, 6648]
    assert table.loc["orthorhombic"].tolist() == [0, 1636] and table.loc["cubic", "paper"] == ""
    assert table.loc["total constant", "paper"] == "1.155 to 98.889"


def test_table1_check_counts_the_tensors_that_break_the_form():
    table = ds.table1_check([CUBIC, TETRAGONAL, OFF], SYSTEMS)
    assert table.index.tolist() == ["cubic", "tetragonal"] and table.components.tolist() == [1, 2]
    assert table.crystals.tolist() == [1, 2] and table["total above 0.01"].tolist() == [0, 1]
    assert table.loc["tetragonal", "total largest"] == pytest.approx(0.5 / 10)  # (4, 5) become 4.5
    assert table["electronic largest"].max() < 1e-9


def test_a_turned_tensor_breaks_the_point_group():
    c, s = np.cos(0.7), np.sin(0.7)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    before, after = ds.violation_in_another_frame(TETRAGONAL, about_x)
    assert before < 1e-9 and after > 0.1
    assert max(ds.violation_in_another_frame(CUBIC, about_x)) < 1e-9  # isotropic: no frame to be wrong about
