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

    Each visitor has a process of about 1 GB, which ends ten minutes after the last sign of life. Uploads are not kept.
    """
    from ...base.paths import ROOT

    notebook = ROOT / "notebooks" / "demo.ipynb"
    if not notebook.is_file():
        raise FileNotFoundError(f"{notebook} is missing: the page is part of a checkout of the kit, not of its wheel")
    from voila.app import Voila

    print(f"the page will be at http://{address}:{port}/ ; stop it with Ctrl-C", flush=True)
    Voila.launch_instance([
        str(notebook), f"--Voila.ip={address}", f"--port={port}", f"--Voila.open_browser={browser}",
        f"--Voila.tornado_settings={{'websocket_max_message_size': {_MESSAGE}}}",
        "--MappingKernelManager.cull_interval=60", "--MappingKernelManager.cull_idle_timeout=600", "--MappingKernelManager.cull_connected=True",
    ])  # fmt: skip
