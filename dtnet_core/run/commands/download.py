"""`dtnet download`: fill a data folder from the Materials Project."""

from __future__ import annotations

from typing import Annotated

import typer


def download(
    folder: Annotated[str, typer.Argument(help="where to write; name it in DTNET_DATA_DIR afterwards")],
    screening_pool: Annotated[bool, typer.Option("--screening-pool", help="stable crystals without a dielectric tensor instead, into screening_pool.json.gz")] = False,
    limit: Annotated[int | None, typer.Option(help="only so many materials")] = None,
    page_size: Annotated[int, typer.Option(help="materials a request")] = 100,
    jarvis: Annotated[str | None, typer.Option(metavar="FILE", help="instead: electronic labels from JARVIS's list of materials (dft_3d), which you have, into jarvis_electronic.json.gz")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="forget the pages of an earlier run")] = False,
) -> None:
    """Get training data from the Materials Project (free key).

    The key is read from MP_API_KEY. A download that was stopped goes on where it ended.
    """
    if jarvis is not None:
        from ...data.jarvis import convert_jarvis

        path, n, left = convert_jarvis(jarvis, folder)
        print(f"{n} records in {path}; left out: {', '.join(f'{count} ({reason})' for reason, count in left.items()) or 'none'}")
        return
    from ...base.files import read_json
    from ...data import download as chapter

    fill = chapter.download_pool if screening_pool else chapter.download
    path = fill(folder, page_size=page_size, limit=limit, fresh=fresh)
    skipped = path.with_name(path.name.replace(".json.gz", ".skipped.json.gz"))
    print(f"{len(read_json(path))} records in {path}; {len(read_json(skipped))} materials left out, with reasons in {skipped.name}")
