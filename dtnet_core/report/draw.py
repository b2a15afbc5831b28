"""Redraw `figures/` from the stored results: ``dtnet results figures``."""

from __future__ import annotations

import os

from pymatgen.util.string import latexify
from scipy.spatial.transform import Rotation

from ..base.files import read_json
from ..base.paths import RESULTS, ROOT
from ..base.results import JOINT, MORE_LABELS, load_results
from ..data.loading import DATA_DIR_VARIABLE, load_records
from . import figures
from .table2 import MODELS, beside_ours, cells, with_ends
from .tables import headline, layers_with_and_without_pretraining

FRONT = "MgI2-cdi2"
"""The crystal of the front page: layered, so that its tensor is no sphere."""
RUTILE = ("rutile TiO2", (86.0, 170.0))
"""Measured at room temperature across and along the axis (Parker, Phys. Rev. 124, 1719, 1961)."""
_QUANTITY = {"figure of merit": r"$E_g\varepsilon$ (eV)", "anisotropy": r"$\lambda_{max} / \lambda_{min}$"}


def baseline_figures(stored: list[dict], paper: dict) -> dict:
    """Table 2, learning curves and cost of the baselines, as far as they are stored."""
    runs, drawn = beside_ours(stored), {}
    if any(r["model"] in MODELS for r in runs):
        drawn["table2"] = figures.table2_dots(cells(runs), paper)
    if curves := [r for r in load_results(RESULTS / "learning_curves.json") if r["profile"] == "full"]:
        drawn["data_efficiency"] = figures.data_efficiency(with_ends(curves, runs))
    if costs := [r for r in load_results(RESULTS / "baseline_cost.json") if r["profile"] == "full"]:
        drawn["training_cost"] = figures.training_cost(costs)
    return drawn


def draw_figures() -> list[str]:
    """Every figure that needs nothing but `data/results` and `data/paper`; gives their names."""
    paper, comparison = read_json(ROOT / "data/paper/table2.json"), read_json(RESULTS / "dfpt_comparison.json")
    stored = load_results(RESULTS / "tensors.json")
    full = [r for r in headline(stored) if r["model"] != MORE_LABELS]  # on fewer splits
    simple = [r for r in full if r["model"] == "DTNet-simple"]
    joint = [r for r in full if r["model"] == JOINT]
    best = [r for r in joint if r["encoder"] == max((j["encoder"] for j in joint), key=len)]
    drawn = {
        "layer_ablation": figures.layer_ablation([r for r in simple if r["target"] == "total"], paper=paper),
        "pretrained_and_scratch": figures.layer_ablation(layers_with_and_without_pretraining(stored, load_results(RESULTS / "short_budget.json")), paper=paper),
        "against_paper": figures.against_paper(full, paper),
        "crystal_systems": figures.system_bars([r for r in simple if r["layer"] == "0-5"], paper),
        "crystal_systems_joint": figures.system_bars(best, paper),
        "roads": figures.road_changes(load_results(RESULTS / "roads.json")),
        "search": figures.search_trials(read_json(RESULTS / "search.json")),
        "dfpt_against_materials_project": figures.dfpt_parity(comparison["crystals"]),
        "dfpt_against_measurement": figures.measured_parity(comparison["measured"]),
        "blind": figures.blind_maps(read_json(RESULTS / "blind.json")),
        "reach": figures.reach_panels(read_json(RESULTS / "domain.json")),
        "charges": figures.charge_maps(read_json(RESULTS / "charges.json")),
        "modes_gain": figures.modes_gain(load_results(RESULTS / "physics.json"), read_json(RESULTS / "known_physics.json"), *RUTILE),
        "dfpt_convergence": figures.dfpt_convergence(read_json(RESULTS / "dfpt_convergence.json")["rows"]),
    }
    shown = next(r for r in load_records("mini") if r.id == FRONT)
    drawn["front"] = figures.front_page(shown.structure, shown.eps_total, Rotation.from_euler("xyz", (35, 50, 20), degrees=True).as_matrix())
    drawn |= baseline_figures(stored, paper)
    drawn |= screening_figures(load_results(RESULTS / "screening.json"))
    for variant in ("default", "best"):
        records = [r for r in load_results(RESULTS / "calibration.json") if r["variant"] == variant]
        drawn[f"reliability_{variant}"] = figures.reliability(records)
    for name, figure in drawn.items():
        figures.save(figure, ROOT / "figures" / name)
    return list(drawn)


def screening_figures(stored: list[dict]) -> dict:
    """Figures of `data/results/screening.json`; the crystals' only where the data folder has them."""
    runs = [r for r in stored if r["study"] == "retrospective" and r["profile"] == "full"]
    drawn = {"screening_retrospective": figures.retrospective_curves(runs)} if runs else {}
    rankings = {r["task"]: r for r in stored if r["study"] == "ranking" and r["profile"] == "full"}
    if merit := rankings.get("figure of merit"):
        gaps, eps = zip(*merit["points"], strict=True)
        drawn |= {"screening_gap_maps": figures.gap_maps(merit["densities"]), "screening_pareto": figures.pareto(gaps, eps, merit["front"])}
    if rankings and os.environ.get(DATA_DIR_VARIABLE):
        pool = {r.id: r.structure for r in load_records("full", "screening_pool")}
        shown = [(_QUANTITY[task], b) for task, r in rankings.items() for b in r["best"][:3]]
        titles = [f"{latexify(b['formula'])}\n{quantity} = {b['value']:.1f} ± {b['deviation']:.1f}" for quantity, b in shown]
        drawn["screening_candidates"] = figures.crystals([pool[b["id"]] for _, b in shown], titles)
    return drawn
