"""Tables for readers are short, in words, and the same each time."""

import numpy as np
import pandas as pd

from dtnet_core.report.readable import matrix, readable


def test_a_table_is_short_in_words_and_the_same_each_time():
    table = pd.DataFrame({"mae_ten": np.arange(12.0), "gap_ev": [np.nan, *range(11)], "n": range(1000, 1012)})
    first, again = (readable(table, "Errors", digits=1, lowest=["mae_ten"]).to_html() for _ in range(2))
    assert first == again and "Errors (first 10 of 12)" in first and first.count("<tr>") == 11
    assert all(text in first for text in ("MAE of the tensor", "band gap (eV)", ">9.0<", ">1,009<", "–")) and ">10.0<" not in first
    assert repr(readable(table, "Errors", digits=3)).splitlines()[1].split() == ["0", "0.000", "–", "1000"]
    assert "_row0_col0 {\n  font-weight: bold;" in first and list(table.columns) == ["mae_ten", "gap_ev", "n"]


def test_a_matrix_has_no_sign_on_its_zeros():
    assert matrix([[1, -0.001, 0], [0, 2.5, -3], [0, 0, 1e-9]]).split() == ["1.00", "0.00", "0.00", "0.00", "2.50", "-3.00", "0.00", "0.00", "0.00"]
