"""Fill a data folder from the Materials Project: dielectric tensors, and stable crystals without one, to be screened.

The list of materials and every page of records are kept in a folder beside the result, so that a run that was
stopped goes on where it ended. The key is read from MP_API_KEY and appears nowhere else.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from ..base.files import DataFileError, read_json, write_json_gz
from ..crystals.record import Record, record_to_dict
from .mp_documents import (
    DIELECTRIC_FIELDS,
    SUMMARY_FIELDS,
    TASK_FIELDS,
    get_field,
    make_candidate,
    make_record,
    origin_ids,
    same_id,
)

KEY_VARIABLE = "MP_API_KEY"
SMALLEST_GAP = 1e-5
"""In eV; gaps are stored to 1e-4, those of metals as 0."""
_SLEEP = time.sleep


class DownloadError(RuntimeError):
    """A download that cannot go on; says why, and that the pages so far are kept. Never holds the key."""


class _Secret:
    """A key that does not show itself: not in repr, tracebacks with local variables, or messages."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "<hidden key>"

    def reveal(self) -> str:
        return self._value

    def redact(self, text: str) -> str:
        for form in {self._value, quote(self._value, safe="")}:
            text = text.replace(form, "<hidden key>")
        return text


def api_key() -> _Secret:
    """The key from the environment.

    Raises
    ------
    DownloadError
        When MP_API_KEY is not set; says how to get a key.
    """
    value = os.environ.get(KEY_VARIABLE, "").strip()
    if not value:
        raise DownloadError(
            f"no Materials Project key: the environment variable {KEY_VARIABLE} is not set. Register (free) "
            "at https://next-gen.materialsproject.org/api, copy your key, and set it: "
            f"export {KEY_VARIABLE}=your-key"
        )
    return _Secret(value)


def connect(secret: _Secret):
    """An mp-api client that answers with plain dictionaries."""
    from mp_api.client import MPRester  # slow import, needed by nothing else

    return MPRester(api_key=secret.reveal(), use_document_model=False, mute_progress_bars=True)


def call(
    what: str, function: Callable[[], Any], secret: _Secret, retries: int = 5, backoff: float = 2.0
) -> Any:
    """Call the server, again after backoff, 2 backoff, 4 backoff ... seconds when that can help.

    Raises
    ------
    DownloadError
        At once when the key or the request is refused (HTTP 400 to 499 but 408 and 429); otherwise after
        `retries` repetitions. Without the key in its text and without the client's exception behind it.
    """
    for attempt in range(retries + 1):
        try:
            return function()
        except Exception as error:  # the client raises its own, requests' and parsers' errors
            failure = secret.redact(f"{type(error).__name__}: {error}")[:500]
            misused = isinstance(error, TypeError | AttributeError)
        status = re.search(r"status code (\d{3})", failure)
        code = int(status.group(1)) if status else 0
        if code in (401, 403) or "valid API key" in failure:
            raise DownloadError(
                f"{what}: the Materials Project refused the key in {KEY_VARIABLE} ({failure}); copy it "
                "again from https://next-gen.materialsproject.org/api"
            )
        if (
            misused
            or "does not support the request" in failure
            or (400 <= code < 500 and code not in (408, 429))
        ):
            raise DownloadError(f"{what}: the request was refused ({failure}); is mp-api up to date?")
        if attempt < retries:
            _SLEEP(min(backoff * 2**attempt, 60.0))
    raise DownloadError(
        f"{what}: no answer from the Materials Project after {retries + 1} attempts ({failure}); check the "
        "network (and https://status.materialsproject.org). Finished pages are kept: start again to go on"
    )


def download(
    folder: str | os.PathLike,
    name: str = "mp_tensors",
    page_size: int = 100,
    limit: int | None = None,
    fresh: bool = False,
    progress: bool = True,
    retries: int = 5,
    backoff: float = 2.0,
    client_factory: Callable[[_Secret], Any] = connect,
    contents: str = "tensors",
) -> Path:
    """Download every material with a dielectric tensor into ``folder/name.json.gz``.

    Parameters
    ----------
    folder : path
        To be named by DTNET_DATA_DIR afterwards.
    name : str
    page_size : int
        Materials a page (at most 100, the server's limit for calculations).
    limit : int, optional
        Stop after that many materials, for a trial.
    fresh : bool
        Forget the pages of an earlier run.
    progress : bool
        Show a progress bar.
    retries, backoff : int, float
        See `call`; seconds.
    client_factory : callable
        Makes the client from the key.
    contents : {"tensors", "candidates"}
        What to download; see `download_pool` for the candidates.

    Returns
    -------
    Path
        The file; materials that were left out, with reasons, are in ``folder/name.skipped.json.gz``.

    Raises
    ------
    DownloadError
        Missing or refused key, no network, or pages of another database version.
    """
    if not 1 <= page_size <= 100:
        raise ValueError(f"page_size is {page_size}; choose 1 to 100")
    (list_ids, fetch), secret, folder = _CONTENTS[contents], api_key(), Path(folder)
    pages = folder / f".{name}.pages"
    if fresh:
        shutil.rmtree(pages, ignore_errors=True)
    client = call("connecting", lambda: client_factory(secret), secret, retries, backoff)
    server = _Server(client, secret, retries, backoff)
    index = _index(pages / "index.json.gz", server, list_ids, page_size)
    ids, page_size = index["material_ids"][:limit], index["page_size"]
    records, skipped = [], []
    for start in tqdm(range(0, len(ids), page_size), desc="pages", disable=not progress):
        wanted = ids[start : start + page_size]
        path = pages / f"page-{start:06d}.json.gz"
        page = _stored(path)
        if page is None or page["material_ids"] != wanted:
            page = _fetch_page(server, fetch, wanted)
            write_json_gz(path, page)
        records += page["records"]
        skipped += page["skipped"]
    write_json_gz(folder / f"{name}.skipped.json.gz", skipped)
    write_json_gz(folder / f"{name}.json.gz", records)
    return folder / f"{name}.json.gz"


def download_pool(folder: str | os.PathLike, name: str = "screening_pool", **options: Any) -> Path:
    """Download the candidates of a screening (Section 2.4.1) into ``folder/name.json.gz``.

    These are all materials on the convex hull with a band gap and without a dielectric tensor, of any size, in the cell and
    the frame that the database gives. Those of GNoMe, which have another licence, are left out.

    Parameters
    ----------
    folder, name, **options
        See `download`; pages, repetitions and the list of what was left out are the same.

    Raises
    ------
    DownloadError
        See `download`.
    """
    return download(folder, name, contents="candidates", **options)


@dataclass(frozen=True)
class _Server:
    """A client, and the key and the patience to ask it with."""

    client: Any
    secret: _Secret
    retries: int
    backoff: float

    @property
    def version(self) -> str:
        return str(getattr(self.client, "db_version", "") or "")

    def search(self, what: str, rester: str, **options: Any) -> list:
        """What `client.materials.<rester>.search` finds."""
        return call(what, lambda: getattr(self.client.materials, rester).search(**options), self.secret, self.retries, self.backoff)

    def ids(self, what: str, **criteria: Any) -> list[str]:
        """Sorted ids of the materials that meet the criteria; an empty answer is an error."""
        found = self.search(what, "summary", deprecated=False, fields=["material_id"], chunk_size=1000, **criteria)
        if not found:
            raise DownloadError(f"{what}: the Materials Project named no material, which cannot be; nothing of this answer is kept: start again later")
        return sorted({str(get_field(doc, "material_id")) for doc in found})

    def documents(self, rester: str, key: str, wanted: Sequence[str], fields: list[str]) -> dict[str, Any]:
        """Documents by `same_id` of their key."""
        options = {f"{key}s": list(wanted), "fields": fields, "chunk_size": len(wanted), "num_chunks": 1}
        docs = self.search(rester, rester, **options) if wanted else []
        if wanted and not docs and rester != "tasks":  # calculations may be gone
            raise DownloadError(f"{rester}: the Materials Project has nothing on {wanted[0]} and {len(wanted) - 1} more, which it named before; nothing of this "
                                "answer is kept, finished pages are: start again later")  # fmt: skip
        return {same_id(get_field(doc, key)): doc for doc in docs}


def _stored(path: Path) -> Any:
    """A file of an earlier run, or None where it is missing or damaged."""
    try:
        return read_json(path) if path.is_file() else None
    except DataFileError:
        return None


def _index(path: Path, server: _Server, list_ids: Callable[[_Server], list[str]], page_size: int) -> dict:
    """Which materials to fetch: asked for once, then kept, so that pages stay the same."""
    index = _stored(path)
    if index is None or not index.get("material_ids"):
        index = {"database_version": server.version, "page_size": page_size, "material_ids": list_ids(server)}
        write_json_gz(path, index)
    elif index["database_version"] != server.version:
        raise DownloadError(
            f"{path.parent} was begun with database version {index['database_version']!r}, the server has "
            f"{server.version!r}; start over with fresh=True (--fresh)"
        )
    return index


def _fetch_page(server: _Server, fetch: Callable[[_Server, Sequence[str]], Callable[[str], Record]], ids: Sequence[str]) -> dict:
    """Records of some materials, and the ids that gave none with the reason."""
    make, records, skipped = fetch(server, ids), [], []
    for material in ids:
        try:
            records.append(record_to_dict(make(material)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            skipped.append({"id": material, "reason": server.secret.redact(f"{type(error).__name__}: {error}")})
    return {"material_ids": list(ids), "records": records, "skipped": skipped}


def _list_tensors(server: _Server) -> list[str]:
    return server.ids("listing materials", has_props=["dielectric"])


def _fetch_tensors(server: _Server, ids: Sequence[str]) -> Callable[[str], Record]:
    """What makes the record of one of these materials."""
    published = server.documents("dielectric", "material_id", ids, DIELECTRIC_FIELDS)
    summaries = server.documents("summary", "material_id", ids, SUMMARY_FIELDS)
    origins = {i: origin_ids(doc) for i, doc in published.items()}
    tasks = server.documents("tasks", "task_id", sorted({task for named in origins.values() for task in named}), TASK_FIELDS)

    def make(material: str) -> Record:
        key = same_id(material)
        own = [tasks[task] for task in map(same_id, origins.get(key, ())) if task in tasks]
        return make_record(material, published.get(key), summaries.get(key), own, server.version)

    return make


def _list_candidates(server: _Server) -> list[str]:
    """The server cannot be asked for materials without a property, so those with it are taken away."""
    known = {same_id(material) for material in _list_tensors(server)}
    stable = server.ids("listing candidates", is_stable=True, band_gap=(SMALLEST_GAP, None), include_gnome=False)
    return [material for material in stable if same_id(material) not in known]


def _fetch_candidates(server: _Server, ids: Sequence[str]) -> Callable[[str], Record]:
    summaries = server.documents("summary", "material_id", ids, SUMMARY_FIELDS)
    return lambda material: make_candidate(material, summaries.get(same_id(material)), server.version)


_CONTENTS = {"tensors": (_list_tensors, _fetch_tensors), "candidates": (_list_candidates, _fetch_candidates)}
