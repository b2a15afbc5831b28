"""Data sets: found, read, cleaned, split, labelled, downloaded, summarised."""

from .cleaning import clean
from .loading import load_clean, load_records, resolve_data_dir
from .splits import draw_split

__all__ = ["clean", "draw_split", "load_clean", "load_records", "resolve_data_dir"]
