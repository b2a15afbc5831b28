"""The functional of a VASP run is the one it ran with; nothing but PBE, PBE+U and PBEsol gets their names."""

import pytest

from dtnet_core.crystals.record import LABELLED
from dtnet_core.dfpt.functional import family_of, functional_name

PBE, LDA = ["PAW_PBE B 08Apr2002", "PAW_PBE N 08Apr2002"], ["PAW B 22Mar2012", "PAW N 22Mar2012"]
HYBRID = {"GGA": "PE", "LHFCALC": True}


@pytest.mark.parametrize(
    ("tags", "potentials", "name"),
    [
        ({"GGA": "--"}, PBE, "PBE"),
        ({}, PBE, "PBE"),
        ({"GGA": "Pe", "LDAU": False, "IVDW": 0, "AEXX": 0.0, "LSORBIT": False, "METAGGA": "--", "LUSE_VDW": False}, PBE, "PBE"),
        ({"GGA": "PS"}, PBE, "PBEsol"),
        ({"GGA": "Pe", "LDAU": True, "LDAUU": [0.0, 3.0]}, PBE, "PBE+U"),
        ({"GGA": "Pe", "LDAU": True, "LDAUU": [0.0, 0.0], "LDAUJ": [0.0, 0.0]}, PBE, "PBE"),
        ({"GGA": "--"}, LDA, "LDA"),
        ({"GGA": "CA"}, PBE, "LDA"),
        ({"GGA": "Pe"}, LDA, "PBE on LDA potentials"),
        ({"GGA": "--"}, [PBE[0], LDA[1]], "mixed potentials (LDA, PBE)"),
        ({"GGA": "--"}, ["PAW_GGA O 05Jan2001"], "PW91"),
        ({"GGA": "--"}, [], "unknown"),
        ({"GGA": "91"}, PBE, "PW91"),
        ({"GGA": "RP"}, PBE, "RPBE"),
        ({"GGA": "Am"}, PBE, "AM05"),
        ({"GGA": "Bo"}, PBE, "optB88"),
        ({"GGA": "ZZ"}, PBE, "GGA ZZ"),
        (HYBRID | {"HFSCREEN": 0.2, "AEXX": 0.25}, PBE, "HSE06"),
        (HYBRID | {"HFSCREEN": 0.3, "AEXX": 0.25}, PBE, "HSE03"),
        (HYBRID | {"HFSCREEN": 0.0, "AEXX": 0.25}, PBE, "PBE0"),
        (HYBRID, PBE, "PBE0"),
        ({"GGA": "--", "LHFCALC": True, "HFSCREEN": 0.2}, PBE, "HSE06"),
        ({"GGA": "B3", "LHFCALC": True, "AEXX": 0.2, "AGGAX": 0.72}, PBE, "B3LYP"),
        (HYBRID | {"AEXX": 1.0}, PBE, "HF"),
        (HYBRID | {"AEXX": 0.32, "HFSCREEN": 0.2}, PBE, "hybrid PBE (AEXX = 0.32, HFSCREEN = 0.2)"),
        ({"GGA": "PE", "METAGGA": "Scan"}, PBE, "SCAN"),
        ({"GGA": "--", "METAGGA": "R2SCAN"}, PBE, "R2SCAN"),
        ({"METAGGA": "SCAN", "LUSE_VDW": True}, PBE, "SCAN+rVV10"),
        ({"GGA": "PE", "IVDW": 11}, PBE, "PBE-D3"),
        ({"GGA": "PE", "IVDW": 12}, PBE, "PBE-D3(BJ)"),
        ({"GGA": "PE", "IVDW": 999}, PBE, "PBE-vdW(IVDW = 999)"),
        ({"GGA": "PE", "LVDW": True}, PBE, "PBE-D2"),
        ({"GGA": "BO", "LUSE_VDW": True}, PBE, "optB88-vdW"),
        ({"GGA": "MK", "LUSE_VDW": True}, PBE, "optB86b-vdW"),
        ({"GGA": "MK", "LUSE_VDW": True, "ZAB_VDW": -1.8867}, PBE, "rev-vdW-DF2"),
        ({"GGA": "PE", "LSORBIT": True}, PBE, "PBE+SOC"),
        ({"GGA": "PE", "LSORBIT": "T", "LDAU": True}, PBE, "PBE+U+SOC"),
    ],
)
def test_names(tags, potentials, name):
    assert functional_name(tags, {}, potentials) == name
    assert functional_name({}, tags, potentials) == name  # what only the INCAR says counts, too
    assert functional_name({"GGA": "--", "METAGGA": "--"}, tags, potentials) == name
    assert (name in LABELLED) is (name in ("PBE", "PBE+U", "PBEsol"))


def test_families_of_potentials():
    titles = ("PAW_PBE Fe_pv 06Sep2000", "PAW_PBE_54 Fe", "PAW Fe 03Mar1998", "US O", "PAW_GGA O", "")
    assert [family_of(title) for title in titles] == ["PBE", "PBE", "LDA", "LDA", "PW91", "unknown"]
