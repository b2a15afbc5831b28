"""Answers that no crystal can give are refused in words, in `predict` and in a stream alike."""

import warnings

import numpy as np
import pytest
import torch

from dtnet_core.crystals.structures import InvalidStructureError
from dtnet_core.domain.known import known_crystals
from dtnet_core.ensemble import Ensemble
from dtnet_core.members import with_total
from dtnet_core.screening.streaming import _columns
from dtnet_core.trust.judge import below_empty_space, unphysical

from ..conftest import CRYSTALS


def members(electronic=(3.0, 3.2, 2.9), ionic=(5.0, 5.5, 4.8)):
    parts = np.stack([np.asarray(electronic), np.asarray(ionic)], 1)  # [M, 2]
    return with_total(parts[..., None, None] * np.eye(3))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (members(), None),
        (members(ionic=(50.0, 60.0, 70.0)), None),
        (members(electronic=(np.nan, 3, 3)), "not finite"),
        (members(ionic=(np.inf, 3, 3)), "not finite"),
        (members(electronic=(3e8, 3e8, 3e8)), "more than 5 times"),
        (members(ionic=(600.0, 610.0, 620.0)), "more than 5 times"),
        (members(electronic=(0.5, 0.6, 0.4)), "electronic tensor has the eigenvalue 0.5, below 1"),
        (members(ionic=(-2.0, -2.0, -2.0)), "ionic tensor has the eigenvalue -2, below 0"),
        (members(ionic=(0.0, 1.0, 300.0)), "networks disagree"),
    ],
)
def test_what_no_crystal_can_have(found, words):
    reason = unphysical(found)
    assert reason is None if words is None else words in reason
    row = _columns(found)
    assert row.get("error") == reason and ("eps_total_mean" in row) is (reason is None)


def one(electronic, ionic) -> np.ndarray:
    """[2, 3, 3, 3]: two networks that say the same tensors."""
    return with_total(np.stack([np.stack([np.asarray(electronic, float), np.asarray(ionic, float)])] * 2))


def test_where_the_bounds_are():
    """Just inside and just outside; eigenvalues and elements of either sign count, not the diagonal, and a rounding below a floor is none."""

    def two(ratio):  # constants with this deviation over their mean
        total = 50 + np.array([1, -1]) * 50 * ratio / np.sqrt(2)
        return members((3.0, 3.0), total - 3)

    assert unphysical(two(0.98)) is None and "disagree by 102 %" in unphysical(two(1.02))
    assert unphysical(members((3.0,), (7.0,))) is None  # one network cannot disagree
    wide, eye = np.array([[600.0, -490, 0], [-490, 600, 0], [0, 0, 600]]), np.eye(3)
    assert unphysical(one(3 * eye, 496 * eye)) is None and "element of 501" in unphysical(one(3 * eye, 498 * eye))
    assert "element of 603" in unphysical(one(3 * eye, wide)) and unphysical(one(3 * eye, 0.8 * wide)) is None
    tilted = np.array([[0, 1.0, 0], [1, 0, 0], [0, 0, 0]])
    assert unphysical(one(3 * eye + 1.9 * tilted, 3 * eye)) is None and "electronic tensor has the eigenvalue 0.9, below 1" in unphysical(one(3 * eye + 2.1 * tilted, 3 * eye))
    assert unphysical(one(3 * eye, 2 * eye + 1.9 * tilted)) is None and "ionic tensor has the eigenvalue -0.1, below 0" in unphysical(one(3 * eye, 2 * eye + 2.1 * tilted))
    twisted = np.array([[0, 5.0, 0], [-5, 0, 0], [0, 0, 0]])
    assert unphysical(one(3 * eye + twisted, 3 * eye + twisted)) is None
    assert unphysical(one(0.9995 * eye, -0.0005 * eye)) is None and "0.998" in unphysical(one(0.998 * eye, 3 * eye)) and "-0.002" in unphysical(one(3 * eye, -0.002 * eye))


def test_empty_space_is_the_least():
    assert below_empty_space(1.0) == "" and below_empty_space(7.0) == ""
    assert "electronic constant is 0.99 " in below_empty_space(0.99) and "-3 " in below_empty_space(-3.0)


class Fixed:
    """A network that always gives its own constants."""

    def __init__(self, values):
        self.values = values

    def in_units(self, packed):
        return torch.stack([torch.tensor([v, v, v, 0.0, 0.0, 0.0]) for v in self.values]).expand(packed.n_crystals, -1, -1)

    def unbounded(self, six):
        return six

    bound = unbounded


def ensemble(*constants):
    return Ensemble("total", [Fixed(c) for c in constants], ["7net-0:0"] * len(constants), {"base": 0.1, "0.68": 1.0, "0.9": 2.0})


def test_predict_refuses_an_answer_with_a_flag_and_keeps_the_others(tmp_path):
    crystal = CRYSTALS["cubic"]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        good = ensemble((3.0, 6.0), (3.1, 6.2)).predict(crystal, tmp_path, progress=False)
    assert good.tensors.shape == (1, 3, 3) and good.flags == ("",) and np.isfinite(good.std).all()
    with pytest.warns(UserWarning, match=r"crystal 0 \(Mg1 O1\): the predicted tensor has an element of 3\.3e\+08"):
        bad = ensemble((3.0, 3.3e8), (3.1, 3.3e8)).predict([crystal, crystal], tmp_path, progress=False)
    assert np.isnan(bad.tensors).all() and np.isnan(bad.std).all() and all("element" in flag for flag in bad.flags)


def test_an_atom_in_a_box_is_refused_and_a_slab_is_told(tmp_path):
    box, slab = (known_crystals()[name][0] for name in ("helium in a box", "MgO slab with vacuum"))
    with pytest.raises(InvalidStructureError, match="an atom alone in a box is no crystal"):
        ensemble((3.0, 6.0), (3.1, 6.2)).predict(box, tmp_path, progress=False)
    with pytest.warns(UserWarning, match="a slab, wire or molecule, for which the constant depends on the gap"):
        found = ensemble((3.0, 6.0), (3.1, 6.2)).predict(slab, tmp_path, progress=False)
    assert found.warnings[0] == (found.flags[0],) and found.in_domain.all()  # these networks know no training crystals


def test_no_crystals_give_arrays_without_rows(tmp_path):
    found = ensemble((3.0, 6.0), (3.1, 6.2)).predict([], tmp_path, progress=False)
    assert [a.shape for a in (found.tensors, found.std, found.wide, found.members)] == [(0, 3, 3), (0,), (0,), (2, 0, 3, 3)]
    assert found.flags == ()
