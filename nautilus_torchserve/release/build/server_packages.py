"""Packages that a server has installed: those that this project declares for it, and their requirements."""

import os
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nautilus_torchserve.code_version import NAME

EXTRAS = ("server", "onnx")
"""Extras of ``setup.cfg`` whose packages a server may have: the second only where it is installed here."""


def link_server_packages(folder: Path) -> None:
    """Fill a folder with links to the files of a server's packages: a site-packages without anything else."""
    for package in server_distributions():
        _link([Path(line).parts for line in _files(package)], Path(str(package.locate_file(""))), folder)


def has_package(name: str) -> bool:
    """Return whether a server has a top-level package or module of this name."""
    return name in _top_level_names()


@cache
def server_distributions() -> tuple[Distribution, ...]:
    """Return the declared packages and their requirements, as far as they are installed here."""
    installed: dict[tuple[str, frozenset[str]], Distribution] = {}
    unresolved = [Requirement(line) for line in _declared()]
    while unresolved:
        requirement = unresolved.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in installed:
            continue
        try:
            installed[key] = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        for line in installed[key].requires or []:
            needed = Requirement(line)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                unresolved.append(needed)
    return tuple({name: package for (name, _), package in installed.items()}.values())


@cache
def _top_level_names() -> frozenset[str]:
    tops = {Path(line).parts[0].partition(".")[0] for package in server_distributions() for line in _files(package)}
    declared = {Requirement(line).name.replace("-", "_") for line in _declared()}
    return frozenset(tops | declared)


def _declared() -> list[str]:
    """Return what the installed library requires, with its extras for a server."""
    requirements = map(Requirement, distribution(NAME).requires or [])
    return [
        str(line)
        for line in requirements
        if line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in EXTRAS)
    ]


def _files(package: Distribution) -> Iterator[str]:
    """Yield the files of a distribution inside its site-packages, by its own record."""
    records = (package.read_text(name) for name in ("RECORD", "installed-files.txt", "top_level.txt"))
    for line in next(filter(None, records), "").splitlines():
        name = line.partition(",")[0].strip('"')
        if name and not name.startswith(("..", os.sep, "__pycache__")):
            yield name


def _link(paths: Iterable[tuple[str, ...]], real: Path, folder: Path) -> None:
    """Link whole packages; a namespace, which several distributions may fill, becomes a folder of links."""
    inside: dict[str, list[tuple[str, ...]]] = {}
    for first, *rest in paths:
        inside.setdefault(first, []).append(tuple(rest))
    for name, rests in inside.items():
        is_package = (real / name / "__init__.py").is_file() or name.endswith((".dist-info", ".egg-info", ".libs"))
        if (real / name).is_dir() and not is_package and all(rests):
            (folder / name).mkdir(exist_ok=True)
            _link(rests, real / name, folder / name)
        elif not (folder / name).exists():
            (folder / name).symlink_to(real / name)
