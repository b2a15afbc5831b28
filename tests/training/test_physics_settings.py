"""What the machine's errors are measured on: crystals of formulas that it did not learn from, that have modes and an ionic part."""

from types import SimpleNamespace

import numpy as np
import pytest

from dtnet_core.metrics import SMALLEST_CONSTANT
from dtnet_core.training.physics_settings import machine_errors


class Known:
    """A machine says of every crystal the mean logarithm of those that it learned from."""

    def __init__(self, constants, known, formulas):
        self.constants, self.modes, self.pooled = constants, SimpleNamespace(known=known, numbers=np.zeros((len(known), 7))), np.arange(len(known))[:, None]
        self.formulas, self.learned = formulas, []

    def fit(self, rows):
        self.learned.append(set(rows.tolist()))
        return SimpleNamespace(log_constant=lambda pooled, numbers: self.asked(rows, pooled[:, 0]))

    def asked(self, rows, asked):
        assert not {self.formulas[i] for i in rows} & {self.formulas[i] for i in asked}
        return np.full(len(asked), np.log(self.constants[rows]).mean())


def test_the_machine_is_asked_about_formulas_that_it_did_not_learn():
    g = np.random.default_rng(0)
    formulas = [f"A{i // 3}" for i in range(90)]
    constants, modes = np.exp(g.standard_normal(90)), np.arange(90) % 7 > 0
    constants[4] = SMALLEST_CONSTANT / 2
    known = Known(constants, modes, formulas)
    rows = np.arange(80)
    found = machine_errors(known, SimpleNamespace(records=[SimpleNamespace(formula=f) for f in formulas]), rows)
    usable = {i for i in range(80) if i % 7 and i != 4}
    assert found["n"] == len(usable) and len(known.learned) == 5 and set().union(*known.learned) == usable
    off = np.array([np.log(constants[list(learned)]).mean() - np.log(constants[i]) for learned in known.learned for i in usable - learned])
    assert len(off) == len(usable)
    assert found["mean_log_error"] == pytest.approx(np.abs(off).mean()) and found["rms_log_error"] == pytest.approx(np.sqrt((off**2).mean()))
