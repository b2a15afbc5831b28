"""The Materials Project downloader, on documents built with the database's own classes."""

from __future__ import annotations

import io
import logging
import traceback
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from emmet.core.mpid import AlphaID
from emmet.core.polar import DielectricDoc
from emmet.core.summary import SummaryDoc
from emmet.core.tasks import CoreTaskDoc
from emmet.core.vasp.calculation import CoreCalculationOutput
from mp_api.client.core import BaseRester
from mp_api.client.core.exceptions import MPRestError
from mp_api.client.routes.materials.dielectric import DielectricRester
from mp_api.client.routes.materials.summary import SummaryRester
from mp_api.client.routes.materials.tasks import TaskRester
from pymatgen.core import Lattice, Structure

from dtnet_core.base.files import read_json, write_json_gz
from dtnet_core.crystals import frames
from dtnet_core.crystals.record import Record
from dtnet_core.data import download, mp_documents
from dtnet_core.data.cleaning import clean
from dtnet_core.data.loading import data_sha256, load_records
from dtnet_core.screening.selection import select_candidates
from tests.command import dtnet

KEY = "k3y" + "0123456789abcdef" + "ABCDEFGHIJKLM"  # 32 characters, like a real one


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def crystal(seed: int) -> tuple[Structure, np.ndarray, np.ndarray]:
    """A crystal somehow oriented in space with tensors that fit it: structure, electronic, ionic."""
    x, q = 0.305, rotation(seed)
    kinds = [
        (Lattice.tetragonal(4.6, 2.96), [7.0, 7.0, 8.5]),
        (Lattice.orthorhombic(4.4, 4.9, 3.1), [5.0, 6.0, 9.0]),
    ]
    lattice, diagonal = kinds[seed % 2]
    sites = [
        [0, 0, 0],
        [0.5, 0.5, 0.5],
        [x, x, 0],
        [-x, -x, 0],
        [0.5 + x, 0.5 - x, 0.5],
        [0.5 - x, 0.5 + x, 0.5],
    ]
    structure = Structure(lattice.matrix @ q.T, ["Ti"] * 2 + ["O"] * 4, sites)
    tensor = q @ np.diag(diagonal) @ q.T
    return structure, tensor, 3 * tensor


class Server:
    """What the database would answer, asked for with the arguments that its clients take."""

    db_version = "2025.09.25"

    def __init__(self, n: int = 7, without_task: tuple[int, ...] = ()) -> None:
        self.calls: list[tuple[str, tuple]] = []
        self.fail: list[Exception] = []  # raised by the next calls, one each
        self.documents: dict[str, dict[str, dict]] = {"dielectric": {}, "summary": {}, "tasks": {}}
        for i in range(n):
            material, task = f"mp-{100 + i}", f"mp-{9000 + i}"
            structure, electronic, ionic = crystal(i)
            origin = {"name": "dielectric", "task_id": task, "last_updated": "2024-01-01T00:00:00"}
            published = DielectricDoc.from_ionic_and_electronic(
                ionic, electronic, structure, material, origins=[origin], deprecated=False,
                last_updated="2024-01-01T00:00:00",
            )  # fmt: skip
            self.documents["dielectric"][material] = {
                "material_id": material,
                "electronic": [list(row) for row in published.electronic],
                "ionic": [list(row) for row in published.ionic],
                "origins": [origin],
            }
            self.documents["summary"][material] = {
                "material_id": material, "structure": structure.as_dict(), "band_gap": 1.5 + i,
                "energy_above_hull": 0.0, "is_stable": True, "deprecated": False, "has_props": ["dielectric"],
            }  # fmt: skip
            if i not in without_task:
                task = (
                    str(AlphaID(task.split("-")[1], padlen=8)) if i % 3 == 0 else task
                )  # both spellings occur
                self.documents["tasks"][task if "-" in task else f"mp-{task}"] = {
                    "task_id": task if "-" in task else f"mp-{task}",
                    "structure": structure.as_dict(),
                    "run_type": "GGA+U",
                    "output": {"epsilon_static": electronic.tolist(), "epsilon_ionic": ionic.tolist()},
                }
        self.materials = SimpleNamespace(
            dielectric=self._rester("dielectric", DielectricRester, "material_ids"),
            summary=self._rester("summary", SummaryRester, "material_ids"),
            tasks=self._rester("tasks", TaskRester, "task_ids"),
        )

    def add_candidate(self, number: int, **fields) -> dict:
        """A material without a tensor; its summary document."""
        document = {"material_id": f"mp-{number}", "structure": crystal(number)[0].as_dict(), "band_gap": 2.0, "energy_above_hull": 0.0} | fields
        self.documents["summary"][f"mp-{number}"] = {"has_props": [], "is_stable": True, "deprecated": False} | document
        return self.documents["summary"][f"mp-{number}"]

    def _rester(self, name: str, real: type, key: str) -> BaseRester:
        """The real client's class, whose questions this server answers."""
        server = self

        class Answers(BaseRester):
            def __init__(self) -> None:
                pass

            def _search(self, num_chunks=None, chunk_size=1000, all_fields=True, fields=None, **criteria):
                assert chunk_size > 0 and {f.split(".")[0] for f in fields} <= set(self.available_fields)
                return server.answer(name, key, fields, criteria)

        return type(real.__name__, (real, Answers), {})()

    def answer(self, name: str, key: str, fields: list[str], criteria: dict) -> list[dict]:
        ids = criteria.pop(key, None)
        self.calls.append((name, tuple(ids.split(",")) if ids else ()))
        if self.fail:
            error = self.fail.pop(0)
            if error is not None:
                raise error
        wanted = {mp_documents.same_id(i) for i in ids.split(",")} if ids else None
        top = {f.split(".")[0] for f in fields}
        found = [d for i, d in self.documents[name].items() if (wanted is None or mp_documents.same_id(i) in wanted) and meets(d, **criteria)]
        return [{k: v for k, v in d.items() if k in top} for d in reversed(found)]  # in no particular order


def meets(document: dict, has_props="", deprecated=None, is_stable=None, band_gap_min=None, batch_id_not_eq=None) -> bool:
    """What the server does with the query of a summary search; a term that it does not have is an error."""
    return (
        set(filter(None, has_props.split(","))) <= set(document.get("has_props", ()))
        and deprecated in (None, document.get("deprecated"))
        and is_stable in (None, document.get("is_stable"))
        and (band_gap_min is None or document["band_gap"] >= band_gap_min)
        and (batch_id_not_eq is None or document.get("batch_id") != batch_id_not_eq)
    )


@pytest.fixture(autouse=True)
def _key_and_no_waiting(monkeypatch):
    monkeypatch.setenv("MP_API_KEY", KEY)
    waits: list[float] = []
    monkeypatch.setattr(download, "_SLEEP", waits.append)
    return waits


def run(server: Server, folder, **options):
    options = {"page_size": 3, "progress": False, **options}
    return download.download(folder, client_factory=lambda secret: server, **options)


def test_the_fields_exist_in_the_database_classes():
    assert set(download.DIELECTRIC_FIELDS) <= set(DielectricDoc.model_fields)
    assert set(download.SUMMARY_FIELDS) <= set(SummaryDoc.model_fields)
    assert {f.split(".")[0] for f in download.TASK_FIELDS} <= set(CoreTaskDoc.model_fields)
    assert {f.split(".")[1] for f in download.TASK_FIELDS if "." in f} <= set(
        CoreCalculationOutput.model_fields
    )


@pytest.mark.parametrize("without_task", [(), tuple(range(7))])
def test_tensors_arrive_in_the_frame_of_their_structure(tmp_path, without_task):
    server = Server(without_task=without_task)
    path = run(server, tmp_path)
    assert path == tmp_path / "mp_tensors.json.gz"
    records = load_records("full", data_dir=tmp_path)
    assert [r.id for r in records] == [f"mp-{100 + i}" for i in range(7)]
    for i, record in enumerate(records):
        structure, electronic, ionic = crystal(i)
        assert np.allclose(record.structure.lattice.matrix, structure.lattice.matrix, atol=1e-7)
        assert np.allclose(record.eps_electronic, electronic, atol=1e-6)
        assert np.allclose(record.eps_ionic, ionic, atol=1e-6)
        assert np.allclose(record.eps_total, electronic + ionic, atol=1e-6)
        assert record.symmetry_violation < 1e-6 and record.meta["band_gap_ev"] == 1.5 + i
        assert record.meta["database_version"] == Server.db_version and record.code == "VASP"
        if without_task:
            assert record.flags == ("frame_reconstructed",) and record.meta["frame"] == "reconstructed"
        else:
            assert record.flags == () and record.functional == "PBE+U"
    assert clean(records)[1].counts() == {}


def test_published_tensors_do_not_fit_published_structures():
    """Why the frame has to be looked after at all."""
    published, summary = (Server(1).documents[name]["mp-100"] for name in ("dielectric", "summary"))
    structure, tensor = Structure.from_dict(summary["structure"]), np.array(published["electronic"])
    naive = Record("naive", structure, "TiO2", tensor)
    assert frames.tensor_violations(naive)["electronic"] > 0.05
    right = Record("right", structure, "TiO2", mp_documents.from_ieee(tensor, structure))
    assert frames.tensor_violations(right)["electronic"] < 1e-6


def test_a_wrong_frame_is_flagged():
    server = Server(1)
    published, summary = server.documents["dielectric"]["mp-100"], server.documents["summary"]["mp-100"]
    task = dict(next(iter(server.documents["tasks"].values())))
    q = rotation(11)
    task["output"] = {k: (q @ np.array(v) @ q.T).tolist() for k, v in task["output"].items()}
    assert "rotated_frame" in mp_documents.make_record("mp-100", published, summary, task).flags
    task["output"] = {k: (1.2 * np.array(v)).tolist() for k, v in task["output"].items()}
    assert "differs_from_published" in mp_documents.make_record("mp-100", published, summary, task).flags


def test_documents_may_be_the_clients_models():
    server = Server(1)
    structure, electronic, _ = crystal(0)
    published = DielectricDoc.from_ionic_and_electronic(
        3 * electronic, electronic, structure, "mp-100", deprecated=False, last_updated="2024-01-01T00:00:00"
    )
    summary = SimpleNamespace(structure=structure, band_gap=None, energy_above_hull=None)
    output = CoreCalculationOutput(
        epsilon_static=electronic.tolist(), epsilon_ionic=(3 * electronic).tolist()
    )
    task = CoreTaskDoc(structure=structure, output=output, run_type="GGA", last_updated="2024-01-01T00:00:00")
    record = mp_documents.make_record("mp-100", published, summary, task)
    assert np.allclose(record.eps_total, 4 * electronic) and record.functional == "PBE" and record.flags == ()
    assert server.db_version


def test_materials_that_cannot_be_joined_are_listed(tmp_path):
    server = Server(4, without_task=(1,))
    del server.documents["dielectric"]["mp-100"]
    server.documents["summary"]["mp-101"]["structure"] = None
    server.documents["dielectric"]["mp-102"]["ionic"] = None
    run(server, tmp_path)
    assert [r.id for r in load_records("full", data_dir=tmp_path)] == ["mp-103"]
    skipped = {s["id"]: s["reason"] for s in read_json(tmp_path / "mp_tensors.skipped.json.gz")}
    assert set(skipped) == {"mp-100", "mp-101", "mp-102"}
    assert "no dielectric document" in skipped["mp-100"] and "no structure" in skipped["mp-101"]


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    whole = data_sha256(run(Server(), tmp_path / "whole"))
    server = Server()
    server.fail = [None] * 6 + [
        KeyboardInterrupt()
    ]  # the list, page 1, and two of the three requests of page 2
    with pytest.raises(KeyboardInterrupt):
        run(server, tmp_path / "cut")
    assert not (tmp_path / "cut" / "mp_tensors.json.gz").exists()
    first = len(server.calls)
    assert data_sha256(run(server, tmp_path / "cut")) == whole
    assert [name for name, _ in server.calls[first:]] == [
        "dielectric",
        "summary",
        "tasks",
    ] * 2  # pages 2 and 3
    before = len(server.calls)
    assert data_sha256(run(server, tmp_path / "cut")) == whole
    assert len(server.calls) == before
    assert data_sha256(run(server, tmp_path / "cut", fresh=True)) == whole and len(server.calls) > before


def test_a_damaged_page_is_fetched_again(tmp_path):
    server = Server()
    whole = data_sha256(run(server, tmp_path))
    page = sorted((tmp_path / ".mp_tensors.pages").glob("page-*"))[1]
    page.write_bytes(page.read_bytes()[:40])
    before = len(server.calls)
    assert data_sha256(run(server, tmp_path)) == whole
    assert {ids for name, ids in server.calls[before:] if name == "summary"} == {
        ("mp-103", "mp-104", "mp-105")
    }


def test_pages_of_another_database_version_are_not_mixed(tmp_path):
    server = Server()
    run(server, tmp_path)
    server.db_version = "2026.01.01"
    with pytest.raises(download.DownloadError, match=r"2025\.09\.25.*2026\.01\.01.*fresh"):
        run(server, tmp_path)


def test_limit_and_page_size(tmp_path):
    run(Server(), tmp_path, limit=2)
    assert len(load_records("full", data_dir=tmp_path)) == 2
    run(Server(), tmp_path)  # the rest is added
    assert len(load_records("full", data_dir=tmp_path)) == 7
    with pytest.raises(ValueError, match="101"):
        run(Server(), tmp_path, page_size=101)


def test_failures_are_repeated_with_growing_pauses(tmp_path, _key_and_no_waiting):
    server = Server()
    server.fail = [
        MPRestError("REST query returned with error status code 429 on URL x with message:\nslow down"),
        requests.ConnectionError("reset"),
        MPRestError("REST query returned with error status code 502 on URL x with message:\nbad gateway"),
    ]
    run(server, tmp_path, backoff=1.0)
    assert _key_and_no_waiting == [1.0, 2.0, 4.0]
    assert len(load_records("full", data_dir=tmp_path)) == 7


def test_no_network_gives_a_clear_error(tmp_path, _key_and_no_waiting):
    def unreachable(secret):
        raise requests.ConnectionError("Failed to resolve 'api.materialsproject.org'")

    with pytest.raises(download.DownloadError, match=r"no answer.*after 3 attempts.*check the network"):
        download.download(tmp_path, client_factory=unreachable, retries=2)
    assert len(_key_and_no_waiting) == 2


def test_a_refused_key_is_not_repeated(tmp_path, _key_and_no_waiting):
    server = Server()
    server.fail = [
        MPRestError(f"REST query returned with error status code 401 on URL x?key={KEY} with message:\nno")
    ]
    with pytest.raises(download.DownloadError, match="refused the key in MP_API_KEY") as error:
        run(server, tmp_path)
    assert KEY not in str(error.value) and _key_and_no_waiting == []
    server.fail = [MPRestError("REST query returned with error status code 404 on URL x with message:\nno")]
    with pytest.raises(download.DownloadError, match="request was refused"):
        run(server, tmp_path)
    server.fail = [TypeError("search() got an unexpected keyword argument 'fields'")]
    with pytest.raises(download.DownloadError, match="is mp-api up to date"):
        run(server, tmp_path)


def test_a_missing_key_says_how_to_get_one(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MP_API_KEY")
    with pytest.raises(
        download.DownloadError, match=r"MP_API_KEY is not set.*next-gen.materialsproject.org/api"
    ):
        download.download(tmp_path)
    assert dtnet("download", tmp_path) == 1
    assert "export MP_API_KEY=" in capsys.readouterr().err


def leak() -> Exception:
    return requests.ConnectionError(
        f"https://api.materialsproject.org/?API_KEY={KEY} refused, x-api-key: {KEY}"
    )


def test_the_key_is_nowhere(tmp_path, capfd):
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    server = Server()
    server.documents["dielectric"]["mp-101"]["electronic"] = f"{KEY} broke it"
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run(server, tmp_path, progress=True)
            server.fail = [leak() for _ in range(3)]
            with pytest.raises(download.DownloadError) as error:
                run(server, tmp_path, fresh=True, retries=2)
            try:
                raise error.value
            except download.DownloadError as raised:
                logging.getLogger("dtnet").exception("download failed")
                report = traceback.TracebackException.from_exception(raised, capture_locals=True)
                shown = "".join(report.format())
    finally:
        logging.getLogger().removeHandler(handler)
    chain = [error.value]
    while (previous := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(previous)
    assert all(KEY not in f"{e!r}" for e in chain)
    output = "".join(capfd.readouterr())
    for text in (shown, log.getvalue(), output, *(str(w.message) for w in caught), repr(download.api_key())):
        assert KEY not in text
    assert "<hidden key>" in str(error.value)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY not in str(path) and KEY not in str(read_json(path))
    assert any("broke it" in str(read_json(p)) for p in tmp_path.rglob("*skipped*"))


def test_ids_match_in_both_spellings():
    for number in (149, 9000, 1234567):
        assert mp_documents.same_id(f"mp-{AlphaID(str(number), padlen=8)}") == mp_documents.same_id(
            f"mp-{number}"
        )
        assert mp_documents.same_id(str(AlphaID(str(number), padlen=8))) == f"mp-{number}"
    assert mp_documents.same_id("mvc-3271") != mp_documents.same_id("mp-3271")


def pool_server() -> Server:
    """Three materials with tensors, seven candidates, and one each of what is no candidate."""
    server = Server(3)
    for number in range(500, 507):
        server.add_candidate(number)
    server.add_candidate(507, band_gap=0.0)
    server.add_candidate(508, is_stable=False, energy_above_hull=0.02)
    server.add_candidate(509, deprecated=True)
    server.add_candidate(510, batch_id="gnome_r2scan_statics")
    return server


def run_pool(server: Server, folder, **options):
    return download.download_pool(folder, client_factory=lambda secret: server, **{"page_size": 3, "progress": False, **options})


def test_the_screening_pool_is_stable_has_gaps_and_no_tensors(tmp_path):
    server = pool_server()
    server.documents["summary"]["mp-505"]["structure"] = None
    server.documents["summary"]["mp-506"]["energy_above_hull"] = None
    path = run_pool(server, tmp_path)
    assert path == tmp_path / "screening_pool.json.gz"
    for item in read_json(path):
        assert {"mp_id", "formula", "band_gap_ev", "energy_above_hull_ev", "source", "structure"} <= set(item)
        assert set(item["structure"]) == {"lattice", "species", "frac_coords"}
    pool = load_records("full", "screening_pool", tmp_path)
    assert [r.mp_id for r in pool] == [r.id for r in pool] == [f"mp-{i}" for i in range(500, 505)]
    for record, number in zip(pool, range(500, 505), strict=True):
        structure = crystal(number)[0]  # turned somehow in space, and so it stays
        assert np.allclose(record.structure.lattice.matrix, structure.lattice.matrix, atol=1e-7) and record.structure.species == structure.species
        assert np.allclose(record.structure.frac_coords, structure.frac_coords, atol=1e-7)
        assert (record.meta["band_gap_ev"], record.meta["energy_above_hull_ev"]) == (2.0, 0.0) and record.formula == "TiO2"
        assert record.eps_total is None and record.meta["database_version"] == Server.db_version
    assert [r.id for r in select_candidates(pool)[0]] == [r.id for r in pool]
    skipped = {s["id"]: s["reason"] for s in read_json(tmp_path / "screening_pool.skipped.json.gz")}
    assert set(skipped) == {"mp-505", "mp-506"} and "no structure" in skipped["mp-505"] and "None eV/atom above the hull" in skipped["mp-506"]


def test_a_known_tensor_is_recognised_in_the_other_spelling():
    server = Server(0)
    server.add_candidate(500)
    server.add_candidate(501)
    spelled = f"mp-{AlphaID('500', padlen=8)}"
    server.documents["summary"][spelled] = {"material_id": spelled, "deprecated": False, "has_props": ["dielectric"], "band_gap": 0.0}
    assert download._list_candidates(download._Server(server, download.api_key(), 0, 0.0)) == ["mp-501"]


def test_the_screening_pool_goes_on_where_it_stopped(tmp_path):
    whole = data_sha256(run_pool(pool_server(), tmp_path / "whole"))
    server, folder = pool_server(), tmp_path / "cut"
    server.fail = [None] * 3 + [KeyboardInterrupt()]  # two lists and the first page
    with pytest.raises(KeyboardInterrupt):
        run_pool(server, folder)
    assert not (folder / "screening_pool.json.gz").exists()
    first = len(server.calls)
    run(server, folder)  # tensors have pages of their own
    server.calls = server.calls[:first]
    assert data_sha256(run_pool(server, folder)) == whole
    assert server.calls[first:] == [("summary", ("mp-503", "mp-504", "mp-505")), ("summary", ("mp-506",))]
    page = sorted((folder / ".screening_pool.pages").glob("page-*"))[1]
    page.write_bytes(page.read_bytes()[:40])
    assert data_sha256(run_pool(server, folder)) == whole and len(server.calls) == first + 3
    assert data_sha256(run_pool(server, folder, fresh=True)) == whole and len(server.calls) == first + 8
    server.db_version = "2026.01.01"
    with pytest.raises(download.DownloadError, match=r"2025\.09\.25.*2026\.01\.01.*fresh"):
        run_pool(server, folder)
    server.fail = [leak() for _ in range(3)]
    with pytest.raises(download.DownloadError, match=r"listing materials: no answer.*<hidden key>") as error:
        run_pool(server, folder, fresh=True, retries=2)
    assert KEY not in str(error.value)


def test_the_command_line_makes_what_a_missing_file_asks_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mp_api.client.MPRester", lambda **options: pool_server())
    for name, option in (("mp_tensors", ""), ("screening_pool", " --screening-pool")):
        with pytest.raises(FileNotFoundError, match=f"`dtnet download FOLDER{option}`"):
            load_records("full", name, tmp_path)
        assert dtnet("download", tmp_path, *option.split(), "--limit", "2", "--page-size", "1") == 0
        assert len(load_records("full", name, tmp_path)) == 2 and f"2 records in {tmp_path / name}.json.gz" in capsys.readouterr().out
    assert not {r.id for r in load_records("full", "mp_tensors", tmp_path)} & {r.id for r in load_records("full", "screening_pool", tmp_path)}
    assert len(list((tmp_path / ".screening_pool.pages").glob("page-*"))) == 2
    for name in ("mp_scalars", "pbesol_tensors", "matbench_dielectric"):
        with pytest.raises(FileNotFoundError, match="no download for this file") as error:
            load_records("full", name, tmp_path)
        assert "dtnet download" not in str(error.value)


def test_the_calculation_that_fits_the_published_tensor_is_found():
    """An origin may name another calculation: of the same material with another setting, or of another material."""
    server = Server(2)
    published, summary = server.documents["dielectric"]["mp-100"], server.documents["summary"]["mp-100"]
    own, other = server.documents["tasks"].values()
    stretched = own | {"output": {k: (np.array(v) * [[1.3], [1.0], [1.0]]).tolist() for k, v in own["output"].items()}}
    found = mp_documents.make_record("mp-100", published, summary, [other, stretched, own])
    assert found.flags == () and found.meta["frame"] == "calculation"
    assert np.allclose(found.eps_electronic, own["output"]["epsilon_static"])
    assert "differs_from_published" in mp_documents.make_record("mp-100", published, summary, [stretched]).flags
    swapped = own | {"output": {"epsilon_static": own["output"]["epsilon_ionic"], "epsilon_ionic": own["output"]["epsilon_static"]}}
    assert "differs_from_published" in mp_documents.make_record("mp-100", published, summary, [swapped]).flags  # though the total is the same
    assert clean([mp_documents.make_record("mp-100", published, summary, [stretched])])[1].counts() == {"quality flag": 1}
    elsewhere = own | {"structure": Structure(Lattice.cubic(4.2), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]).as_dict()}
    found = mp_documents.make_record("mp-100", published, summary, [elsewhere])
    assert found.flags == ("origin_of_another_material", "frame_reconstructed") and found.formula == Structure.from_dict(summary["structure"]).composition.reduced_formula
    with pytest.raises(ValueError, match="published electronic tensor"):
        mp_documents.make_record("mp-100", published | {"electronic": [[float("nan")] * 3] * 3}, summary, [own])
    shrunk = Structure.from_dict(own["structure"]).apply_strain(-0.5)
    with pytest.raises(ValueError, match="mp-100: the cell"):
        mp_documents.make_record("mp-100", published, summary, [own | {"structure": shrunk.as_dict()}])


def test_origins_are_asked_for_those_of_the_tensor_first():
    origins = [{"name": "structure", "task_id": "mp-1"}, {"name": "dielectric", "task_id": "mp-2"}, {"name": "energy", "task_id": "mp-1"}, {"name": "x"}]
    assert mp_documents.origin_ids({"origins": origins}) == ["mp-2", "mp-1"] and mp_documents.origin_ids({}) == []


def test_an_empty_answer_is_an_error_and_never_kept(tmp_path):
    empty = Server(0)
    with pytest.raises(download.DownloadError, match="named no material"):
        run(empty, tmp_path)
    assert not list(tmp_path.rglob("index*"))
    write_json_gz(tmp_path / ".mp_tensors.pages" / "index.json.gz", {"database_version": Server.db_version, "page_size": 3, "material_ids": []})
    server = Server()
    kept, server.documents["dielectric"] = server.documents["dielectric"], {}
    with pytest.raises(download.DownloadError, match=r"dielectric: .*nothing on mp-100 and 2 more"):
        run(server, tmp_path)
    assert not list(tmp_path.rglob("page-*"))
    server.documents["dielectric"] = kept
    assert len(read_json(run(server, tmp_path))) == 7
