"""Parquet parts of a stream: what is done, one more written whole or not at all, all of them read as one table."""

from __future__ import annotations

import errno
import warnings
from pathlib import Path

import pandas as pd

from ..base.files import write_atomic
from ..crystals.record import TARGETS
from ..trust.standing import COLUMNS

COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")
_NUMBERS = ([f"eps_{t}_{c}" for t in TARGETS for c in COMPONENTS] + [f"eps_{t}_{s}" for t in TARGETS for s in ("mean", "std")]
            + ["anisotropy_mean", "anisotropy_std"])  # fmt: skip
INTERVALS = ("eps_total_68", "eps_total_90", "eps_total_off_25")
"""Half widths of the intervals of the total tensor's scalar that hold 68 and 90 %, and the chance that it is off by more than 25 %."""
EXTREME = "extreme"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Parts:
    """The folder of parts: what is done, and writing one more; with `retry`, rows with an error are taken out first."""

    def __init__(self, folder: Path, made_by: str, retry: bool = False):
        from pyarrow import compute, parquet

        self.folder, self.made_by, self.done, self.failed = folder, made_by, set(), 0
        for left in folder.glob(".part-*.tmp"):  # of a killed run
            left.unlink()
        for path in sorted(folder.glob("part-*.parquet")):
            try:
                table = parquet.ParquetFile(path).read(columns=None if retry else ["id", "error"])
            except Exception as error:
                if isinstance(error, MemoryError) or getattr(error, "errno", None):  # what is broken has no number
                    raise
                warnings.warn(f"{path}: not a readable part ({error}); set aside, its crystals are computed anew", stacklevel=3)
                path.rename(path.with_name(f"_{path.name}.corrupt"))
                continue
            maker = (table.schema.metadata or {}).get(b"made_by", b"").decode()
            if maker != made_by:
                raise ValueError(f"{path} was made by other networks or features ({maker}, now {made_by}): use another output folder")
            if retry and table["error"].null_count < len(table):
                table = table.filter(compute.is_null(table["error"]))
                self._put(path, table) if len(table) else path.unlink()
            self.done.update(table["id"].to_pylist())
            self.failed += len(table) - table["error"].null_count
        numbers = [int(p.name[5:11]) for p in folder.glob("part-*") if p.name[5:11].isdigit()]
        self.next = max(numbers, default=-1) + 1

    def write(self, rows: list[dict]) -> None:
        import pyarrow

        kinds = {"id": pyarrow.string(), "formula": pyarrow.string(), "n_atoms": pyarrow.int32(),
                 **dict.fromkeys((*_NUMBERS, *INTERVALS), pyarrow.float64()), "flag": pyarrow.string(), "in_domain": pyarrow.bool_(), EXTREME: pyarrow.bool_(), "distance": pyarrow.float64(),
                 "nearest": pyarrow.string(), "warnings": pyarrow.string(), "error": pyarrow.string()}  # fmt: skip
        schema = pyarrow.schema(list(kinds.items()), metadata={"made_by": self.made_by})
        self._put(self.folder / f"part-{self.next:06d}.parquet", pyarrow.Table.from_pylist(rows, schema=schema))
        self.next += 1
        self.done.update(row["id"] for row in rows)
        self.failed += sum(row["error"] is not None for row in rows)

    def _put(self, path: Path, table) -> None:
        from pyarrow import BufferOutputStream, parquet

        parquet.write_table(table, sink := BufferOutputStream())
        try:
            write_atomic(path, sink.getvalue().to_pybytes())
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise OSError(error.errno, f"the disk is full, {path} was not written; the {len(self.done)} crystals of the parts before it "
                                       "are whole: make room and give the same command again") from error  # fmt: skip


def read_parts(folder: str | Path) -> pd.DataFrame:
    """The parts of a folder as one table, by id; a part from before a column was written has None there."""
    from pyarrow import concat_tables, parquet

    tables = [parquet.ParquetFile(path).read() for path in sorted(Path(folder).glob("part-*.parquet"))]
    table = concat_tables([t.replace_schema_metadata(None) for t in tables], promote_options="default").to_pandas()
    return table.reindex(columns=[*dict.fromkeys([*table.columns, *COLUMNS, *INTERVALS, EXTREME])]).drop_duplicates("id").set_index("id")
