"""Every figure of the kit, in one style, from one place.

Each function draws one figure and returns it; `save` writes it as PNG and PDF; `style` gives other plots the
same look.
"""

from __future__ import annotations

from .baselines import data_efficiency, table2_dots, training_cost
from .blind import blind_maps
from .cells import crystals
from .charges import charge_maps
from .compare import against_paper, scaling
from .data import crystal_system_counts, electronic_ionic_map, element_counts
from .dfpt import dfpt_convergence, dfpt_parity, measured_parity
from .front import crystal_and_surface, front_page
from .matbench import errors_by_n, leaderboard_bars, parity_of_n
from .models import layer_ablation, learning_curve, parity, system_bars
from .physics import modes_gain
from .screening import checked, gap_maps, pareto, published_ranks, retrospective_curves, values_by_round
from .search import reliability, road_changes, search_trials
from .teaching import field_and_displacement, mode_sums, signed_surfaces, symmetry_patterns, turning_errors
from .tensor import tensor_glyph
from .theme import METRIC_LABELS, PALETTE, TARGET_LABELS, kept, letter_panels, save, style
from .trust import reach_panels

__all__ = [
    "METRIC_LABELS",
    "PALETTE",
    "TARGET_LABELS",
    "against_paper",
    "blind_maps",
    "charge_maps",
    "checked",
    "crystal_and_surface",
    "crystal_system_counts",
    "crystals",
    "data_efficiency",
    "dfpt_convergence",
    "dfpt_parity",
    "electronic_ionic_map",
    "element_counts",
    "errors_by_n",
    "field_and_displacement",
    "front_page",
    "gap_maps",
    "kept",
    "layer_ablation",
    "leaderboard_bars",
    "learning_curve",
    "letter_panels",
    "measured_parity",
    "mode_sums",
    "modes_gain",
    "pareto",
    "parity",
    "parity_of_n",
    "published_ranks",
    "reach_panels",
    "reliability",
    "retrospective_curves",
    "road_changes",
    "save",
    "scaling",
    "search_trials",
    "signed_surfaces",
    "style",
    "symmetry_patterns",
    "system_bars",
    "table2_dots",
    "tensor_glyph",
    "training_cost",
    "turning_errors",
    "values_by_round",
]
