"""Tables of candidates, on small cases made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from dtnet_core.report import candidates as tables
from dtnet_core.report.figures import published_ranks


def test_a_round_is_one_row_of_what_was_proposed_and_answered():
    proposed = [{"id": f"c{k}", "mean": float(k), "deviation": 0.1} for k in range(7)]
    answered = {"round": 1, "n_training": 85, "proposed": proposed, "answers": {"c0": {"value": 3.0}, "c1": {"value": 5.0}, "c2": {"value": None}}}
    waiting = {"round": 2, "n_training": 87, "proposed": proposed[:2], "answers": {}}
    first, second = tables.proposals([answered, waiting], "anisotropy").data.to_dict("records")
    assert (first["predicted, mean"], first["answered, mean"], first["best answer"], first["its crystal"]) == (3.0, 4.0, 5.0, "c1")
    assert first["proposed"] == "c0, c1, c2, c3, c4 and 2 more" and second["proposed"] == "c0, c1"
    assert np.isnan(second["answered, mean"]) and second["its crystal"] == "–"


def test_recalls_are_means_over_seeds_after_the_last_round():
    def run(choice, recall, hits):
        return {"task": "anisotropy", "acquisition": choice, "by_round": [{"recall": 0.0, "hits": hits}, {"recall": recall, "hits": 1}]}

    found = tables.recalls([run("ucb", 0.2, 1), run("ucb", 0.4, 3), run("random", 0.1, 0)])
    assert found.loc[("anisotropy", "ucb")].to_dict() == pytest.approx({"recall": 0.3, "deviation": 0.2 / 2**0.5, "hits": 3.0, "seeds": 2})


def test_computed_candidates_stand_beside_their_predictions():
    record = SimpleNamespace(id="a", formula="AB", meta={"gap_ev": 1.5}, flags=["soft-mode"], eps_total=np.diag([2.0, 4, 6]), scalar=lambda _: 4.0)
    (row,) = tables.computed_and_predicted([record], np.array([np.diag([3.0, 3, 9])]), np.array([0.5])).data.to_dict("records")
    assert (row["constant, computed"], row["predicted (± 68 %)"]) == (4.0, "5.00 ± 0.50")
    assert (row["ratio, computed"], row["ratio, predicted"], row["flags"]) == (3.0, 3.0, "soft mode")


def test_ranks_of_the_paper_s_crystals_are_drawn_by_search():
    found = {"anisotropy": {"candidates": 1000, "materials": [{"rank": 3}, {"rank": 40}]}, "figure of merit": {"candidates": 900, "materials": [{"rank": 7}]}}
    (ax,) = published_ranks(found).axes
    assert [c.get_offsets()[:, 0].tolist() for c in ax.collections] == [[3, 40], [7]]
    assert [line.get_xdata()[0] for line in ax.lines] == [10, 100, 500] and ax.get_xscale() == "log"
