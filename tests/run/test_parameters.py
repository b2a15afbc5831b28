"""Parameters of the notebooks: what is wrong is refused in one line, at once; what is right goes through."""

import ast
import json
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pytest

from dtnet_core.potentials import packages
from dtnet_core.run.parameters import _RULES, CHOICES, ParameterError, check_parameters

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def defaults(path: Path) -> dict:
    """Values in the parameters cell of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (source,) = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
    return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(source).body}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_parameter_of_a_notebook_has_a_rule_and_a_good_default(path):
    given = defaults(path)
    assert set(given) <= set(_RULES)
    before = dict(given)
    check_parameters(given)
    assert given == before


@pytest.mark.parametrize(("given", "said"), [
    ({"cif": "nofile.cif"}, "no such file in"), ({"structure_file": ""}, "path of a file"), ({"max_epochs": -5}, "from 1"), ({"max_epochs": "60"}, "whole"),
    ({"rounds": True}, "whole"), ({"learning_rate": float("nan")}, "above 0"), ({"angle": -361}, "from -360"), ({"task": "magnetism"}, "figure of merit"),
    ({"crystal": "TiO2-rutile"}, "none of the 129"), ({"crystal": 7}, "text"), ({"candidate": "mp-1"}, "screening_dfpt"), ({"seeds": "many"}, "list"), ({"seeds": [0, 0]}, "different"),
    ({"seeds": []}, "list"), ({"layers": [6]}, "to 5"), ({"features": "mace:1"}, "no encoder"), ({"features": "7net-0:9"}, "no layer"), ({"features": 4}, "no encoder"),
    ({"pool": "nowhere"}, "prototypes"), ({"budget": "8"}, "8 epochs"), ({"relax": "no"}, "True or False"), ({"low": 2, "high": 1}, "low must be less"),
    ({"oracle": "vasp", "run_folder": None}, "run_folder"), ({"profile": "big"}, "'mini'"), ({"profile": "mini", "name": "none"}, "open_dfpt"),
    ({"figures_dir": __file__}, "folder"), ({"cif": str(NOTEBOOKS[0].parent)}, "it is a folder"), ({"cif": __file__}, "unknown kind"), ({"structure_file": __file__}, "unknown kind"),
    ({"encoder": "nequix-oam-1-pft"}, "DTNET_WEIGHTS_DIR"), ({"encoder": "tensornet-matpes-pbe"}, "DTNET_WEIGHTS_DIR"), ({"features": "7net-0:0+nequix-mp-1:1"}, "nequix-mp-1 is not installed"),
    ({"variant": "best"}, "nequix-oam-1-pft is not installed"), ({"variant": "physics"}, "nequix-oam-1-pft is not installed"),
], ids=str)  # fmt: skip
def test_a_wrong_value_is_refused_in_one_line_that_says_what_would_do(given, said, monkeypatch):
    monkeypatch.delenv("DTNET_WEIGHTS_DIR", raising=False)
    with pytest.raises(ParameterError, match=said) as caught:
        check_parameters(given)
    assert "\n" not in str(caught.value) and any(name in str(caught.value) for name in given)


def test_a_file_is_read_before_anything_is_computed(tmp_path, monkeypatch):
    """A broken one is refused with the reader's reason and its name once; a good one goes through, and its warnings wait for who uses it."""
    monkeypatch.chdir(tmp_path)
    cell = "".join(f"_cell_length_{a} 4.21\n_cell_angle_{b} 90\n" for a, b in zip("abc", ("alpha", "beta", "gamma"), strict=True))
    (tmp_path / "partial.cif").write_text(f"data_x\n_space_group_name_H-M_alt 'P 1'\n{cell}loop_\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\nMg 0 0 0 0.5\n")
    with pytest.raises(ParameterError, match=r"^cif is 'partial\.cif': .*occup") as caught:
        check_parameters({"cif": "partial.cif"})
    assert str(caught.value).count("partial.cif") == 1
    (tmp_path / "good.cif").write_text((tmp_path / "partial.cif").read_text().replace("0.5\n", "1\n"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_parameters({"cif": "good.cif", "structure_file": None})


def test_weights_that_are_here_are_enough(tmp_path, monkeypatch):
    (tmp_path / "nequix").mkdir()
    (tmp_path / "nequix/nequix-mp-1.pt").touch()
    monkeypatch.setenv("DTNET_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(ParameterError, match=r"nequix-omat-1 is not installed: no weights at .*nequix-omat-1\.pt"):
        check_parameters({"encoder": "nequix-omat-1"})
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: True)
    check_parameters({"encoder": "nequix-mp-1", "features": "nequix-mp-1:1+7net-0:2"})
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match="nequix-mp-1 is not installed: the package nequix is not installed: pip install"):
        check_parameters({"encoder": "nequix-mp-1"})


@pytest.mark.parametrize(("given", "said"), [
    ("sedes = [0]", r"sedes is no parameter of this notebook \(did you mean seeds\?\); it has seeds, target$"), ("cif = None", "cif is no parameter of this notebook; it has"),
    ("seeds = [0]\nqqq = 1", "qqq is no parameter"), ("seeds = [1]", None),
])  # fmt: skip
def test_a_name_that_the_notebook_does_not_have_is_refused(given, said):
    """As IPython keeps the cells: papermill's stands behind the notebook's own."""
    names = {"In": ["", 'seeds = [0]  # each\ntarget = "total"', f"# Parameters\n{given}\n", "check_parameters(globals())"], "seeds": [0], "target": "total"}
    if said is None:
        check_parameters(names)
    else:
        with pytest.raises(ParameterError, match=said):
            check_parameters(names)
    check_parameters(names | {"In": [*names["In"][:2], "check_parameters(globals())", "other = 1"]})  # nothing was given


def test_profile_full_without_its_folder_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv("DTNET_DATA_DIR", raising=False)
    with pytest.raises(ParameterError, match="DTNET_DATA_DIR"):
        check_parameters({"profile": "full"})
    monkeypatch.setenv("DTNET_DATA_DIR", str(tmp_path))
    with pytest.raises(ParameterError, match=r"mp_tensors\.json\.gz is not in"):
        check_parameters({"profile": "full"})


@pytest.mark.parametrize(("text", "value"), [("[0, 2]", [0, 2]), ("0,2", [0, 2]), (3, [3]), ("3", [3]), ((1, 0), [1, 0])])
def test_lists_may_come_as_text(text, value):
    given = {"seeds": text}
    check_parameters(given)
    assert given == {"seeds": value}


@pytest.mark.parametrize(("name", "module", "registry"), [
    ("target", "crystals.record", "TARGETS"), ("task", "screening.selection", "TASKS"), ("oracle", "screening.live", "ORACLES"),
    ("diversity", "screening.selection", "DIVERSITIES"), ("engine", "dfpt.parse", "ENGINES"),
], ids=str)  # fmt: skip
def test_choices_are_those_of_the_module_that_knows_them(name, module, registry):
    assert set(CHOICES[name]) == set(getattr(import_module(f"dtnet_core.{module}"), registry))


def test_choices_of_models_and_encoders_are_the_registered_ones():
    from dtnet_core.baselines import MODELS
    from dtnet_core.potentials.nequix import NEQUIX_FILES
    from dtnet_core.potentials.sevennet import SEVENNET_NAMES
    from dtnet_core.potentials.tensornet import TENSORNET_FOLDERS

    assert set(CHOICES["model"]) == {"all", *MODELS}
    assert set(CHOICES["encoder"]) == {*SEVENNET_NAMES, *NEQUIX_FILES, *TENSORNET_FOLDERS}


def test_the_check_needs_nothing_heavy():
    """It comes before everything else, so it must not wait for torch or pymatgen."""
    code = "import sys; import dtnet_core.run.parameters; print([m for m in ('torch', 'numpy', 'pymatgen', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
