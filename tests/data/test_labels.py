"""Labels beside the benchmark's: which are taken."""

from dataclasses import replace

import pytest

from dtnet_core.crystals.record import Record
from dtnet_core.data import labels
from dtnet_core.data.labels import load_auxiliary, load_if_there
from dtnet_core.data.loading import load_records, save_records
from tests.conftest import CRYSTALS


def scalars(name: str, electronic=4.0, total=9.0, structure=None, mp_id=None) -> Record:
    meta = {k: v for k, v in (("eps_electronic_poly", electronic), ("eps_total_poly", total)) if v is not None}
    return Record(name, structure or CRYSTALS["cubic"](), "MgO", functional="PBE", mp_id=mp_id, meta=meta)


def test_pbesol_tensors_and_usable_scalars_of_other_crystals(tmp_path, monkeypatch):
    cubic = CRYSTALS["cubic"]()
    actinide = cubic.copy()
    actinide.replace_species({"Mg": "Cm"})
    tensors = [replace(r, id=f"sol-{r.id}", functional="PBEsol") for r in load_records("mini")[:3]]
    save_records([*tensors, replace(tensors[0], id="refused", flags=("not-converged",))], tmp_path / "pbesol_tensors.json.gz")
    kept = ["good", "edges", "whole", "unnamed"]
    save_records([
        scalars("good", mp_id="mp-1"), scalars("edges", 1.0, 1.0), scalars("whole", 1.0, 100.0), scalars("unnamed"),
        scalars("known", mp_id="mp-7"), scalars("low", 0.99, 9.0), scalars("inverted", 5.0, 4.9), scalars("high", 4.0, 100.1),
        scalars("no-total", 4.0, None), scalars("no-electronic", None, 4.0), scalars("actinide", structure=actinide), scalars("large", structure=cubic * (2, 2, 2)),
    ], tmp_path / "mp_scalars.json.gz")  # fmt: skip
    monkeypatch.setattr(labels, "MAX_ATOMS", 15)
    benchmark = [scalars("x", mp_id="mp-7"), scalars("y")]
    found = load_auxiliary(benchmark, tmp_path)
    assert [r.id for r in found] == [*(r.id for r in tensors), *kept]
    assert {r.functional for r in found[:3]} == {"PBEsol"} and {r.functional for r in found[3:]} == {"PBE"}
    monkeypatch.setattr(labels, "MAX_ATOMS", 16)
    assert [r.id for r in load_auxiliary(benchmark, tmp_path)][-1] == "large"
    with pytest.warns(UserWarning, match=r"no other\.json\.gz"):
        assert load_if_there("other", tmp_path) == []
