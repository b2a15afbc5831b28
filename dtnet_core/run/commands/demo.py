"""`dtnet demo`: the kit as a page in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

_MESSAGE = 100_000_000  # bytes; a file up to this size is refused in words, one beyond is cut off


def demo(
    address: Annotated[str, typer.Option(help="where to listen; 0.0.0.0 lets everyone in who can reach this machine")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8866,
    browser: Annotated[bool, typer.Option(help="open the page in a browser here")] = False,
) -> None:
    """Serve a page that takes a crystal and shows its dielectric tensor. Stop it with Ctrl-C.

    Each visitor has a process of about 1 GB, which ends after ten minutes without use. Uploads are not kept.
    """
    from ...base.paths import ROOT

    notebook = ROOT / "notebooks" / "demo.ipynb"
    if not notebook.is_file():
        raise FileNotFoundError(f"{notebook} is missing: the page is part of a checkout of the kit, not of its wheel")
    from traitlets.config import Config
    from voila.app import Voila

    print(f"the page will be at http://{address}:{port}/ ; stop it with Ctrl-C", flush=True)
    Voila.launch_instance([str(notebook)], config=Config({
        "Voila": {"ip": address, "port": port, "open_browser": browser, "tornado_settings": {"websocket_max_message_size": _MESSAGE}},
        "VoilaConfiguration": {"show_tracebacks": False},  # a visitor sees no code and no paths
        "MappingKernelManager": {"cull_interval": 60, "cull_idle_timeout": 600, "cull_connected": True},
    }))  # fmt: skip
