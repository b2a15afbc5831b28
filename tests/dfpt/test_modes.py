"""The ionic tensor from a polar mode, against the tensors that the same DFPT runs gave."""

from dataclasses import replace

import numpy as np
import pytest

from dtnet_core.data.loading import load_clean
from dtnet_core.dfpt.modes import has_one_polar_mode, polar_mode


@pytest.fixture(scope="module")
def records():
    return {r.id: r for r in load_clean("mini")[0]}


def test_modes_give_the_ionic_constants_and_the_ratios_of_lyddane_sachs_and_teller(records):
    two = [r for r in records.values() if has_one_polar_mode(r)]
    assert len(two) > 50 and {r.id.rsplit("-", 1)[1] for r in two} == {"rocksalt", "cscl", "zincblende"}
    for record in two:
        mode = polar_mode(record)
        assert np.isclose(mode.ionic, record.scalar("ionic"), rtol=3e-4), record.id
        assert np.isclose(mode.ratio, record.scalar("total") / record.scalar("electronic"), rtol=3e-4), record.id
        assert mode.longitudinal > mode.transverse and mode.charge > 0


def test_other_crystals_are_refused(records):
    salt = records["NaCl-rocksalt"]
    soft = replace(salt, meta=salt.meta | {"gamma_frequencies_cm1": [-50.0] * 3 + [0.0] * 3})
    for record, reason in ((records["C-diamond"], "C-diamond"), (records["MgI2-cdi2"], "MgI2-cdi2"), (soft, "not stable"), (replace(salt, meta={}), "NaCl-rocksalt")):
        with pytest.raises(ValueError, match=reason):
            polar_mode(record)
