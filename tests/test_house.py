"""The house: which room may import which, and what each side of it does without."""

import ast
import subprocess
import sys

import pytest

from support import PROJECT

BELOW = {
    "features": set(),
    "wire": set(),
    "cli": {"wire"},
    "model_defs": set(),
    "scores": set(),
    "reporting": {"scores", "wire"},
    "market": {"wire"},
    "latency": {"wire"},
    "auditing": {"wire"},
    "handlers": {"features", "wire", "model_defs"},
    "signing": {"wire"},
    "serving": {"features", "signing", "wire"},
    "traffic": {"features", "serving", "wire"},
    "tracking": {"wire"},
    "release": {"cli", "handlers", "serving", "signing", "traffic", "wire"},
    "trials": {"release", "scores", "serving", "traffic", "wire"},
    "model_registry": {"handlers", "release", "serving", "signing", "tracking", "wire"},
    "training": {"features", "market", "model_defs", "handlers", "scores", "tracking", "wire"},
    "strategies": {"cli", "features", "latency", "market", "reporting", "scores", "serving", "traffic", "wire"},
    "live_trading": {"auditing", "features", "latency", "market", "serving", "strategies", "traffic", "wire"},
    "sweeps": {"latency", "market", "reporting", "scores", "serving", "strategies", "wire"},
    "benchmarks": {
        "features", "handlers", "latency", "market", "model_defs", "release", "serving", "signing", "strategies",
        "training", "wire",
    },
    "fault_injection": {
        "benchmarks", "cli", "features", "handlers", "market", "release", "serving", "strategies", "wire",
    },
}
"""Room -> the rooms it may import."""

IMPORT_ALL = """
import importlib, importlib.machinery, sys
class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {absent!r} else super().find_spec(name, path, target)
sys.meta_path[:] = [Without if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
for module in {modules!r}:
    importlib.import_module(module)
"""


def modules(room: str) -> list[str]:
    return [f"{room}.{path.stem}" for path in sorted((PROJECT / room).glob("*.py")) if path.stem != "__init__"]


def imported_rooms(room: str) -> set[str]:
    found = set()
    for path in (PROJECT / room).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found & BELOW.keys() - {room}


@pytest.mark.parametrize("room", BELOW)
def test_imports_run_only_downward(room: str) -> None:
    assert imported_rooms(room) <= BELOW[room]


SIDES = {
    "trading host": (
        ("torch", "ts", "safetensors", "model_archiver"),
        ("features", "wire", "strategies", "reporting", "scores", "latency", "auditing", "live_trading", "sweeps"),
    ),
    "serving host": (
        ("nautilus_trader", "pandas", "plotly"),
        ("features", "wire", "model_defs", "handlers", "serving"),
    ),
    "training host": (
        ("nautilus_trader", "ts", "plotly"),
        ("features", "market", "model_defs", "scores", "training"),
    ),
}
"""What is absent there, and which packages must be importable all the same."""
EXTRAS = ("ray",)
"""What `make setup` does not install, and no side needs."""
NEEDED_BY = {"nautilus_trader": ("market.catalog", "market.bar_catalog"), "ray": ("sweeps.on_ray",)}
"""Modules that are imported only where such a package is."""


@pytest.mark.parametrize(("absent", "rooms"), SIDES.values(), ids=SIDES)
def test_each_side_does_without_the_other(absent: tuple[str, ...], rooms: tuple[str, ...]) -> None:
    needing = {name for package, names in NEEDED_BY.items() if package in absent + EXTRAS for name in names}
    names = [name for room in rooms for name in modules(room) if name not in needing]

    result = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL.format(absent=absent + EXTRAS, modules=names)],
        capture_output=True, text=True, cwd=PROJECT, check=False,
    )

    assert result.returncode == 0, result.stderr


def test_only_handlers_know_torchserve_from_inside() -> None:
    inside = {
        path.relative_to(PROJECT).parts[0]
        for room in BELOW
        for path in (PROJECT / room).glob("*.py")
        if any(
            (isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == "ts" for alias in node.names))
            or (isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ts")
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    # serving/archive_import.py makes the context that a worker would, serving/isolated_load.py loads an archive as one
    # does; the benchmark's plain handler is one.
    assert inside == {"handlers", "serving", "benchmarks"}
