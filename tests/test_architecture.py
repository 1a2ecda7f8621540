"""Which package may import which, and what each host does without."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import PROJECT

LIBRARY = "nautilus_torchserve"
FOUNDATION = {"backlog", "bundle", "code_version", "files", "user_error"}
"""What every part of the library may import."""
BELOW: dict[str, set[str]] = {
    "backlog": {"user_error"},
    "bundle": set(),
    "code_version": set(),
    "user_error": set(),
    "files": {"user_error"},
    "models": FOUNDATION,
    "mlflow_store": FOUNDATION | {"wire"},
    "features": set(),
    "wire": FOUNDATION,
    "latency": FOUNDATION,
    "scores": FOUNDATION,
    "audit": FOUNDATION,
    "market": FOUNDATION,
    "reporting": FOUNDATION | {"models", "scores"},
    "signing": FOUNDATION | {"wire"},
    "inference": FOUNDATION | {"features", "model_defs", "models", "wire"},
    "worker": FOUNDATION | {"features", "inference", "models", "wire"},
    "serving": FOUNDATION | {"features", "models", "signing", "wire"},
    "traffic": FOUNDATION | {"features", "models", "serving", "wire"},
    "training": FOUNDATION
    | {"features", "inference", "market", "mlflow_store", "model_defs", "models", "scores", "wire"},
    "release": FOUNDATION | {"inference", "models", "serving", "signing", "traffic", "wire"},
    "experiments": FOUNDATION | {"release", "scores", "serving", "traffic", "wire"},
    "registry": FOUNDATION | {"inference", "mlflow_store", "models", "release", "serving", "signing", "wire"},
    "trading": FOUNDATION
    | {"audit", "features", "latency", "market", "models", "reporting", "scores", "serving"}
    | {"traffic", "wire"},
    "cli": FOUNDATION
    | {"audit", "experiments", "features", "latency", "market", "models", "registry", "release", "reporting"}
    | {"serving", "signing", "trading", "traffic", "training", "wire"},
    # the bundle
    "model_defs": set(),
    "handlers": {"inference", "worker"},
    "strategies": {"serving", "trading", "wire"},
    # not installed
    "benchmarks": FOUNDATION
    | {"cli", "features", "inference", "latency", "market", "model_defs", "models", "release", "serving"}
    | {"signing", "trading", "training", "wire"},
    "fault_injection": FOUNDATION
    | {"benchmarks", "cli", "features", "inference", "market", "models", "release", "serving", "strategies"}
    | {"trading", "wire"},
}
"""Part of the tree -> the parts that it may import."""
TORCHSERVE = {"benchmarks", "serving", "worker"}
"""Parts that import TorchServe: `worker` for types alone, `serving` only in `isolated_load`, which loads archives as a
worker does to prove them complete, and a benchmark, which compares a plain handler."""


def files(part: str) -> list[Path]:
    """Python files of a part of the tree, which is a package of the library, one of its modules, or a folder beside."""
    for folder in (PROJECT / LIBRARY / part, PROJECT / part):
        if folder.is_dir():
            return sorted(folder.rglob("*.py"))
    return [PROJECT / LIBRARY / f"{part}.py"]


def module(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Names of the modules that a file may import, ``a.b`` for ``from a import b``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(name: str) -> str:
    """Part of the tree that a module belongs to."""
    parts = name.split(".")
    return parts[1] if parts[0] == LIBRARY else parts[0]


def test_every_part_is_listed() -> None:
    library = {path.stem for path in (PROJECT / LIBRARY).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert library - {"__init__", "__main__", "__pycache__"} <= BELOW.keys()


@pytest.mark.parametrize("part", BELOW)
def test_imports_run_only_downward(part: str) -> None:
    imported = {part_of(name) for path in files(part) for name in imports(path)}
    assert (imported & BELOW.keys()) - {part} <= BELOW[part]


def test_parts_form_no_cycle() -> None:
    below = {part: {*parts} for part, parts in BELOW.items()}
    while leaves := {part for part, parts in below.items() if not parts}:
        below = {part: parts - leaves for part, parts in below.items() if part not in leaves}
    assert below == {}


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
HOSTS = {
    "trading host": (
        ("torch", "ts", "safetensors", "model_archiver"),
        ("features", "models", "wire", "trading", "strategies", "reporting", "scores", "latency", "audit"),
    ),
    "serving host": (
        ("nautilus_trader", "pandas", "plotly"),
        ("features", "models", "wire", "model_defs", "inference", "worker", "handlers", "serving"),
    ),
    "host of mar: clients": (
        ("nautilus_trader", "ts", "model_archiver", "plotly"),
        ("features", "models", "wire", "model_defs", "inference", "worker", "handlers", "serving"),
    ),
    "training host": (
        ("nautilus_trader", "ts", "plotly"),
        ("features", "market", "model_defs", "models", "inference", "scores", "training"),
    ),
}
"""What is absent there, and which parts must be importable all the same."""
EXTRAS = ("ray",)
"""What `make setup` does not install, and no host needs."""
NEEDED_BY = {
    "nautilus_trader": tuple(f"{LIBRARY}.market.{kind}.catalog" for kind in ("trades", "bars", "quotes")),
    "ray": (f"{LIBRARY}.trading.backtest.sweeps.on_ray",),
}
"""Modules that are imported only where such a package is."""


@pytest.mark.parametrize(("absent", "parts"), HOSTS.values(), ids=HOSTS)
def test_each_host_does_without_the_others(absent: tuple[str, ...], parts: tuple[str, ...]) -> None:
    needing = {name for package, names in NEEDED_BY.items() if package in absent + EXTRAS for name in names}
    names = [name for part in parts for name in map(module, files(part)) if name not in needing]

    result = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL.format(absent=absent + EXTRAS, modules=names)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )

    assert result.returncode == 0, result.stderr


def importers(*packages: str) -> set[str]:
    """Parts of the tree that import one of these packages."""
    return {
        part
        for part in BELOW
        for path in files(part)
        if any(name.partition(".")[0] in packages for name in imports(path))
    }


def test_only_the_worker_knows_torchserve_from_inside() -> None:
    assert importers("ts") == TORCHSERVE
    importing = [
        path.stem for path in files("serving") if any(name.partition(".")[0] == "ts" for name in imports(path))
    ]
    assert importing == ["isolated_load"]


def test_only_the_trading_side_knows_nautilus_trader() -> None:
    assert importers("nautilus_trader") <= {"benchmarks", "cli", "fault_injection", "market", "strategies", "trading"}


def test_only_the_command_line_knows_typer_and_rich() -> None:
    assert importers("typer", "rich") <= {"benchmarks", "cli", "fault_injection"}
