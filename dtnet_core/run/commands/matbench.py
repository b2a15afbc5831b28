"""`dtnet matbench`: the refractive index on the official folds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import Profile, among


def matbench(
    profile: Profile = "full",
    features: Annotated[str | None, typer.Option(help="encoders and layers; default: those of the networks that ship")] = None,
    further: Annotated[list[str] | None, typer.Option(metavar="ENCODER:LAYERS", callback=among("matbench.run", "FURTHER"), help="encoders for a network each, which no other learner sees; default: none")] = None,
    learners: Annotated[list[str] | None, typer.Option(metavar="NAME", callback=among("matbench.run", "LEARNERS"), help="of the stack; default: all that these encoders allow; a wrong name lists all")] = None,
    epochs: Annotated[int | None, typer.Option(help="of the networks' cosine schedule; default 30")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="default 0 1 2")] = None,
    folds: Annotated[list[int] | None, typer.Option(help="results are written when all five are asked for, the default")] = None,
    published: Annotated[str | None, typer.Option(help="folder of published predictions; default: DTNET_PUBLISHED_DIR")] = None,
    results: Annotated[Path, typer.Option(help="folder for matbench.json and matbench_predictions.csv.gz")] = Path("data/results"),
    official: Annotated[Path | None, typer.Option(help="write the leaderboard's record to this file, too; rows without a structure are predicted from their composition")] = None,
) -> None:
    """Predict Matbench's refractive index on the official folds.

    Scores are compared with published predictions where these are at hand. What was trained before is not trained again.
    """
    from ...base.files import write_atomic, write_json_gz
    from ...base.results import write_json
    from ...matbench import record as chapter
    from ...matbench.run import pool_of, run
    from ...matbench.scores import load_published, official_record
    from ...matbench.task import load_task
    from ...training.recipes import RECIPES

    task = load_task(profile)
    features, seeds, folds = features or RECIPES["default"].features, seeds or [0, 1, 2], list(range(5)) if folds is None else folds
    settings = chapter.settings_of(features, learners or pool_of(features, further or ()), epochs)
    known = load_published(task, published)
    predictions, summary = run(task, settings, seeds, folds)
    record = chapter.full_record(task, settings, seeds, predictions, summary, known, chapter.command(profile, features, further, learners, epochs, seeds, folds))
    for line in chapter.summary_lines(record):
        print(line)
    if sorted(folds) == list(range(len(task.folds))):
        suffix = "" if profile == "full" else f"_{profile}"
        chapter.write_predictions(results / f"matbench{suffix}_predictions.csv.gz", predictions)
        write_json(results / f"matbench{suffix}.json", record)
    if official:
        values = official_record(dict(zip(predictions.mbid, predictions.prediction, strict=True)), task, {"model": record["model"]})
        write_json_gz(official, values) if official.suffix == ".gz" else write_atomic(official, json.dumps(values))
