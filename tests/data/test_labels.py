"""Labels beside the benchmark's: which are taken."""

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals.record import Record, functional_kind
from dtnet_core.data.labels import LABELS, load_auxiliary, load_if_there
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


def electronic(name: str, diagonal=(4.0, 4.0, 4.0), whole=True, functional="PBE", gap=None, mp_id=None, structure=None) -> Record:
    """A record that knows its electronic tensor, or only the tensor's diagonal."""
    meta = {"eps_electronic_diag": list(diagonal), "eps_electronic_poly": float(np.mean(diagonal))} | ({} if gap is None else {"band_gap_ev": gap})
    return Record(name, structure or CRYSTALS["cubic"](), "MgO", np.diag(diagonal) if whole else None, functional=functional, mp_id=mp_id, meta=meta)


def test_electronic_labels_of_further_files(tmp_path):
    """Values and gaps at the limits, ids that are known, tensors in another frame; an id of an earlier file gets its file's name."""
    save_records([scalars("mp-1", mp_id="mp-1")], tmp_path / "mp_scalars.json.gz")
    save_records([], tmp_path / "pbesol_tensors.json.gz")
    turned = electronic("rotated", (2.0, 4.0, 6.0))  # no cubic crystal has that
    large = CRYSTALS["cubic"]() * (4, 4, 2)
    save_records([
        electronic("mp-1", mp_id="mp-1"), electronic("low", (1.0,) * 3), electronic("high", (30.0,) * 3, whole=False), turned,
        electronic("known", mp_id="mp-7"), electronic("below", (0.9,) * 3), electronic("above", (30.1,) * 3), electronic("large", structure=large),
    ], tmp_path / "naccarato_electronic.json.gz")  # fmt: skip
    save_records([
        electronic("wide", functional="OptB88vdW", gap=0.3, mp_id="mp-7"), electronic("narrow", functional="OptB88vdW", gap=0.29),
        electronic("unknown", functional="OptB88vdW"),
    ], tmp_path / "jarvis_electronic.json.gz")  # fmt: skip
    benchmark = [scalars("x", mp_id="mp-7")]
    found = {r.id: r for r in load_auxiliary(benchmark, tmp_path, LABELS)}
    assert list(found) == ["mp-1", "naccarato_electronic:mp-1", "low", "high", "rotated", "wide"]
    assert [functional_kind(r) for r in found.values()] == [0, 0, 0, 0, 0, 2]
    assert found["high"].eps_electronic is None and found["high"].diagonal("electronic").tolist() == [30.0] * 3
    assert found["rotated"].eps_electronic is None and found["rotated"].diagonal("electronic") is None and found["rotated"].scalar("electronic") == 4
    assert list(found["low"].diagonal("electronic")) == [1.0] * 3 and found["low"].scalar("ionic") is None
    assert [r.id for r in load_auxiliary(benchmark, tmp_path)] == ["mp-1"]  # what the shipped networks learned from
    with pytest.raises(ValueError, match="labels are naccarato; choose among pbesol_tensors"):
        load_auxiliary(benchmark, tmp_path, ["naccarato"])
