"""The documentation without building it: nothing is left out, nothing is named that is not there."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp

from dtnet_core import Encoder, encode
from tests.conftest import CRYSTALS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import badges  # noqa: E402
import launch  # noqa: E402
import links  # noqa: E402
import reference  # noqa: E402

PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def toctree(page: Path) -> list[Path]:
    """Pages that a page's toctrees name, without their endings."""
    blocks = re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = [line.strip() for block in blocks for line in block.splitlines() if line.strip() and not line.startswith(":")]
    return [(page.parent / name).resolve() for name in names]


def source(page: Path) -> Path:
    """The file of a page."""
    found = [page.with_name(page.name + ending) for ending in (".md", ".ipynb") if page.with_name(page.name + ending).is_file()]
    assert len(found) == 1, f"{page}: a toctree names it, but there is no such file"
    return found[0]


def site() -> list[Path]:
    """Every page that one can reach from the first one."""
    pages, waiting = [], [ROOT / "index.md"]
    while waiting:
        pages.append(waiting.pop())
        waiting += [source(page) for page in toctree(pages[-1])] if pages[-1].suffix == ".md" else []
    return pages


def test_every_page_stands_once_in_the_site():
    pages = site()
    assert len(pages) == len(set(pages))
    assert set((ROOT / "docs").rglob("*.md")) <= set(pages)
    assert {ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "data/open_dfpt.md", ROOT / "data/weights/README.md"} <= set(pages)
    assert "{include} README.md" in (ROOT / "index.md").read_text()


def test_the_tutorial_is_the_notebooks_in_their_order():
    assert [source(page) for page in toctree(ROOT / "docs/tutorial.md")] == sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def test_every_module_has_its_place_in_the_reference():
    written = {page.stem: page.read_text() for page in (ROOT / "docs/api").glob("*.md")}
    assert written == reference.pages(), "make reference"
    named = re.findall(r"^\.\. automodule:: (\S+)", "".join(written.values()), re.MULTILINE)
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "dtnet_core").rglob("*.py") if not p.name.startswith("_")}
    packages = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "dtnet_core").rglob("__init__.py")} - {"dtnet_core"}
    assert len(named) == len(set(named)) and set(named) == modules | packages
    for module in (ROOT / "dtnet_core").glob("[!_]*.py"):
        assert f"automodule:: dtnet_core.{module.stem}\n" in written[module.stem]


def test_pictures_are_there_and_small():
    for name in ("front", "docs", "demo", "00_quickstart", "07_tensors_and_symmetry"):
        path = ROOT / f"docs/images/{name}.png"
        assert path.stat().st_size < 250_000 and Image.open(path).size[0] >= 1000


def test_a_link_to_nowhere_is_found(tmp_path):
    (tmp_path / "a.html").write_text('<p id="here"><a href="b.html#there">b</a><a href="#here"></a><a href="https://x.org/no">x</a><a href="sub/"></a>')
    (tmp_path / "b.html").write_text('<a href="a.html#lost"></a><img src="no.png"><a href="gone.html"></a><h2 id="there">b</h2>')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/index.html").write_text('<a href="../a.html">back</a><a href="../a%20b.html">space</a>')
    (tmp_path / "a b.html").write_text("")
    assert links.missing(tmp_path) == ["b.html: a.html#lost", "b.html: gone.html", "b.html: no.png"]
    with pytest.raises(ValueError, match="has no page"):
        links.missing(tmp_path / "nothing")


def test_launch_links_come_from_one_address():
    text = (ROOT / "README.md").read_text()
    assert launch.with_links(text, launch.repository()) == text, "make launch"
    opened = re.findall(r"https://(?:mybinder|colab)\S+?/(notebooks/\w+\.ipynb)\)", text)
    assert sorted(opened) == sorted(f"notebooks/{p.name}" for p in (ROOT / "notebooks").glob("[0-9]*.ipynb") for _ in range(2))
    address = launch.repository()
    other = launch.with_links(text, "https://github.com/somebody/kit")
    assert launch.PLACEHOLDER not in other and other.count("somebody/kit/") == len(opened) and "mybinder.org/v2/gh/somebody/kit/main?urlpath=lab/tree/notebooks/00_quickstart.ipynb" in other
    assert ("once the repository has" in text) == (launch.PLACEHOLDER in address) and "once the repository has" not in other
    with pytest.raises(ValueError, match=r"'https://host\.org/a'; it must be"):
        launch.links("00_quickstart", "https://host.org/a")


def test_the_address_is_written_nowhere_else():
    owner = launch.repository().removeprefix("https://github.com/")
    kept = [p for ending in ("md", "py", "toml", "yml", "ipynb") for p in ROOT.rglob(f"*.{ending}") if not {".venv", "build"} & set(p.relative_to(ROOT).parts)]
    assert {p.name for p in kept if owner in p.read_text(encoding="utf-8")} == {"README.md", "pyproject.toml"}


def test_the_guides_own_potential_is_an_encoder():
    (code,) = PYTHON.findall((ROOT / "docs/howto/potential.md").read_text())
    names: dict = {}
    exec(code, names)
    encoder, crystal = names["Neighbours"](), Structure.from_spacegroup(225, Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5] * 3]).get_primitive_structure()
    crystal.translate_sites([0], [0.07, 0.03, 0.11])
    turn = SymmOp.from_axis_angle_and_translation([1, 2, 3], 40).rotation_matrix
    turned, mirrored = (crystal.copy().apply_operation(SymmOp.from_rotation_and_translation(r)) for r in (turn, -np.eye(3)))
    assert isinstance(encoder, Encoder)
    plain, after, mirror = (encode(encoder, [s, crystal], 0) for s in (crystal, turned, mirrored))
    assert plain.n_atoms.tolist() == [2, 2] and plain.vectors.abs().max() > 0.005
    np.testing.assert_allclose(after.vectors[:2], np.einsum("ij,ncj->nci", turn, plain.vectors[:2]), atol=1e-9)
    np.testing.assert_allclose(after.tensors[:2], np.einsum("ij,ncjk,lk->ncil", turn, plain.tensors[:2], turn), atol=1e-9)
    np.testing.assert_allclose(mirror.vectors[:2], -plain.vectors[:2], atol=1e-9)
    np.testing.assert_allclose(mirror.tensors[:2], plain.tensors[:2], atol=1e-9)


@pytest.mark.parametrize("page", ["README.md", "docs/howto/crystals.md"])
def test_the_lines_of_python_run(page, tmp_path, monkeypatch, capsys):
    (code,) = PYTHON.findall((ROOT / page).read_text())
    CRYSTALS["hexagonal"]().to(str(tmp_path / "my.cif"), fmt="cif")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DTNET_CACHE_DIR", str(tmp_path / "cache"))
    names: dict = {}
    exec(code, names)
    assert names["found"].tensors.shape == (1, 3, 3) and 0 < names["found"].std[0] < names["found"].wide[0]


def test_badges_say_what_the_project_says():
    facts, page = badges.facts(), (ROOT / "README.md").read_text()
    assert facts["licence"] in (ROOT / "LICENSE").read_text().splitlines()[0] and facts["python"] == "3.11 | 3.12"
    assert f"## {facts['version']}" in (ROOT / "CHANGELOG.md").read_text()
    for name, text in facts.items():
        path = ROOT / "docs/images" / f"badge-{name}.svg"
        assert path.read_text() == badges.badge(name, text) and f"(docs/images/{path.name})" in page
