"""The widgets of the page of `make demo`; what it answers is in `demo`."""

from __future__ import annotations

import io
from html import escape

import ipywidgets
import matplotlib.pyplot as plt

from ..base.reading import ReadError
from ..crystals.record import TARGETS
from ..report import figures
from . import demo

_WELCOME = f"""<p>Upload a crystal (CIF, POSCAR and other text formats; up to {demo.LARGEST_FILE // 1_000_000} MB and {demo.MOST_ATOMS} atoms in the cell), or pick one.
The answer takes a few seconds. Your file is not kept.</p>"""


class Page(ipywidgets.VBox):
    """Pick or upload a crystal; the answer is below.

    Parameters
    ----------
    target : {"electronic", "ionic", "total"}
        What is asked for first.

    Attributes
    ----------
    upload, pick, target : widgets that ask
    status, words, picture : widgets that answer
    """

    def __init__(self, target: str = "total"):
        self.upload = ipywidgets.FileUpload(description="Upload a crystal", multiple=False, layout={"width": "12em"})
        self.pick = ipywidgets.Dropdown(options=["", *demo.examples()], description="or pick one")
        self.target = ipywidgets.ToggleButtons(options=TARGETS, value=target, description="tensor")
        self.status, self.words = ipywidgets.HTML(), ipywidgets.HTML(layout={"width": "24em", "margin": "0 2em 0 0"})
        self.picture = ipywidgets.Image(format="png", layout={"display": "none", "width": "520px", "object_fit": "contain"})
        self._shown: demo.Upload | None = None
        self.upload.observe(lambda _: self._take_upload(), "value")
        self.pick.observe(lambda _: self._take_pick(), "value")
        self.target.observe(lambda _: self._answer(), "value")
        asking = ipywidgets.HBox([self.upload, self.pick])
        answering = ipywidgets.HBox([self.words, self.picture], layout={"flex_flow": "row wrap", "align_items": "flex-start"})
        super().__init__([ipywidgets.HTML(_WELCOME), asking, self.target, self.status, answering])

    def _take_upload(self) -> None:
        if not self.upload.value:
            return
        (file,) = self.upload.value
        self.pick.value = ""
        self._clear(f"Reading {escape(file['name'])} ...")
        try:
            self._shown = demo.read_upload(file["name"], bytes(file["content"]))
        except ReadError as error:
            self._refuse(error)
        else:
            self._answer()
        self.upload.value = ()  # keeps no content, and the same file can be sent again

    def _take_pick(self) -> None:
        if self.pick.value:
            self._shown = demo.Upload(self.pick.value, demo.examples()[self.pick.value].structure)
            self._answer()

    def _answer(self) -> None:
        if self._shown is None:
            return
        self._clear(f"Asking the networks about {escape(self._shown.name)} ...")
        record = demo.examples().get(self._shown.name)
        try:
            found = demo.answer(self._shown.structure, self.target.value, record and record.tensor(self.target.value), self._shown.notes)
        except ValueError as error:
            self._refuse(error)
            return
        self.status.value, self.words.value = f"<p>{escape(self._shown.name)}</p>", demo.as_html(found)
        if demo.has_tensor(found):
            self.picture.value = _png(figures.crystal_and_surface(found.structure, found.tensor))
            self.picture.layout.display = ""

    def _refuse(self, error: Exception) -> None:
        self._shown = None
        self._clear(f'<span role="alert" style="color:#a00">{escape(" ".join(str(error).split()))}</span>')

    def _clear(self, status: str) -> None:
        self.status.value, self.words.value, self.picture.layout.display = f"<p>{status}</p>", "", "none"


def _png(figure: plt.Figure) -> bytes:
    with io.BytesIO() as drawn:
        figure.savefig(drawn, format="png", dpi=160)
        return drawn.getvalue()
