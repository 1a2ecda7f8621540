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
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from docker.utils.build import exclude_paths

from nautilus_torchserve.bundle import CONTENTS
from nautilus_torchserve.serving.client.client import connect
from support import PROJECT

LIBRARY = "nautilus_torchserve"
OPTIONAL = {"nautilus_torchserve.trading.backtest.sweeps.on_ray": "ray"}
"""Modules of extras that `make setup` does not install, and what they need."""
USE_ALL = """
import importlib, json, sys
from nautilus_torchserve.bundle import add_to_path
modules, archive, rows = json.load(sys.stdin)
add_to_path()
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
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], env=without_our_paths(), check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # A folder named in a .pth file is searched last, and its own .pth files, an editable install's, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def without_our_paths() -> dict[str, str]:
    """The environment without PYTHONPATH and its like."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def modules_of(context: Path) -> list[str]:
    """Modules of the library."""
    paths = [path.relative_to(context) for path in sorted((context / LIBRARY).rglob("*.py"))]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
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


def test_the_wheel_installs_one_name_with_all_that_lies_in_it_and_a_bundle(context: Path, wheel: Path) -> None:
    files = {
        path.relative_to(context).as_posix()
        for path in (context / LIBRARY).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    template = {
        path.relative_to(context).as_posix()
        for name in CONTENTS
        for path in ([context / name] if (context / name).is_file() else (context / name).rglob("*"))
        if path.is_file()
    }

    names = [name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name]

    assert {name.partition("/")[0] for name in names} == {LIBRARY}
    assert f"{LIBRARY}/py.typed" in files
    assert set(names) == files | {f"{LIBRARY}/bundle_template/{name}" for name in template}


@pytest.mark.slow
def test_a_new_bundle_trains_packs_serves_and_backtests_without_a_checkout(environment: Path, tmp_path: Path) -> None:
    folder = tmp_path / "desk"

    def run(*arguments: str | Path, where: Path = folder) -> dict[str, Any]:
        result = subprocess.run(
            [environment / "bin" / "nautilus-torchserve", *arguments, "--json"],
            cwd=where,
            env={**without_our_paths(), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    run("new", folder, where=tmp_path)
    with (folder / "model_defs" / "tick_classifier.py").open("a") as network:
        network.write("\n# edited in the bundle\n")
    run("train", "tick", "--trades", "6000", "--epochs", "2")
    run("pack", "tick")
    server = run("serve", "start", "tick=tick.mar", "--free-ports")
    try:
        result = run("backtest", "tick", "--url", server["inference"], "--trades", "2000", "--in-sample")
    finally:
        run("serve", "stop")

    with ZipFile(folder / "archives" / "tick.mar") as archive:
        assert archive.read("model_defs/tick_classifier.py").endswith(b"# edited in the bundle\n")
        assert any(name.startswith(f"{LIBRARY}/worker/") for name in archive.namelist())
    assert result["predictions"] > 0
    assert Path(server["home"]) == folder / ".server"
