"""Stored orbits: the same as searched, repaired when broken, shared by processes."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from dtnet_core.crystals import symmetry_store
from dtnet_core.crystals.search import clear_search, spglib_cell
from dtnet_core.crystals.symmetry import orbits, point_group_rotations
from dtnet_core.crystals.symmetry_store import store_folder, stored_orbits

SYMPREC = 1e-3


def check(found, crystals):
    for (representative, rotations), crystal in zip(found, crystals, strict=True):
        expected = orbits(crystal, SYMPREC)
        np.testing.assert_array_equal(representative, expected[0])
        np.testing.assert_array_equal(rotations, expected[1])


@pytest.fixture
def never(monkeypatch):
    """No search from here on."""

    def start():
        monkeypatch.setattr(symmetry_store, "orbits", lambda *_: pytest.fail("searched again"))

    return start


def test_stored_is_what_the_search_gives(tmp_path, crystals, never):
    check(stored_orbits(crystals[:2], SYMPREC, tmp_path), crystals[:2])
    check(stored_orbits([*crystals, *crystals], SYMPREC, tmp_path), [*crystals, *crystals])
    never()
    symmetry_store._read.cache_clear()
    check(stored_orbits(crystals, SYMPREC, tmp_path), crystals)


def test_tolerances_are_kept_apart(tmp_path):
    salt = Structure.from_spacegroup(225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    salt.translate_sites([0], [0.004, 0.0, 0.0], frac_coords=False)
    sizes = [len(stored_orbits([salt], s, tmp_path)[0][1]) for s in (0.05, 1e-3, 0.05)]
    assert sizes[0] == sizes[2] == 48 and sizes[1] < 48


def test_a_crystal_without_an_answer_is_remembered(tmp_path, never):
    doubled = Structure(Lattice.cubic(4), ["Na", "Na"], [[0, 0, 0], [0, 0, 0]])
    assert stored_orbits([doubled], SYMPREC, tmp_path) == [None]
    never()
    assert stored_orbits([doubled], SYMPREC, tmp_path) == [None]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-400] + bytes([b[-400] ^ 255]) + b[-399:],
                                    lambda b: b.replace(b"\x3f", b"\x3e")])  # fmt: skip
def test_a_broken_file_is_named_and_made_anew(tmp_path, crystals, never, damage):
    stored_orbits(crystals, SYMPREC, tmp_path)
    files = sorted(store_folder(SYMPREC, tmp_path).glob("*.npz"))
    files[0].write_bytes(damage(files[0].read_bytes()))
    with pytest.warns(UserWarning, match=files[0].name):
        check(stored_orbits(crystals, SYMPREC, tmp_path), crystals)
    never()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(stored_orbits(crystals, SYMPREC, tmp_path), crystals)


def test_processes_share_a_store(tmp_path, never):
    program = (
        "import sys\n"
        "from dtnet_core.crystals.symmetry_store import stored_orbits\n"
        "from tests.crystals.test_symmetry_store import cubes\n"
        "for cube in cubes(int(sys.argv[2])):\n"
        "    stored_orbits([cube], 1e-3, sys.argv[1])\n"
    )
    root = Path(__file__).resolve().parents[2]
    run = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(first)], cwd=root,
                            env=os.environ | {"PYTHONPATH": str(root)}) for first in (0, 20)]  # fmt: skip
    assert [p.wait() for p in run] == [0, 0]
    expected = cubes(0) + cubes(20)
    found = [orbits(c, SYMPREC)[1] for c in expected]
    never()
    for (_, rotations), group in zip(stored_orbits(expected, SYMPREC, tmp_path), found, strict=True):
        np.testing.assert_array_equal(rotations, group)


def cubes(first):
    """Forty crystals of different size, of which a call with 20 shares half."""
    return [Structure(Lattice.cubic(4 + 0.01 * i), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for i in range(first, first + 40)]


def test_the_fast_search_is_silent_where_the_tolerance_decides():
    """Displaced by about the tolerance: left to spglib, whose answer is then the one that is given."""
    for shift, clear in ((0.0, True), (2e-5, True), (4e-4, False), (1e-3, False), (0.05, True)):
        crystal = Structure.from_spacegroup(225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        crystal.translate_sites([0], [shift, 0, 0], frac_coords=False)
        assert (clear_search(spglib_cell(crystal), SYMPREC) is not None) == clear, shift


@pytest.mark.parametrize("strain", [2e-5, 4e-4, 0.05])
def test_a_strained_lattice(strain):
    """The lattice counts like the atoms: a cube that is longer along z is a cube only within the tolerance."""
    crystal = Structure(Lattice.tetragonal(4.0, 4.0 + strain), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert len(point_group_rotations(crystal, SYMPREC)) == (16 if strain == 0.05 else 48)
