"""A headless Chromium, driven by its own protocol over a websocket; for tests of pages, which are skipped where there is none."""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import websocket

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--remote-debugging-port=0", "--remote-allow-origins=*", "--window-size=1000,1400",
)  # fmt: skip


class Browser:
    """One page of a Chromium of its own; a context manager."""

    def __init__(self, folder: Path):
        self._profile, self._count = folder / "profile", 0
        self._events: dict[str, dict] = {}  # the last of each kind

    def __enter__(self) -> "Browser":
        self._process = subprocess.Popen([CHROMIUM, *_FLAGS, f"--user-data-dir={self._profile}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told = self._profile / "DevToolsActivePort"
        until(lambda: told.exists() and "\n" in told.read_text(), 60)
        port = told.read_text().split()[0]
        pages = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/json").read())
        self._socket = websocket.create_connection(next(p for p in pages if p["type"] == "page")["webSocketDebuggerUrl"], timeout=60)
        return self

    def __exit__(self, *_) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(30)

    def call(self, method: str, **parameters) -> dict:
        """One command of the protocol, and its result."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv())).get("id") != self._count:
            self._events[answer.get("method")] = answer.get("params")
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def ask(self, script: str):
        """Value of a JavaScript expression."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        return self.ask("document.body ? document.body.innerText : ''")

    def wait_for(self, words: str, seconds: float = 120) -> str:
        """The page's text, once it has the words."""
        until(lambda: words in self.text(), seconds, lambda: f"{words!r} is not on the page:\n{self.text()}")
        return self.text()

    def give_file(self, path: Path, button: str) -> None:
        """Choose a file in the dialogue that the button (a selector) opens, as a visitor does."""
        self.call("Page.enable")
        self.call("Page.setInterceptFileChooserDialog", enabled=True)
        self._events.clear()
        self.call("Runtime.evaluate", expression=f"document.querySelector({button!r}).click()", userGesture=True)
        until(lambda: self.call("Page.enable") is None or "Page.fileChooserOpened" in self._events, 20)
        self.call("DOM.setFileInputFiles", files=[str(path)], backendNodeId=self._events["Page.fileChooserOpened"]["backendNodeId"])

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """A PNG of the whole page, or of what the window shows."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))


def until(true, seconds: float, why=lambda: "timed out") -> None:
    """Wait until `true()` holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, why()
        time.sleep(0.2)


@contextlib.contextmanager
def demo_page(folder: Path) -> Iterator[str]:
    """The page of `make demo`, served with a cache of its own in `folder` as long as the context; its address."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DTNET_CACHE_DIR": str(folder / "cache")}
    with open(folder / "log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "dtnet_core", "demo", "--port", str(port)], env=environment, stdout=log, stderr=log)

    def serves() -> bool:
        assert server.poll() is None, (folder / "log").read_text()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/nothing", timeout=2)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    try:
        until(serves, 180)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(60)
