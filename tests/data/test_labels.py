"""Labels beside the benchmark's: which are taken."""

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals.record import Record
from dtnet_core.data.labels import load_auxiliary, load_if_there
from dtnet_core.data.loading import load_records, save_records
from tests.conftest import CRYSTALS


def scalars(name: str, electronic=4.0, total=9.0, structure=None, mp_id=None) -> Record:
    meta = {k: v for k, v in (("eps_electronic_poly", electronic), ("eps_total_poly", total)) if v is not None}
    return Record(name, structure or CRYSTALS["cubic"](), "MgO", functional="PBE", mp_id=mp_id, meta=meta)


def test_pbesol_tensors_and_usable_scalars_of_other_crystals(tmp_path):
    cubic = CRYSTALS["cubic"]()
    actinide = cubic.copy()
    actinide.replace_species({"Mg": "Cm"})
    tensors = [replace(r, id=f"sol-{r.id}", functional="PBEsol") for r in load_records("mini")[:3]]
    save_records([*tensors, replace(tensors[0], id="refused", flags=("not-converged",))], tmp_path / "pbesol_tensors.json.gz")
    kept = ["good", "edges", "whole", "unnamed", "sixty"]
    save_records([
        scalars("good", mp_id="mp-1"), scalars("edges", 1.0, 1.0), scalars("whole", 1.0, 100.0), scalars("unnamed"),
        scalars("known", mp_id="mp-7"), scalars("low", 0.99, 9.0), scalars("inverted", 5.0, 4.9), scalars("high", 4.0, 100.1),
        scalars("no-total", 4.0, None), scalars("no-electronic", None, 4.0), scalars("actinide", structure=actinide), scalars("sixty", structure=cubic * (5, 3, 2)),
        scalars("sixty-one", structure=Structure(Lattice.cubic(9), ["Mg"] * 61, np.random.default_rng(0).random((61, 3)))),
    ], tmp_path / "mp_scalars.json.gz")  # fmt: skip
    benchmark = [scalars("x", mp_id="mp-7"), scalars("y")]
    found = load_auxiliary(benchmark, tmp_path)
    assert [r.id for r in found] == [*(r.id for r in tensors), *kept]
    assert {r.functional for r in found[:3]} == {"PBEsol"} and {r.functional for r in found[3:]} == {"PBE"}
    with pytest.warns(UserWarning, match=r"no other\.json\.gz"):
        assert load_if_there("other", tmp_path) == []
    (tmp_path / "nothing").mkdir()
    with pytest.warns(UserWarning) as caught:
        assert load_auxiliary(benchmark, tmp_path / "nothing") == []
    assert [w.filename for w in caught] == [__file__] * 2  # the warning shows the line that asked for labels
