"""What Docker's context holds is enough to install everything, and the wheel is enough to run it."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from docker.utils.build import exclude_paths

from nautilus_torchserve.serving.client.client import connect
from support import PROJECT

OPTIONAL = {"nautilus_torchserve.trading.backtest.sweeps.on_ray": "ray"}
"""Modules of extras that `make setup` does not install, and what they need."""
USE_ALL = """
import importlib, json, sys
modules, archive, rows = json.load(sys.stdin)
places = {name: importlib.import_module(name).__file__ for name in modules}
import numpy as np
from nautilus_torchserve.serving.client.client import connect
with connect(archive, "tick") as client:
    answer = client.predict(np.array(rows, np.float32))
print(json.dumps([places, {name: values.tolist() for name, values in answer.outputs.items()}]))
"""


def docker_sends(folder: Path) -> set[str]:
    """Names of the files in a folder that the project's ``.dockerignore`` lets through."""
    lines = [line.strip() for line in (PROJECT / ".dockerignore").read_text().splitlines()]
    names = exclude_paths(str(folder), [line for line in lines if line and not line.startswith("#")])
    return {name for name in names if (folder / name).is_file()}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of exactly the files that ``docker build`` is sent."""
    folder = tmp_path_factory.mktemp("context")
    for name in docker_sends(PROJECT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the context, by the build backend that ``pyproject.toml`` names."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=context, env=without_our_paths(), check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, which sees this one's dependencies but none of our packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", packages, wheel], check=True)
    # A folder named in a .pth file is searched last, and its own .pth files, an editable install's, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv"


def without_our_paths() -> dict[str, str]:
    """The environment without PYTHONPATH and its like."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def modules_of(context: Path) -> list[str]:
    """Modules of all packages; a package is a folder with an ``__init__.py``."""
    paths = [path.relative_to(context) for path in sorted(context.rglob("*.py"))]
    in_packages = [
        path
        for path in paths
        if path.parents[1:] and all((context / each / "__init__.py").exists() for each in path.parents[:-1])
    ]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in in_packages]
    return [name for name in names if name not in OPTIONAL or find_spec(OPTIONAL[name]) is not None]


def test_the_context_holds_no_secret_and_nothing_built(tmp_path: Path) -> None:
    kept = {"config.properties", "archives/model-config/tick.yaml", "a_new_package/deep/data.csv"}
    left_out = {
        ".git/HEAD",
        ".venv/bin/python",
        ".server/key_file.json",
        "keys/desk.key",
        "archives/tick.mar",
        "wire/__pycache__/body.cpython-311.pyc",
        "runs/tick/weights.safetensors",
        "tests/conftest.py",
    }
    for name in kept | left_out:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert docker_sends(tmp_path) == kept


@pytest.mark.slow
def test_every_module_of_the_wheel_imports_and_an_archive_answers(
    context: Path, environment: Path, tick_archive: Path, tmp_path: Path
) -> None:
    modules = modules_of(context)
    rows = [[0.5, 0.1, 0.2, 0.3]]
    url = f"mar:{tick_archive}"

    result = subprocess.run(
        [environment / "bin" / "python", "-c", USE_ALL],
        input=json.dumps([modules, url, rows]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=without_our_paths(),
        check=False,
    )

    assert result.returncode == 0, result.stderr
    places, outputs = json.loads(result.stdout.splitlines()[-1])
    assert len(places) > 300
    assert not [name for name, place in places.items() if not Path(place).is_relative_to(environment)]
    with connect(url, "tick") as client:
        answer = client.predict(np.array(rows, np.float32))
    assert outputs == {name: values.tolist() for name, values in answer.outputs.items()}


def test_the_wheel_holds_all_modules_and_all_data_beside_them(context: Path, wheel: Path) -> None:
    packages = {name.partition(".")[0] for name in modules_of(context)}
    data = {
        path.relative_to(context)
        for name in packages
        for path in (context / name).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }

    held = ZipFile(wheel).namelist()

    assert data
    assert not {path.as_posix() for path in data} - set(held)
    assert {name.partition("/")[0] for name in held if "dist-info" not in name} == packages
