"""Valid files of crystals of every kind, and mutations of them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Iterator

import numpy as np
import pandas as pd
from ase.io import write
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
OXIDE = Structure.from_spacegroup("P2_1/c", Lattice.monoclinic(5.15, 5.21, 5.32, 99.2), ["Zr", "O", "O"],
                                  [[0.2754, 0.0395, 0.2083], [0.07, 0.3317, 0.3447], [0.4496, 0.7569, 0.4792]])  # fmt: skip
BRUCITE = """data_brucite
_publ_section_title
;
 A title of
 two lines
;
_chemical_formula_sum 'H2 Mg O2'
_cell_length_a 3.142(1)
_cell_length_b 3.142(1)
_cell_length_c 4.766(2)
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_cell_formula_units_Z 1
_symmetry_space_group_name_H-M 'P -3 m 1'
_symmetry_Int_Tables_number 164
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Mg1 Mg2+ 0 0 0 1
O1 O2- 0.3333 0.6667 0.2203(3) 1.0
H1 H1+ 0.3333 0.6667 0.4130 .
"""
WORDS = (b"?", b".", b"nan", b"inf", b"1e999", b"-1", b"0", b"99999999999999", b"data_x", b"loop_", b"'", b'"', b";", b"\n;\n", b"null", b"[]", b"{}", b"[", b"}",
         b"F d -3 m", b"R -3 c", b"P 21/c", b"x,y,z", b"-x+1/2,y,z", b"_atom_site_label", b"Cl", b"D", b"X", b"\x00", b"\xff", b"\xe9", b"1.5", b"90", b"save_", b"#")  # fmt: skip


def valid() -> dict[str, bytes]:
    """Files that are read, by name."""
    crystals = [SALT, OXIDE]
    cif = str(CifWriter(OXIDE, symprec=0.01))
    records = [{"id": f"r{i}", "structure": s.as_dict(), "eps_total": 9.5} for i, s in enumerate(crystals)]
    optimade = {"data": [{"id": f"o{i}", "type": "structures", "attributes": {
        "lattice_vectors": s.lattice.matrix.tolist(), "cartesian_site_positions": s.cart_coords.tolist(),
        "species_at_sites": [e.symbol for e in s.species], "dimension_types": [1, 1, 1]}} for i, s in enumerate(crystals)], "meta": {}}  # fmt: skip
    jarvis = [{"jid": f"J{i}", "atoms": {"lattice_mat": s.lattice.matrix.tolist(), "coords": s.frac_coords.tolist(),
                                         "elements": [e.symbol for e in s.species], "cartesian": False}} for i, s in enumerate(crystals)]  # fmt: skip
    table = pd.DataFrame({"id": ["a", "b"], "cif": [cif, str(CifWriter(SALT))]})
    split = {"index": ["m0", "m1"], "columns": ["structure", "n"], "data": [[s.as_dict(), 1.7] for s in crystals]}
    columns = {"structure": {str(i): s.as_dict() for i, s in enumerate(crystals)}, "n": {"0": 1.7, "1": 2.0}}
    parquet, xyz = io.BytesIO(), io.StringIO()
    table.to_parquet(parquet)
    write(xyz, [AseAtomsAdaptor.get_atoms(s) for s in crystals], format="extxyz")
    files = {
        "symmetry.cif": cif, "all.cif": str(CifWriter(OXIDE)), "brucite.cif": BRUCITE, "two.cif": cif + str(CifWriter(SALT)), "POSCAR": OXIDE.to(fmt="poscar"),
        "salt.vasp": SALT.to(fmt="poscar"), "records.json": json.dumps(records), "lines.jsonl": "\n".join(map(json.dumps, records)), "optimade.json": json.dumps(optimade),
        "jarvis.json": json.dumps(jarvis), "split.json": json.dumps(split), "columns.json": json.dumps(columns), "table.csv": table.to_csv(), "frames.extxyz": xyz.getvalue(),
    }  # fmt: skip
    found = {name: text.encode() for name, text in files.items()} | {"table.parquet": parquet.getvalue()}
    return found | {"packed.cif.gz": gzip.compress(found["brucite.cif"]), "packed.json.bz2": bz2.compress(found["records.json"]), "packed.vasp.xz": lzma.compress(found["salt.vasp"])}


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes of bytes, words or lines."""
    for _ in range(rng.integers(1, 5)):
        if not content:
            return content
        place = int(rng.integers(len(content)))
        kind = rng.integers(7)
        if kind == 0:
            content = content[:place] + bytes([rng.integers(256)]) + content[place + 1 :]
        elif kind == 1:
            content = content[:place]
        elif kind == 2:
            end = place + int(rng.integers(1, 60))
            content = content[:place] + content[end:]
        elif kind in (3, 4):  # a word for another
            words = content.split(b" ")
            k = int(rng.integers(len(words)))
            words[k] = WORDS[rng.integers(len(WORDS))] if kind == 3 else words[rng.integers(len(words))]
            content = b" ".join(words)
        else:  # a line out, twice or elsewhere
            lines = content.split(b"\n")
            k, to = rng.integers(len(lines), size=2)
            line = lines[k]
            if kind == 5:
                del lines[k]
            lines.insert(int(to), line if rng.integers(2) else b"")
            content = b"\n".join(lines)
    return content


def mutants(number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """(name, content) of so many mutated files, the kinds in turn."""
    files, rng = list(valid().items()), np.random.default_rng(seed)
    for i in range(number):
        name, content = files[i % len(files)]
        yield name, mutated(content, rng)
