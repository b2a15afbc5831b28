"""What pyproject.toml cannot say: a wheel carries the part of `data` that prediction needs, of which git holds no second copy."""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py

CARRIED = ("weights",)
"""Folders of `data`; `dtnet_core.base.paths.DATA` finds them as `dtnet_core/_data`."""


class BuildWithData(build_py):
    """Copies the modules, then the data, into what becomes the wheel; an editable install reads the checkout."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for name in CARRIED:
                copytree(Path(__file__).parent / "data" / name, Path(self.build_lib) / "dtnet_core" / "_data" / name, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithData})
