"""`dtnet results`: tables and figures from the stored results."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Command, Profile, Seeds, among, group

app = group("Make tables and figures again from stored results.")


@app.command(cls=Command)
def tables() -> None:
    """Rewrite every table that stands in README.md and other Markdown files."""
    from ...report.documents import update_documents

    for name, mark in update_documents():
        print(f"{name}: {mark}")


@app.command(cls=Command)
def figures() -> None:
    """Redraw figures/ from the stored results."""
    from ...report.draw import draw_figures

    for name in draw_figures():
        print(f"figures/{name}.png, .pdf")


@app.command(cls=Command)
def summary(profile: Profile = "full") -> None:
    """Store the numbers of a cleaned data set in data/results/dataset.json."""
    from ...data.summary import store_summary

    print(store_summary(profile))


@app.command(cls=Command)
def splits(wide: Annotated[bool, typer.Option(help="of the recipes on all files of labels")] = False) -> None:
    """Store the ids of every split behind the joint models' results, so that anybody can check them."""
    from ...base.paths import RESULTS
    from ...data.stored_splits import store_splits

    print(store_splits(RESULTS / ("splits_wide.json" if wide else "splits.json"))["chosen_on"])


@app.command(cls=Command)
def blind() -> None:
    """Test the shipped weights on crystals that no file of their training holds: data/results/blind.json."""
    from ...training.blind import run_blind

    for scores in run_blind()["variants"]:
        print({k: v for k, v in scores.items() if not isinstance(v, (dict, list)) and k != "histogram"})


@app.command(cls=Command)
def principal() -> None:
    """Calibrate the shipped networks' eigenvalues and axes, and test that: data/results/principal.json."""
    from ...training.principal import run_principal

    for variant, targets in run_principal()["variants"].items():
        for target, found in targets.items():
            print(variant, target, {k: round(v, 3) if isinstance(v, float) else v for k, v in found["test"].items()})


@app.command(cls=Command)
def known() -> None:
    """Ask the shipped networks for crystals of which anybody knows what to expect: data/results/known_physics.json."""
    from ...domain.known import run_known

    for variant, rows in run_known()["variants"].items():
        for row in rows:
            print(f"{variant}: {row['name']}: " + (row["refused"] or f"{row['total']['constant']:.1f} ± {row['total']['half_width_90']:.1f}, in the domain: {row['in_domain']}"))


@app.command(cls=Command)
def own() -> None:
    """Test the shipped networks on the kit's own DFPT crystals, none of which trained them: data/results/own_crystals.json."""
    from ...domain.own import run_own
    from ...report.new_kinds import own_table

    print(own_table(run_own()))


@app.command(cls=Command)
def domain(
    labels: Annotated[list[str] | None, typer.Option(callback=among("domain.benchmark", "VARIANTS"), help="what networks learn from; those not named stay in the file as they are; default: all")] = None,
    ship: Annotated[bool, typer.Option(help="what ships grows its intervals by what is found")] = True,
) -> None:
    """Keep kinds of crystals from training and judge the answers for them: data/results/domain.json, and the known crystals beside the weights."""
    from ...domain.record import VARIANTS, run_domain

    record = run_domain(labels or tuple(VARIANTS), ship)
    for variant in record["variants"]:
        for kind, scores in variant["kinds"].items():
            e = scores["electronic"]
            print(f"{variant['labels']}: {kind}: {scores['n']} crystals, electronic MAE_ten {e['mae_ten']:.3f}, 90 % interval holds {e['covered_growing']['0.9']:.2f}")
    if ship:
        print(record["shipped"])


@app.command(cls=Command)
def strain() -> None:
    """Fit what tells crystals that are not at rest, beside the weights: data/results/strain.json."""
    from ...domain.strain import run_strain

    found = run_strain()
    for s, one in found["estimate"].items():
        print(f"scaled by {s}: estimate {one['mean']:.3f} ± {one['deviation']:.3f}, suspected {one['suspected']:.3f}")
    for s, one in found["energies"].items():
        print(f"scaled by {s}: by energies {one['median']:.3f}, strained {one['strained']:.3f}")


@app.command(cls=Command)
def ramps(
    recipe: Annotated[str, typer.Option(metavar="default|best", callback=among("training.recipes", "RECIPES"))] = "best",
    seeds: Seeds = None,
) -> None:
    """Compare ways to lean on the guess on validation crystals of random splits: data/results/ramps.json."""
    from ...domain.ramps import compare_ramps

    for row in compare_ramps(seeds or range(5), recipe)["rows"]:
        print(f"seed {row['seed']}, {row['ramps']}: MAE_ten " + ", ".join(f"{t} {row[t]:.4f}" for t in ("electronic", "ionic", "total")))
