"""Every figure of the kit, in one style, from one place.

Each function draws one figure and returns it; `save` writes it as PNG and PDF; `style` gives other plots the
same look.
"""

from __future__ import annotations

from dtnet_core.figure_style import METRIC_LABELS, PALETTE, TARGET_LABELS, letter_panels, save, style
from dtnet_core.figures_compare import against_paper, scaling
from dtnet_core.figures_data import crystal_system_counts, electronic_ionic_map, element_counts
from dtnet_core.figures_models import layer_ablation, learning_curve, parity, system_bars
from dtnet_core.figures_tensor import tensor_glyph

__all__ = [
    "METRIC_LABELS",
    "PALETTE",
    "TARGET_LABELS",
    "against_paper",
    "crystal_system_counts",
    "electronic_ionic_map",
    "element_counts",
    "layer_ablation",
    "learning_curve",
    "letter_panels",
    "parity",
    "save",
    "scaling",
    "style",
    "system_bars",
    "tensor_glyph",
]
