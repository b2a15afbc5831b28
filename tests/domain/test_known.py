"""Crystals of known physics: the stored record is of the weights that ship, and says what anybody would expect."""

from __future__ import annotations

import numpy as np
import pytest

from dtnet_core.base.files import read_json
from dtnet_core.base.paths import RESULTS, WEIGHTS
from dtnet_core.data.loading import data_sha256
from dtnet_core.domain.known import known_crystals, say
from dtnet_core.domain.own import own_crystals
from dtnet_core.physics.ionic import IS_SOFT, UNSTABLE
from dtnet_core.report.trust import known_text

STORED = read_json(RESULTS / "known_physics.json")


def test_stored_answers_are_those_of_the_networks_that_ship(tmp_path):
    chosen = {name: known_crystals()[name] for name in ("rock salt MgO", "layered MoTe2", "helium in a box")}
    stored = {row["name"]: row for row in STORED["variants"]["default"]}
    assert list(stored) == list(known_crystals())
    for row in say("default", chosen, WEIGHTS, tmp_path):
        told = stored[row["name"]]
        assert (row["refused"], row.get("in_domain"), [list(n) for n in row.get("nearest", ())]) == (told["refused"], told.get("in_domain"), told.get("nearest", []))
        for target in ("electronic", "total") if not row["refused"] else ():
            for key in ("constant", "half_width_68", "half_width_90"):
                assert row[target][key] == pytest.approx(told[target][key], rel=0.02)


@pytest.mark.parametrize("variant", sorted(STORED["variants"]))
def test_what_is_new_is_told_and_what_is_no_crystal_is_refused(variant):
    assert STORED["calibration_sha256"][variant] == data_sha256(WEIGHTS / variant / "calibration.json"), "run: dtnet results known"
    rows = {row["name"]: row for row in STORED["variants"][variant]}
    assert {name for name, row in rows.items() if row["refused"]} == {"helium in a box"}
    for name in ("solid argon", "copper"):
        assert not rows[name]["in_domain"] and any("outside of the domain" in words for words in rows[name]["warnings"])
    for name in ("rock salt MgO", "rutile TiO2", "perovskite SrTiO3"):
        words = {"physics": [UNSTABLE], "default-physics": [IS_SOFT]}.get(variant, []) if name == "perovskite SrTiO3" else []
        *told, extreme = rows[name]["warnings"] if name != "rock salt MgO" else [*rows[name]["warnings"], "extreme: the total tensor"]
        assert rows[name]["in_domain"] == (words != [UNSTABLE]) and told == words and extreme.startswith("extreme: the total tensor") and rows[name]["extreme"] == (name != "rock salt MgO")
    assert rows["layered MoTe2"]["electronic"]["chance"] > 0.5 > 0.1 > rows["rock salt MgO"]["electronic"]["chance"]  # DFPT gives 8 to 10 for the former, networks 12 and more
    assert any("depends on the gap" in words for words in rows["MgO slab with vacuum"]["warnings"])


def test_the_guide_has_a_row_and_a_sentence_for_each():
    lines = known_text(STORED).splitlines()
    assert not any(" nan " in line for line in lines) and "electronic, physics" not in lines[0] and "total, default-physics" in lines[0]
    for name, (_, what) in known_crystals().items():
        assert sum(line.startswith(f"| {name} |") for line in lines) == 1 and sum(line.startswith(f"- **{name}**, {what}. The kit: ") for line in lines) == 1
    assert sum("refused" in line for line in lines) == 2
    (perovskite,) = (line for line in lines if line.startswith("- **perovskite"))
    assert "The kit: extreme: the total tensor may have an eigenvalue above" in perovskite and perovskite.endswith(f"; `default-physics` adds: {IS_SOFT}; `physics` adds: {UNSTABLE}.")


def test_networks_do_not_know_what_pressure_does_and_the_kit_says_so():
    """By DFPT the total constant of MgO falls to less than 0.6 of what it is at rest; networks say that it grows, and every variant warns."""
    computed = {r.id: np.trace(r.eps_total) / 3 for r in own_crystals() if r.formula == "MgO"}
    assert computed["MgO-pressed"] < 0.6 * computed["MgO-rocksalt"]
    for variant, rows in STORED["variants"].items():
        said = {row["name"]: row for row in rows}
        pressed = said["MgO under pressure"]
        assert not pressed["in_domain"] and any(words.startswith("strained: its lattice constants are") and "shorter" in words for words in pressed["warnings"])
        assert variant != "default" or pressed["total"]["constant"] > said["rock salt MgO"]["total"]["constant"]


def test_vibrations_tell_what_networks_miss_of_rutile():
    """Total constants 86 and 170 (measured): with modes both are nearer, and the 68 % interval holds the mean."""
    answers = {v: next(r for r in STORED["variants"][v] if r["name"] == "rutile TiO2")["total"] for v in ("best", "physics")}
    off = {v: [abs(a["tensor"][0][0] - 86), abs(a["tensor"][2][2] - 170)] for v, a in answers.items()}
    assert all(with_modes < without / 2 for with_modes, without in zip(off["physics"], off["best"], strict=True))
    assert abs(answers["physics"]["constant"] - (86 + 86 + 170) / 3) < answers["physics"]["half_width_68"]
