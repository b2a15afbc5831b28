"""Files of fitted machines, and all that ships damaged: the file is named."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.base.arrays import read_arrays, write_arrays
from dtnet_core.base.paths import WEIGHTS
from dtnet_core.base.reading import DataFileError
from dtnet_core.ensemble import load_ensemble

MGO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.25), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]).get_primitive_structure()
VARIANT = "default-physics"  # asks for every file that needs no download
FILES = [p.relative_to(WEIGHTS) for name in (".", "default", VARIANT) for p in sorted((WEIGHTS / name).glob("*.*s*")) if p.suffix != ".md"]
FILES.append((WEIGHTS / "charges/7net-l3i5.safetensors").relative_to(WEIGHTS))


def test_what_is_written_is_read(tmp_path):
    arrays = {"fine": np.array([[1 / 3, 1e5]]), "coarse": np.array([1 / 3])}
    write_arrays(tmp_path / "a", "kind", arrays, {"words": ["x"], "number": 0.1}, half=("coarse",))
    found, about = read_arrays(tmp_path / "a", "kind", ("fine", "coarse"))
    assert about == {"words": ["x"], "number": 0.1} and all(v.dtype == float for v in found.values())
    assert found["fine"] == pytest.approx(arrays["fine"], rel=1e-7) and found["coarse"] == pytest.approx(arrays["coarse"], rel=1e-3) != pytest.approx(arrays["coarse"], rel=1e-5)
    for kind, names in (("other kind", ("fine",)), ("kind", ("another",))):
        with pytest.raises(DataFileError, match="^" + str(tmp_path / "a")):
            read_arrays(tmp_path / "a", kind, names)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "b", "kind", ())


@pytest.mark.parametrize("damage", ["cut", "empty", "of another kind"])
def test_damaged_weights_are_named(damage, tmp_path):
    """Each file of those that ship, one after the other."""
    for number, damaged in enumerate(FILES):
        folder = tmp_path / str(number)
        for file in FILES:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).symlink_to(WEIGHTS / file)
        whole = (WEIGHTS / damaged).read_bytes()
        other = b"[]" if damaged.suffix == ".json" else (WEIGHTS / ("known.safetensors" if damaged.parent.name else "default/0.safetensors")).read_bytes()
        (folder / damaged).unlink()
        (folder / damaged).write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "of another kind": other}[damage])
        with pytest.raises(ValueError, match=str(folder / damaged)):
            load_ensemble("total", VARIANT, folder).predict([MGO], cache_dir=tmp_path / "cache", progress=False)
