"""`dtnet train`: readouts on stored features, joint models, encoders from scratch, what helps, and the weights that ship."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Annotated

import typer

from .options import (
    Again,
    Command,
    Device,
    Profile,
    Seeds,
    Split,
    Targets,
    Threads,
    among,
    group,
    use_threads,
)

app = group("Train and test networks; what is finished is skipped.")

_TRAINED = ("learning_rate", "weight_decay", "batch_size", "max_epochs", "patience")
Rate = Annotated[float | None, typer.Option(help="of AdamW")]
Decay = Annotated[float | None, typer.Option(help="of AdamW")]
Batch = Annotated[int | None, typer.Option(help="crystals a step")]
Epochs = Annotated[int | None, typer.Option(help="length of the cosine schedule")]
Patience = Annotated[int | None, typer.Option(help="epochs without a better validation error, then a run ends")]
Simple = Annotated[str, typer.Option(metavar="DTNet-simple|DTNet", callback=among("training.experiment", "MODELS"), help="without or with bond features")]
Recipes = Annotated[list[str] | None, typer.Option(metavar="default|best|...-wide", callback=among("training.recipes", "RECIPES"), help="wide: on all files of labels; default: default")]
Variants = Annotated[list[str] | None, typer.Option("--recipe", metavar="default|best", callback=among("training.recipes", "RECIPE_OF"), help="default: default")]


def _given(**values) -> dict:
    return {name: value for name, value in values.items() if value is not None}


@app.command(cls=Command)
def experiment(
    profile: Profile = "mini",
    features: Annotated[list[str] | None, typer.Option(help="encoders and layers, such as 7net-0:4 or 7net-0:0-5; one experiment each")] = None,
    target: Targets = None,
    model: Simple = "DTNet-simple",
    split: Split = "record",
    seeds: Seeds = None,
    learning_rate: Rate = None,
    weight_decay: Decay = None,
    batch_size: Batch = None,
    max_epochs: Epochs = None,
    patience: Patience = None,
    initial_anisotropy: Annotated[float, typer.Option(help="see readout.DTNetConfig; few crystals need less than 1")] = 1.0,
    fraction: Annotated[list[float] | None, typer.Option(help="shares of the training set; without --max-epochs each has as many steps as the whole")] = None,
    results: Annotated[str | None, typer.Option(help="default: data/results/tensors.json, or learning_curves.json for shares below 1")] = None,
    threads: Threads = 1,
    again: Again = False,
) -> None:
    """Train readouts on the features of frozen potentials: the paper's DTNet and DTNet-simple."""
    from ...base.results import finished_runs, from_file
    from ...training import experiment as chapter

    use_threads(threads)
    given = chapter.TrainConfig(**_given(learning_rate=learning_rate, weight_decay=weight_decay, batch_size=batch_size, max_epochs=max_epochs, patience=patience))
    options = {} if initial_anisotropy == 1 else {"initial_anisotropy": initial_anisotropy}
    for one, what, share in itertools.product(features or ["7net-0:4"], target or ["total"], fraction or [1.0]):
        train = given
        if max_epochs is None:
            train = replace(given, max_epochs=round(given.max_epochs / share), patience=round(given.patience / share))
        planned = chapter.Experiment(what, one, model, split, profile, train=train, fraction=share, options=options)
        file = results or chapter.default_results(planned)
        before = finished_runs(file, not again)
        for run in chapter.run_experiment(planned, _five(seeds), file, resume=not again):
            print(f"{what:10s} {model} {one} {run['split']} seed {run['seed']}: MAE_ten {run['mae_ten']:.3f}{from_file(run, before, file)}", flush=True)


@app.command(cls=Command)
def joint(
    recipe: Recipes = None,
    split: Split = "record",
    profile: Profile = "full",
    seeds: Seeds = None,
    results: Annotated[str, typer.Option(help="gets one record a target and seed")] = "data/results/tensors.json",
    again: Again = False,
) -> None:
    """Train the ensembles that ship: electronic and ionic tensor together, on every kind of open label."""
    from ...base.results import finished_runs, from_file
    from ...training import joint as chapter

    before = finished_runs(results, not again)
    for name in recipe or ["default"]:
        for run in chapter.run_joint(name, _five(seeds), split, profile, results, resume=not again):
            print(f"{name:8s} {run['target']:10s} seed {run['seed']}: MAE_ten {run['mae_ten']:.3f}{from_file(run, before, results)}", flush=True)


@app.command(cls=Command)
def scratch(
    profile: Profile = "mini",
    encoder: Annotated[str, typer.Option(metavar="teanet|7net-0", callback=among("training.scratch.experiment", "ENCODERS"))] = "teanet",
    layers: Annotated[list[int] | None, typer.Option(help="convolutions, one experiment each; default 1 2 3 4 5")] = None,
    target: Targets = None,
    model: Simple = "DTNet-simple",
    seeds: Annotated[list[int] | None, typer.Option(help="default 0")] = None,
    learning_rate: Rate = None,
    weight_decay: Decay = None,
    batch_size: Batch = None,
    max_epochs: Epochs = None,
    patience: Patience = None,
    max_hours: Annotated[float | None, typer.Option(help="of processor time in training, for each run")] = None,
    results: Annotated[str, typer.Option(help="gets one record a run")] = "data/results/tensors.json",
    threads: Threads = 1,
    device: Device = "cpu",
    again: Again = False,
) -> None:
    """Train encoder and readout together from random weights: what pretraining is worth."""
    from ...base.paths import default_cache_dir
    from ...base.results import finished_runs, from_file
    from ...data.loading import load_clean
    from ...training.scratch import experiment as chapter

    use_threads(threads)
    given = _given(learning_rate=learning_rate, weight_decay=weight_decay, batch_size=batch_size, max_epochs=max_epochs, patience=patience)
    before = finished_runs(results, not again)
    records, checksum = load_clean(profile)
    graphs = chapter.build_graphs([r.structure for r in records], cache_dir=default_cache_dir())
    for what, layer in itertools.product(target or ["total"], layers or [1, 2, 3, 4, 5]):
        planned = chapter.ScratchExperiment(what, encoder, layer, model, profile, replace(chapter.TRAIN, **given), max_hours)
        for run in chapter.run_scratch(planned, seeds or [0], records, graphs, checksum, results, resume=not again, device=device):
            ended = f"after {run['epochs']} epochs ({run['budget']['ended_by']})"
            print(f"{what:10s} {model} {run['encoder']}:{layer} seed {run['seed']}: MAE_ten {run['mae_ten']:.3f} {ended}{from_file(run, before, results)}", flush=True)


@app.command(cls=Command)
def search(
    roads: Annotated[list[str] | None, typer.Argument(metavar="[ROAD]...", callback=among("training.trials", "NAMES"), help="ideas to measure; default: all")] = None,
    results: Annotated[str, typer.Option(help="of the roads")] = "data/results/roads.json",
    trials: Annotated[int, typer.Option(help="of an Optuna search, instead of roads")] = 0,
    worker: Annotated[int, typer.Option(help="number of this process among those that search at the same time")] = 0,
    search_results: Annotated[str, typer.Option(help="of the search")] = "data/results/search.json",
) -> None:
    """Measure what helps a joint model, idea by idea, on validation crystals."""
    from ...training.search import run_search
    from ...training.trials import NAMES, run

    use_threads(1)
    if trials:
        run_search(trials, search_results, worker=worker)
    else:
        run(roads or NAMES, results)


@app.command(cls=Command)
def ship(
    recipe: Variants = None,
    seeds: Seeds = None,
    results: Annotated[str, typer.Option(help="gets the tested intervals")] = "data/results/calibration.json",
    figures: Annotated[str, typer.Option(help="folder of the parity figures")] = "figures",
) -> None:
    """Write the weights of a recipe to data/weights with calibrated intervals, and draw parity figures."""
    from pathlib import Path

    import numpy as np

    from ...report import figures as drawings
    from ...training import ship as chapter

    for name in recipe or ["default"]:

        def draw(target: str, truth, predicted, name: str = name) -> None:
            drawings.save(drawings.parity(truth, predicted), Path(figures) / f"parity_{name}_{target}")

        for record in chapter.ship(name, _five(seeds), results, draw=draw):
            print(name, record["target"], dict(zip(record["levels"], np.round(record["coverage"], 3), strict=True)), flush=True)


@app.command(cls=Command)
def modes(
    largest: Annotated[int, typer.Option(help="atoms of the largest crystals")] = 14,
    most: Annotated[int, typer.Option(help="larger ones, too, whose effort (products times bonds) is at most this")] = 0,
    potential: Annotated[str, typer.Option(metavar="nequix-oam-1-pft|7net-0", help="of which: 7net-0 for default-physics, minutes; the other for physics, hours")] = "nequix-oam-1-pft",
) -> None:
    """Compute force constants of the benchmark's crystals, which the variants with modes learn from; what is on disk is skipped."""
    from ...training import physics as chapter

    use_threads(1)
    print(f"{chapter.run_modes(largest, most, potential)} crystals have force constants")


@app.command(cls=Command)
def physics(
    split: Split = "record",
    seeds: Seeds = None,
    ship: Annotated[bool, typer.Option(help="write what ships, too: the companion and its intervals")] = False,
    compare: Annotated[bool, typer.Option(help="instead: vary share and shape, on validation crystals only; data/results/physics_settings.json, default-physics_settings.json")] = False,
    results: Annotated[str | None, typer.Option(help="gets a record for the ionic and the total tensor of each seed; default: in data/results, physics.json or default-physics.json, _wide.json for a wide recipe")] = None,
    recipe: Annotated[str, typer.Option(metavar="default|default-wide|best|best-wide", callback=among("training.recipes", "RECIPES"), help="whose networks; the wide ones ship")] = "best",
) -> None:
    """Mend the ionic tensors of a recipe's networks by the crystals' modes, and test it."""
    from ...base.results import finished_runs, from_file
    from ...training import physics as chapter

    use_threads(1)
    if compare:
        from ...training.physics_settings import compare_settings

        for row in compare_settings(_five(seeds), recipe)["rows"]:
            print(f"seed {row['seed']}: share {row['share']}, {row['shape']} of the sum's shape: MAE_ten {row['mae_ten']:.3f}", flush=True)
        return
    file = results or chapter.default_results(recipe)
    before = finished_runs(file, not ship)
    for run in chapter.run_physics(_five(seeds), split, file, ship, name=recipe):
        print(f"{run['target']:6s} seed {run['seed']}: MAE_ten {run['without']['mae_ten']:.3f} without modes, {run['mae_ten']:.3f} with{from_file(run, before, file)}", flush=True)


@app.command(cls=Command)
def charges(
    variants: Annotated[list[str] | None, typer.Option(metavar="default|best", callback=among("physics.born", "FEATURES"), help="default: both")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="of the folds; default 0, and the first one's intervals ship")] = None,
    compare: Annotated[list[str] | None, typer.Option(metavar="default|best", callback=among("physics.born", "FEATURES"), help="variants for which to measure what the kit's own PBE charges would add to the training")] = None,
    results: Annotated[str, typer.Option(help="gets the scores out of fold")] = "data/results/charges.json",
) -> None:
    """Test models of Born charges on formulas that they did not see, and write those of all crystals to data/weights/charges."""
    from ...training.born_scores import run_charges

    use_threads(1)
    for variant, found in run_charges(variants, seeds or [0], compare or (), results)["variants"].items():
        for s in found["seeds"]:
            print(f"{variant}: seed {s['seed']}: diagonal MAE {s['diagonal_mae']:.3f} e, 68 % intervals hold {100 * s['covered_68']:.0f} %", flush=True)


def _five(seeds: list[int] | None) -> list[int]:
    return seeds or list(range(5))
