"""Archives are proven complete with a server's packages only, without what else is installed for packing."""

import json
import shutil
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from test_code_closure import write

from nautilus_torchserve.release.build import archive as builder
from nautilus_torchserve.release.build import archive as isolated_proof
from nautilus_torchserve.release.build.archive import BuildFailed, build_archive
from nautilus_torchserve.release.build.code_closure import ForbiddenImport
from nautilus_torchserve.release.build.server_packages import has_package
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.client.in_process import InProcessClient
from support import PROJECT, SECRETS

NETWORK = "from model_defs.tick_classifier import build as _build\n{}\nbuild = _build\n"


@pytest.fixture
def own_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own bundle, from which archives are packed."""
    project = tmp_path / "project"
    for name in ("handlers", "model_defs", "archives/model-config"):
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    write(project, {"strategies/__init__.py": ""})
    monkeypatch.setattr(builder, "BUNDLE", project)
    return project


@pytest.fixture
def own_run(tick_run: Path, tmp_path: Path) -> Path:
    """A run of the tick classifier whose network is built by ``model_defs/own.py``."""
    run = shutil.copytree(tick_run, tmp_path / "run")
    description = json.loads((run / "model.json").read_text())
    description["network"]["module"] = "model_defs.own"
    (run / "model.json").write_text(json.dumps(description))
    return run


ALPHA = {
    "alpha/__init__.py": "VERSION = 1\n",
    "alpha/levels.txt": "0.5\n",
    "alpha/net.py": (
        "import importlib\nfrom importlib.resources import files\nfrom pathlib import Path\nfrom . import VERSION\n"
        "scale = importlib.import_module('alpha.inner.scale')\n"
        "LEVELS = files('alpha').joinpath('levels.txt').read_text()\n"
        "assert LEVELS == (Path(__file__).parent / 'levels.txt').read_text()\n"
    ),
    "alpha/inner/scale.py": "from ..net import VERSION as SEEN\n",
}


def test_a_package_that_only_the_builder_has_is_refused_and_packed_with_code(
    own_project: Path,
    own_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: np.ndarray,
    tick_archive: Path,
) -> None:
    desk = write(tmp_path / "desk", ALPHA)
    write(own_project, {"model_defs/own.py": NETWORK.format("def late():\n    import alpha.net\nimport alpha.net")})
    monkeypatch.syspath_prepend(str(desk))  # as `pip install -e` makes it importable here

    with pytest.raises(ForbiddenImport, match=r"^model_defs/own\.py:\d: imports alpha\.net, which .* --code DIR"):
        build_archive("tick", own_run, "1.0", tmp_path / "out")
    built = build_archive("tick", own_run, "1.0", tmp_path / "out", code=[desk])

    with ZipFile(built.path) as archive:
        assert {"alpha/net.py", "alpha/levels.txt", "alpha/inner/scale.py"} <= set(archive.namelist())
    assert "alpha" not in sys.modules
    with connect(f"mar:{built.path}", "tick") as client, connect(f"mar:{tick_archive}", "tick") as plain:
        assert client.metadata.archive_digest == built.digest
        assert client.predict(rows).outputs["buy"].tobytes() == plain.predict(rows).outputs["buy"].tobytes()
    assert "alpha" not in sys.modules


def test_two_archives_with_packages_of_one_name_keep_their_own(
    own_project: Path, own_run: Path, tmp_path: Path
) -> None:
    write(own_project, {"model_defs/own.py": NETWORK.format("import alpha.net")})
    write(tmp_path / "one", ALPHA)
    write(tmp_path / "two", {**ALPHA, "alpha/__init__.py": "VERSION = 2\n", "alpha/levels.txt": "0.7\n"})

    one, two = (
        build_archive("tick", own_run, "1.0", tmp_path / f"out-{name}", code=[tmp_path / name / "alpha"])
        for name in ("one", "two")
    )

    assert one.digest != two.digest
    with connect(f"mar:{one.path}", "tick") as first, connect(f"mar:{two.path}", "tick") as second:
        nets = [_module(client, "alpha.net") for client in (first, second)]
        assert [(net.VERSION, net.scale.SEEN, net.LEVELS) for net in nets] == [(1, 1, "0.5\n"), (2, 2, "0.7\n")]


def _module(client: object, name: str) -> object:
    assert isinstance(client, InProcessClient)
    return sys.modules[f"{client._archive.prefix}.{name}"]


def test_relative_imports_of_a_network_travel(own_project: Path, own_run: Path, tmp_path: Path) -> None:
    write(
        own_project,
        {
            "model_defs/own.py": "from .blocks import outer\nbuild = outer.build\n",
            "model_defs/blocks/__init__.py": "",
            "model_defs/blocks/outer.py": "from ..tick_classifier import build\n",
        },
    )

    built = build_archive("tick", own_run, "1.0", tmp_path / "out")

    with ZipFile(built.path) as archive:
        assert {"model_defs/blocks/outer.py", "model_defs/tick_classifier.py"} <= set(archive.namelist())


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("import hypothesis", r"model_defs/own\.py:2: imports hypothesis, which is neither"),
        ("import nautilus_trader.model", r"model_defs/own\.py:2: imports nautilus_trader\.model, which is neither"),
        ("import strategies", r"model_defs/own\.py:2: expected imports of handlers, model_defs"),
        ("__import__('mar' + 'ket')", r"model_defs/own\.py:2: tick: .*No module named 'market'; market is neither"),
        ("__import__('pand' + 'as')", r"model_defs/own\.py:2: tick: .*No module named 'pandas'; pandas is neither"),
        ("open('levels.txt')", r"model_defs/own\.py:2: tick: the archive does not load: FileNotFoundError: .*levels"),
        ("import os; os.kill(os.getpid(), 9)", "its process ended with status 9 while loading"),
    ],
)
def test_what_a_server_lacks_is_refused_with_its_place(
    own_project: Path, own_run: Path, tmp_path: Path, statement: str, message: str
) -> None:
    """All of these can be imported or read in this process."""
    write(own_project, {"model_defs/own.py": NETWORK.format(statement)})

    with pytest.raises((ForbiddenImport, BuildFailed), match=message):
        build_archive("tick", own_run, "1.0", tmp_path / "out")

    assert not list((tmp_path / "out").glob("*.mar"))


def test_a_module_that_may_be_absent_is_absent_as_on_a_server(own_project: Path, own_run: Path, tmp_path: Path) -> None:
    guarded = "try:\n    import pandas\nexcept ImportError:\n    pandas = None\nassert pandas is None"
    write(own_project, {"model_defs/own.py": NETWORK.format(guarded)})

    build_archive("tick", own_run, "1.0", tmp_path / "out")


def test_a_class_beside_the_handler_is_refused(own_project: Path, tick_run: Path, tmp_path: Path) -> None:
    handler = own_project / "handlers" / "tick_handler.py"
    handler.write_text(handler.read_text() + "\n\nclass Helper:\n    pass\n")

    with pytest.raises(BuildFailed, match=r"handlers/tick_handler\.py:\d+: expected one class, .* TickHandler, Helper"):
        build_archive("tick", tick_run, "1.0", tmp_path / "out")


def test_servers_have_what_is_declared_for_them_and_no_more() -> None:
    assert all(map(has_package, ("torch", "ts", "numpy", "yaml", "orjson", "safetensors", "PIL")))
    assert not any(map(has_package, ("nautilus_trader", "sklearn", "optuna", "pytest", "handlers", "market")))


@pytest.mark.slow
def test_an_archives_code_sees_no_secret_of_its_builder(
    own_project: Path, own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    code = "import os\nassert 'leaked' not in str(os.environ), 'a secret'"
    write(own_project, {"model_defs/own.py": NETWORK.format(code)})
    isolated_proof._interpreter.cache_clear()  # one that another test has started may not have had them
    monkeypatch.chdir(tmp_path)

    build_archive("tick", own_run, "1.0", tmp_path / "out")
