"""`dtnet baselines`: the paper's peers and simple references, what they cost, and their learning rates."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    TARGETS,
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

app = group("Train the paper's peers and simple references.")

_NETWORKS = among("baselines.experiment", "NETWORKS")
Networks = Annotated[list[str] | None, typer.Option(metavar="PaiNN|M3GNet|MatTen|...", callback=_NETWORKS, help="default: all networks")]
Models = Annotated[list[str] | None, typer.Option(metavar="PaiNN|...|ridge", callback=among("baselines.experiment", "MODELS"), help="networks and references; default: all")]


@app.command(cls=Command)
def run(
    model: Models = None,
    target: Targets = None,
    profile: Profile = "mini",
    split: Split = "record",
    fraction: Annotated[list[float] | None, typer.Option(help="shares of the training set")] = None,
    seeds: Seeds = None,
    hours: Annotated[float | None, typer.Option(help="of processor time for each run: as many epochs as that buys by what `price` measured")] = None,
    max_epochs: Annotated[int | None, typer.Option(help="length of the schedule, in the place of --hours")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="default: what `search` found for the network")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="of AdamW")] = None,
    batch_size: Annotated[int | None, typer.Option(help="crystals a step")] = None,
    patience: Annotated[int | None, typer.Option(help="epochs without a better validation error, then a run ends")] = None,
    results: Annotated[Path | None, typer.Option(help="default: data/results/tensors.json, or learning_curves.json for shares below 1")] = None,
    threads: Threads = 1,
    device: Device = "cpu",
    again: Again = False,
) -> None:
    """Train and test; finished runs are skipped, killed ones go on."""
    from ...base.paths import RESULTS
    from ...base.results import finished_runs, from_file
    from ...baselines import experiment as chapter
    from ...baselines.plan import plan
    from ...training.scratch.experiment import stored_runs

    use_threads(threads)
    shared, diverged = None, []
    for seed, share, what, name in itertools.product(seeds or range(5), fraction or [1.0], target or ["total"], model or chapter.MODELS):
        planned = plan(name, what, share, profile, split, hours, max_epochs, learning_rate, weight_decay, batch_size, patience)
        file = results or RESULTS / ("learning_curves.json" if share < 1 else "tensors.json")
        before = finished_runs(file, not again)
        if stored_runs(planned, [seed], file, not again) == [None]:
            shared = shared or chapter.Shared(profile)
        try:
            (found,) = chapter.run_baseline(planned, [seed], shared, file, not again, device)
        except FloatingPointError as error:  # the others have nothing to do with it
            diverged.append(f"{planned.command(seed)}: {error}")
            continue
        print(f"{name:12s} {what:10s} {found['split']:12s} seed {seed}: MAE_ten {found['mae_ten']:.3f} ({found['budget']['ended_by']}){from_file(found, before, file)}", flush=True)
    if diverged:
        typer.echo("\n".join(["not finished:", *diverged]), err=True)
        raise typer.Exit(1)


@app.command(cls=Command)
def price(
    model: Networks = None,
    profile: Profile = "full",
    epochs: Annotated[int, typer.Option(help="to measure")] = 1,
    results: Annotated[Path | None, typer.Option(help="default: data/results/baseline_cost.json")] = None,
    again: Again = False,
) -> None:
    """Measure what an epoch of each network takes, each in a process of its own; measured ones are skipped."""
    from ...base.results import load_results
    from ...baselines import price as chapter

    file = results or chapter.FILE
    known = {(r["model"], r["profile"]) for r in load_results(file)}
    models = [m for m in model or chapter.NETWORKS if again or (m, profile) not in known]
    for name in model or chapter.NETWORKS:
        if name not in models:
            print(f"{name:12s} not measured now: {file} has it", flush=True)
    if len(models) > 1:  # the peak of memory belongs to a process
        words = ["--profile", profile, "--epochs", str(epochs), "--results", str(file), "--again"]
        for name in models:
            subprocess.run([sys.executable, "-m", "dtnet_core", "baselines", "price", "--model", name, *words], check=True)
    elif models:
        use_threads(1)
        record = chapter.measure(models[0], profile, epochs)
        chapter.keep(record, file)
        print(f"{record['model']:12s} {record['parameters']:9,d} parameters, {record['seconds_per_epoch']:.1f} s an epoch, {record['peak_memory_mb']:.0f} MB", flush=True)


@app.command(cls=Command)
def search(
    model: Networks = None,
    target: Annotated[str, typer.Option(metavar=TARGETS, callback=among("crystals.record", "TARGETS"))] = "total",
    profile: Profile = "full",
    trials: Annotated[int, typer.Option(help="learning rates to try")] = 6,
    max_epochs: Annotated[int, typer.Option(help="of every trial")] = 5,
    results: Annotated[Path | None, typer.Option(help="default: data/results/baseline_search.json")] = None,
    threads: Threads = 1,
) -> None:
    """Choose each network's learning rate on validation crystals; finished searches are skipped."""
    from ...base.results import load_results, plain
    from ...baselines import search as chapter

    use_threads(threads)
    file, shared, train = results or chapter.FILE, None, replace(chapter.TRAIN, max_epochs=max_epochs, patience=max_epochs)
    for name in model or chapter.NETWORKS:
        wanted = {"model": name, "target": target, "profile": profile, "train": plain(asdict(train))}
        if any(len(r["trials"]) == trials and wanted.items() <= r.items() for r in load_results(file)):
            print(f"{name:12s} not searched now: {file} has it", flush=True)
            continue
        shared = shared or chapter.Shared(profile)
        record = chapter.search(chapter.BaselineExperiment(name, target, profile, train=train), trials, shared)
        chapter.keep(record, file)
        print(f"{name:12s} learning rate {record['learning_rate']:.2e}: validation MAE_ten {record['validation_mae_ten']:.3f}", flush=True)


@app.command(cls=Command)
def same_material(
    model: Annotated[str, typer.Option(metavar="median|forest|ridge", callback=among("baselines.references", "REFERENCES"))] = "ridge",
    seeds: Seeds = None,
    threads: Threads = 1,
) -> None:
    """Measure what a reference gains where a test crystal's own material trains under another id: data/results/same_material.json."""
    from ...baselines.same_material import measure

    use_threads(threads)
    for row in measure(seeds or range(5), model)["rows"]:
        print(f"{row['target']:10s} seed {row['seed']}: {row['left_out']} crystals left out, MAE_ten {row['mae_ten']:.3f} -> {row['mae_ten_left_out']:.3f}", flush=True)
