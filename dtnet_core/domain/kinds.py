"""What can be new about a crystal: its pairs of elements, its bonding, its place among the others, the size of its tensor.

Each function says of every record, whatever file it comes from, to which kinds it belongs; all records of a kind are kept from
training together, so nothing near a test crystal is left by accident.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.geometry.dimensionality import analyze_dimensionality
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from sklearn.cluster import KMeans

from ..base.files import read_json, write_atomic
from ..base.paths import default_cache_dir
from ..crystals.record import Record
from ..crystals.structures import crystal_key
from ..metrics import anisotropy_ratio
from ..trust.doubts import TAIL

_RARE_EARTHS = frozenset(["Sc", "Y", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu"])
_ANIONS = frozenset(["N", "P", "As", "Sb", "Bi", "O", "S", "Se", "Te", "F", "Cl", "Br", "I"])
PAIRS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "Zr Nb Mo Hf Ta W with Se Te": (frozenset(["Zr", "Nb", "Mo", "Hf", "Ta", "W"]), frozenset({"Se", "Te"})),
    "Tl with an anion": (frozenset({"Tl"}), _ANIONS),
    "Ag with an anion": (frozenset({"Ag"}), _ANIONS),
    "rare earth with N P As Sb Bi": (_RARE_EARTHS, frozenset(["N", "P", "As", "Sb", "Bi"])),
}
"""Cations and anions; a crystal that has one of each is of the kind."""
BONDING = {"0D": "molecules", "1D": "chains", "2D": "layers"}
CLUSTERS = 10


def element_pairs(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Kind -> [B] bool, for each of `PAIRS`."""
    sets = [{e.symbol for e in r.structure.composition} for r in records]
    return {name: np.array([bool(s & cations) and bool(s & anions) for s in sets]) for name, (cations, anions) in PAIRS.items()}


def bonding(structure: Structure) -> str:
    """"0D", "1D", "2D", "3D" or a mixture such as "02D": how atoms connect (Larsen et al., Phys. Rev. Mater. 3, 034003, 2019).

    "" where ASE finds no bond at any distance that it tries, as in a lattice of lone atoms.
    """
    try:
        return analyze_dimensionality(AseAtomsAdaptor.get_atoms(structure, msonable=False), method="RDA")[0].dimtype
    except TypeError:  # what ASE raises for none
        return ""


def bonding_kinds(records: Sequence[Record], cache_dir: str | Path | None = None) -> dict[str, np.ndarray]:
    """Kind -> [B] bool, for each of `BONDING`; what was found is kept in the cache folder."""
    path = Path(cache_dir or default_cache_dir()) / "bonding.json"
    known = read_json(path) if path.is_file() else {}
    keys = [crystal_key(r.structure) for r in records]
    new = {key: bonding(r.structure) for key, r in dict(zip(keys, records, strict=True)).items() if key not in known}
    if new:
        write_atomic(path, json.dumps(known | new))
    found = np.array([(known | new)[key] for key in keys])
    return {word: found == dimension for dimension, word in BONDING.items()}


def clusters(points: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Kind -> [B] bool: `CLUSTERS` clusters (k-means) of crystals in a space of features [B, D]."""
    number = KMeans(CLUSTERS, n_init=4, random_state=seed).fit_predict(points)
    return {f"cluster {k}": number == k for k in range(CLUSTERS)}


def tails(records: Sequence[Record], n_benchmark: int) -> dict[str, np.ndarray]:
    """Kind -> [B] bool: constants, or anisotropies, above those of all but a share `TAIL` of the first `n_benchmark` records."""
    known = {t: np.array([np.nan if (x := r.scalar(t)) is None else x for r in records]) for t in ("electronic", "total")}
    ratios = [[float(np.squeeze(anisotropy_ratio(x))) for t in known if (x := r.tensor(t)) is not None] for r in records]
    ratio = np.array([max(found, default=np.nan) for found in ratios])
    above = lambda x: x > np.nanquantile(x[:n_benchmark], 1 - TAIL)  # noqa: E731
    return {"largest constants": above(known["electronic"]) | above(known["total"]), "largest anisotropy": above(ratio)}
