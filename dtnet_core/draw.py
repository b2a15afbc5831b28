"""Redraw `figures/` from the stored results: ``python -m dtnet_core.draw``."""

from __future__ import annotations

import json
from pathlib import Path

from . import figures
from .results import load_results

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Every figure that needs nothing but `data/results` and `data/paper`."""
    paper = json.loads((ROOT / "data/paper/table2.json").read_text())
    stored = load_results(ROOT / "data/results/tensors.json")
    full = [r for r in stored if r["profile"] == "full" and r["split"] == "record"]
    total = [r for r in full if r["target"] == "total"]
    together = [r for r in full if r["layer"] == "0-5"]
    drawn = {
        "layer_ablation": figures.layer_ablation(total, paper=paper),
        "against_paper": figures.against_paper(full, paper),
        "crystal_systems": figures.system_bars(together, paper),
    }
    for name, figure in drawn.items():
        figures.save(figure, ROOT / "figures" / name)
        print(f"figures/{name}.png, .pdf")


if __name__ == "__main__":
    main()
