"""The kit's own DFPT crystals as a test: which of them the labels know, and what is told of the answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.base.files import read_json
from dtnet_core.base.paths import RESULTS
from dtnet_core.crystals.record import Record
from dtnet_core.domain.own import known_materials, own_crystals
from dtnet_core.report.new_kinds import own_table

STORED = read_json(RESULTS / "own_crystals.json")


def rocksalt(name: str, a: float, mp_id: str | None = None) -> Record:
    structure = Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return Record(name, structure, "NaCl", np.eye(3), np.eye(3), 2 * np.eye(3), mp_id=mp_id)


def test_a_material_is_known_by_its_structure_or_its_id():
    caesium = replace(rocksalt("cscl", 3.5), structure=Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    blende = Structure.from_spacegroup("F-43m", Lattice.cubic(6.3), ["Na", "Cl"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    crystals = [rocksalt("own", 5.7), caesium, replace(caesium, id="named", structure=blende, mp_id="mp-1")]
    assert known_materials(crystals, [rocksalt("label", 5.6)]).tolist() == [True, False, False]
    assert known_materials(crystals, [rocksalt("label", 5.6, "mp-1")]).tolist() == [True, False, True]
    assert known_materials(crystals, []).tolist() == [False] * 3


def test_every_crystal_of_the_kit_that_is_not_dropped_was_asked_for():
    crystals = own_crystals()
    assert [r["id"] for r in STORED["crystals"]] == [r.id for r in crystals] and len({r.id for r in crystals}) == len(crystals) > 120
    for row, record in zip(STORED["crystals"], crystals, strict=True):
        assert row["computed"]["total"] == pytest.approx(np.trace(record.eps_total) / 3)
    new = [r for r in STORED["crystals"] if not r["known_material"]]
    assert sum(r["bonding"] in ("layers", "chains", "molecules") for r in new) >= 10
    assert set(STORED["variants"]) == {"best", "default", "default-physics", "physics"} and all(len(v) == len(crystals) for v in STORED["variants"].values())


def test_table_by_hand():
    say = lambda total: {t: {"constant": total, "half_width_90": 1.0, "mae_ten": 0.0} for t in ("electronic", "ionic", "total")} | {"in_domain": True}  # noqa: E731
    crystals = [{"id": str(i), "formula": "X", "bonding": "layers", "known_material": False, "computed": dict.fromkeys(("electronic", "ionic", "total"), 10.0)} for i in range(3)]
    refused = say(0.0) | dict.fromkeys(("electronic", "ionic", "total"))
    table = own_table({"crystals": crystals, "variants": {"default": [say(10.5), say(12.0), say(10.1)], "default-physics": [say(9.0), refused, say(5.0)]}})
    head, _, row = table.splitlines()
    cells = dict(zip(map(str.strip, head.split("|")), map(str.strip, row.split("|")), strict=True))
    assert (cells["crystals"], cells["total, default"], cells["total, default-physics"]) == ("3", "5 % (67 %)", "30 % (50 %)") and "electronic, default-physics" not in cells
