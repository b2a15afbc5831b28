"""The blind test takes only crystals that nothing in the training files is related to by id or formula."""

import numpy as np
import pytest

from dtnet_core.crystals.record import Record
from dtnet_core.training.blind import constants, unseen
from tests.conftest import CRYSTALS


def record(name: str, crystal: str, **more) -> Record:
    structure = CRYSTALS[crystal]()
    return Record(name, structure, structure.composition.reduced_formula, **more)


def test_known_ids_and_formulas_are_left_out():
    known = [record("k", "cubic", mp_id="mp-1"), record("l", "hexagonal", mp_id="mp-2")]
    asked = [record("a", "cubic", mp_id="mp-9"), record("b", "chiral", mp_id="mp-1"), record("c", "chiral", mp_id="mp-3"), record("d", "triclinic", mp_id="mp-4")]
    assert [r.id for r in unseen(asked, known)] == ["c", "d"]


def test_constants_come_from_tensors_diagonals_or_scalars():
    tensor = np.diag([2.0, 3.0, 4.0])
    asked = [record("a", "cubic", eps_electronic=tensor), record("b", "cubic", meta={"eps_electronic_diag": [1.0, 2.0, 6.0]}), record("c", "cubic", meta={"eps_electronic_poly": 5.0})]
    assert constants(asked).tolist() == pytest.approx([3.0, 3.0, 5.0])
