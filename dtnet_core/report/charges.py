"""Words and a table on Born charges, from `data/results/charges.json`."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from .markdown import markdown_table


def charges_text(record: Mapping) -> str:
    """The model card's sentences: errors out of fold, coverage, and what further labels would add where that was measured."""
    first = {name: v["seeds"][0] for name, v in record["variants"].items()}
    told = " and ".join(f"{s['diagonal_mae']:.3f} e ({name}; median {s['diagonal_median']:.3f})" for name, s in first.items())
    held = " and ".join(f"{100 * s['covered_68']:.0f} % (single folds: {100 * min(s['covered_by_fold']):.0f} to {100 * max(s['covered_by_fold']):.0f} %)" for s in first.values())
    more = "".join(
        f" With the kit's own {record['n_further']} crystals of PBE charges in the training, too, `{name}` would have {s['with_further']['born']['diagonal_mae']:.3f} e on the same PBEsol crystals; without them it is off by {s['further']['diagonal_mae']:.3f} e for theirs. They did not train what ships."
        for name, s in first.items() if "further" in s
    )  # fmt: skip
    return (f"Learned from {record['n']:,} crystals ({record['n_atoms']:,} atoms). In {record['folds']} folds by formula, predicted diagonal elements are off by {told} in the mean; intervals fitted on the other folds hold {held} of the "
            f"mean diagonal elements of a fold's atoms.{more}")  # fmt: skip


def charges_table(record: Mapping) -> str:
    """Errors in e out of fold, each variant's model above its baselines."""
    names = {"diagonal_mae": "diagonal, MAE", "diagonal_median": "diagonal, median", "all_mae": "all nine, MAE", "isotropic_mae": "mean diagonal, MAE"}
    rows = []
    for variant, found in record["variants"].items():
        s = found["seeds"][0]
        for model, scores in {"this model": s, "ridge regression": s["baselines"]["ridge"], "mean of the element": s["baselines"]["by_element"]}.items():
            rows.append({"variant": "any" if model == "mean of the element" else variant, "charges from": model} | {shown: f"{scores[key]:.3f}" for key, shown in names.items()} | {"68 % intervals hold": f"{100 * s['covered_68']:.0f} %" if scores is s else "-"})
    return markdown_table(pd.DataFrame(rows).drop_duplicates(subset=["charges from", *names.values()]))
