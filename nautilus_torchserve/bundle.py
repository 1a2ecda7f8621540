"""The bundle: the folder of what a user copies, edits and adds to; the library is the same for all bundles."""

import os
import shutil
import sys
from pathlib import Path

CONTENTS = (
    "handlers",
    "model_defs",
    "strategies",
    "archives/model-config",
    "config.properties",
    "deploy/live",
    "deploy/log4j2.xml",
    "deploy/metrics.yaml",
    "deploy/production.properties",
    "trusted_keys/README.md",
)
"""What a new bundle consists of. ``setup.py`` copies it into the wheel."""
_PACKAGE = Path(__file__).resolve().parent
LIBRARY_ROOT = _PACKAGE.parent
"""Folder that holds the package ``nautilus_torchserve``: a checkout, or site-packages."""
TEMPLATE = _PACKAGE / "bundle_template"
"""A new bundle, in an installed wheel."""


def find_bundle(start: Path) -> Path:
    """Return the bundle: the folder or the nearest of its parents that is one, else the checkout, else the template."""
    for folder in (start, *start.parents, LIBRARY_ROOT):
        if (folder / "model_defs").is_dir() and (folder / "config.properties").is_file():
            return folder
    return TEMPLATE


BUNDLE = find_bundle(Path.cwd())
"""The bundle of this process."""
WORKSPACE = Path.cwd() if BUNDLE == TEMPLATE else BUNDLE
"""Folder of runs, reports, keys and servers: the bundle, but the current folder where the template is used."""


def add_to_path() -> None:
    """Make the packages of the bundle importable, in processes that are started from now on, too."""
    bundle = str(BUNDLE)
    if sys.path[:1] != [bundle]:
        sys.path.insert(0, bundle)
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", bundle)]
    os.environ["PYTHONPATH"] = os.pathsep.join([bundle, *inherited])


def copy_bundle(source: Path, folder: Path) -> list[Path]:
    """Copy a new bundle's files from a checkout or the template; return their paths in ``folder``."""
    files = []
    for path in map(source.joinpath, CONTENTS):
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                target = folder / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
                files.append(target)
    return files
