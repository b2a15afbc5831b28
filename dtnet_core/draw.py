"""Redraw `figures/` from the stored results: ``python -m dtnet_core.draw``."""

from __future__ import annotations

from pathlib import Path

from . import figures
from .baselines import MODELS
from .baselines.table2 import cells
from .data import read_json
from .results import headline, load_results

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "data/results"


def main() -> None:
    """Every figure that needs nothing but `data/results` and `data/paper`."""
    paper, comparison = read_json(ROOT / "data/paper/table2.json"), read_json(RESULTS / "dfpt_comparison.json")
    stored = load_results(RESULTS / "tensors.json")
    full = headline(stored)
    simple = [r for r in full if r["model"] == "DTNet-simple"]
    joint = [r for r in full if r["model"] == "DTNet-joint"]
    best = [r for r in joint if r["encoder"] == max((j["encoder"] for j in joint), key=len)]
    drawn = {
        "layer_ablation": figures.layer_ablation([r for r in simple if r["target"] == "total"], paper=paper),
        "against_paper": figures.against_paper(full, paper),
        "crystal_systems": figures.system_bars([r for r in simple if r["layer"] == "0-5"], paper),
        "crystal_systems_joint": figures.system_bars(best, paper),
        "roads": figures.road_changes(load_results(RESULTS / "roads.json")),
        "search": figures.search_trials(read_json(RESULTS / "search.json")),
        "dfpt_against_materials_project": figures.dfpt_parity(comparison["crystals"]),
        "dfpt_against_measurement": figures.measured_parity(comparison["measured"]),
        "dfpt_convergence": figures.dfpt_convergence(read_json(RESULTS / "dfpt_convergence.json")["rows"]),
    }
    peers = [r for r in full if r["model"] in MODELS]
    if peers:
        simple_all = [r for r in simple if (r["encoder"], r["layer"]) == ("7net-0", "0-5")]
        drawn["table2"] = figures.table2_dots(cells([*best, *simple_all, *peers]), paper)
    curves = [r for r in load_results(RESULTS / "learning_curves.json") if r["profile"] == "full"]
    if curves:
        models = {r["model"] for r in curves}
        ends = [r for r in peers if r["model"] in models] + [r for r in simple if r["layer"] == "0-5" and r["model"] in models]
        drawn["data_efficiency"] = figures.data_efficiency([*curves, *ends])
    if costs := [r for r in load_results(RESULTS / "baseline_cost.json") if r["profile"] == "full"]:
        drawn["training_cost"] = figures.training_cost(costs)
    for variant in ("default", "best"):
        records = [r for r in load_results(RESULTS / "calibration.json") if r["variant"] == variant]
        drawn[f"reliability_{variant}"] = figures.reliability(records)
    for name, figure in drawn.items():
        figures.save(figure, ROOT / "figures" / name)
        print(f"figures/{name}.png, .pdf")


if __name__ == "__main__":
    main()
