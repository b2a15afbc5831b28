"""The set held against other numbers, and its document: pairing, deviations, tables that show what the files hold."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from dtnet_core.crystals.record import TARGETS
from dtnet_core.data.comparison import percent
from dtnet_core.data.loading import load_records, save_records
from dtnet_core.dfpt import studies
from dtnet_core.dfpt.inputs import DFPTError
from dtnet_core.report import dfpt as report
from dtnet_core.report import figures
from tests.command import dtnet


@pytest.fixture
def other_database(tmp_path, monkeypatch):
    """A data folder with crystals of the set as somebody else would have them: another frame, cell and size, tensors 2 % larger."""
    turn = Rotation.random(random_state=0).as_matrix()
    chosen = {r.id: r for r in load_records("mini") if r.id in ("BN-wurtzite", "MgO-rocksalt")}
    records = []
    for number, record in enumerate(chosen.values()):
        structure = record.structure.copy()
        structure.scale_lattice(structure.volume / 1.03)
        structure = Structure(Lattice(structure.lattice.matrix @ turn.T), structure.species, structure.frac_coords)
        tensors = {f"eps_{t}": 1.02 * turn @ record.tensor(t) @ turn.T for t in TARGETS}
        records.append(replace(record, id=f"x{number}", mp_id=f"mp-{number}", structure=structure * (1, 1, 2), **tensors))
    other = Structure.from_spacegroup(225, Lattice.cubic(2.7 * 2), ["Ca", "S"], [[0, 0, 0], [0.5] * 3])
    records.append(replace(records[0], id="stranger", mp_id="mp-9", structure=other, formula="CaS"))
    save_records(records, tmp_path / "mp_tensors.json.gz")
    monkeypatch.setattr(studies, "RESULTS", tmp_path)
    monkeypatch.setenv("DTNET_DATA_DIR", str(tmp_path))
    return tmp_path


def test_the_same_crystals_are_found_and_compared_along_their_axes(other_database, capsys):
    assert dtnet("dfpt", "compare") == 0
    found = json.loads((other_database / "dfpt_comparison.json").read_text())
    pairs = {c["id"]: c for c in found["crystals"] if c["mp_id"] != "mp-9"}
    assert set(pairs) == {"BN-wurtzite", "MgO-rocksalt"}
    for pair in pairs.values():
        assert pair["volume_percent"] == pytest.approx(3.0, abs=0.05)
        for part in ("electronic", "total"):
            assert np.allclose(percent([pair], part), 100 * (1 / 1.02 - 1), atol=0.05)
    assert found["commit"] and "electronic" in capsys.readouterr().out
    assert {m["id"] for m in found["measured"]} >= {"MgO-rocksalt", "NaCl-rocksalt"}
    figures.save(figures.dfpt_parity(found["crystals"]), other_database / "a")
    figures.save(figures.measured_parity(found["measured"]), other_database / "b")
    assert (other_database / "a.png").stat().st_size > 5000


def test_deviation_is_relative_to_the_largest_element():
    reference = {"eps_electronic": np.diag([2.0, 2, 4]), "eps_ionic": np.diag([6.0, 6, 6]), "eps_total": np.diag([8.0, 8, 10])}
    record = {k: v + 0.1 * np.eye(3) for k, v in reference.items()}
    assert [studies.deviation(record, reference, p) for p in studies.TARGETS] == pytest.approx([0.025, 0.01, 0.01])


def test_unknown_records_are_named():
    with pytest.raises(DFPTError, match="XyZ-rocksalt"):
        studies.stored(["XyZ-rocksalt"])


def test_the_document_shows_what_the_files_hold():
    text = report.DOCUMENT.read_text()
    for mark, table in report.tables().items():
        shown = text.split(f"<!-- {mark} -->")[1].split(f"<!-- end of {mark} -->")[0]
        assert shown.strip() == table, "run: dtnet dfpt document"
