"""The wheel's template of a bundle, which is copied from the checkout; all else is in setup.cfg."""

from pathlib import Path
from runpy import run_path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


class BuildWithTemplate(build_py):
    """Copies the packages, and a new bundle's files into ``nautilus_torchserve/bundle_template/``."""

    def run(self) -> None:
        """Build, and add the template."""
        super().run()
        if not self.editable_mode:
            package = Path(self.build_lib) / "nautilus_torchserve"
            run_path(str(HERE / "nautilus_torchserve" / "bundle.py"))["copy_bundle"](HERE, package / "bundle_template")


setup(cmdclass={"build_py": BuildWithTemplate})
