"""The code packed into an archive: every form of import, and imports that are refused."""

from pathlib import Path

import pytest

from nautilus_torchserve.release.build.code_closure import ForbiddenImport, code_closure

LIBRARIES = {"torch", "numpy"}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small copy of the bundle and the library."""
    return write(
        tmp_path / "project",
        {
            "handlers/__init__.py": "",
            "handlers/x_handler.py": "import json\nimport torch\nfrom handlers.parts import b\n",
            "handlers/parts.py": "b = 1\n",
            "model_defs/__init__.py": "",
            "model_defs/own.py": "",
            "model_defs/block.py": "c = 1\n",
            "model_defs/deep/__init__.py": "",
            "model_defs/deep/layer.py": "",
            "strategies/__init__.py": "",
        },
    )


def closure(project: Path, *code: Path) -> set[str]:
    handler = project / "handlers/x_handler.py"
    modules = code_closure(project, handler, ["model_defs.own"], code, LIBRARIES.__contains__, project)
    assert all(file.is_file() for file in modules.values())
    return {path.as_posix() for path in modules}


ALWAYS = {"handlers/__init__.py", "handlers/parts.py", "model_defs/__init__.py", "model_defs/own.py"}
DEEP = {"model_defs/deep/__init__.py", "model_defs/deep/layer.py"}


@pytest.mark.parametrize(
    ("statement", "more"),
    [
        ("import model_defs.block", {"model_defs/block.py"}),
        ("from model_defs import block", {"model_defs/block.py"}),
        ("from . import block", {"model_defs/block.py"}),
        ("from .block import c", {"model_defs/block.py"}),
        ("from .deep import layer", DEEP),
        ("from .deep.layer import *", DEEP),
        ("import model_defs.deep.layer as it", DEEP),
        ("def late():\n    from .deep import layer", DEEP),
        ("import importlib\nimportlib.import_module('model_defs.block')", {"model_defs/block.py"}),
        ("from importlib import import_module\nimport_module('.block', __package__)", {"model_defs/block.py"}),
        ("__import__('model_defs.block')", {"model_defs/block.py"}),
        ("if True:\n    from . import block\nelse:\n    import torch", {"model_defs/block.py"}),
        ("try:\n    import fast\nexcept ImportError:\n    from . import block", {"model_defs/block.py"}),
        ("try:\n    from strategies import x\nexcept (AttributeError, ModuleNotFoundError):\n    x = None", set()),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas\n    from . import block", set()),
        ("import os.path, collections.abc\nfrom xml.etree import ElementTree", set()),
        ("import numpy.linalg\nfrom torch.nn import functional", set()),
    ],
)
def test_what_a_network_imports_travels(project: Path, statement: str, more: set[str]) -> None:
    write(project, {"model_defs/own.py": statement + "\n"})

    assert closure(project) == ALWAYS | more


def test_a_sub_package_may_import_from_its_parents(project: Path) -> None:
    deep = {"model_defs/own.py": "from .deep import layer\n", "model_defs/deep/layer.py": "from ..block import c\n"}
    write(project, deep)

    assert closure(project) == ALWAYS | DEEP | {"model_defs/block.py"}


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("from strategies import x", r"own\.py:2: expected imports of handlers, model_defs, .*, got strategies"),
        ("import pandas", r"own\.py:2: imports pandas, which is neither .* --code DIR"),
        ("def late():\n    import alpha.net", r"own\.py:3: imports alpha\.net, which is neither"),
        ("import importlib\nimportlib.import_module('alpha')", r"own\.py:3: imports alpha, which"),
        ("from .gone import x", r"own\.py:2: expected model_defs\.gone in .*, got no such module"),
        ("import model_defs.block.inner", r"own\.py:2: expected model_defs\.block\.inner"),
        ("from ... import x", r"own\.py:2: expected an absolute import in package model_defs, got \.\.\."),
        ("try:\n    import alpha\nexcept KeyError:\n    pass", r"own\.py:3: imports alpha"),
        ("def half(:", r"own\.py:2: expected Python, got invalid syntax"),
    ],
)
def test_what_a_server_does_not_have_is_refused_with_its_place(project: Path, statement: str, message: str) -> None:
    write(project, {"model_defs/own.py": f"# a network\n{statement}\n"})

    with pytest.raises(ForbiddenImport, match=message):
        closure(project)


def test_a_relative_import_in_a_handler_is_refused(project: Path) -> None:
    write(project, {"handlers/x_handler.py": "from .parts import b\n"})

    with pytest.raises(ForbiddenImport, match=r"x_handler\.py:1: expected an absolute import in a handler"):
        closure(project)


PACKAGE = {
    "alpha/__init__.py": "",
    "alpha/net.py": "from . import scale\nfrom .table.read import rows\n",
    "alpha/scale.py": "",
    "alpha/table/read.py": "",
    "alpha/table/levels.csv": "1\n",
    "alpha/backtest.py": "import pandas\n",
    "alpha/.secret": "",
    "alpha/__pycache__/net.cpython-311.pyc": "",
}
PACKED = {f"alpha/{name}" for name in ("__init__.py", "net.py", "scale.py", "table/read.py", "table/levels.csv")}


@pytest.mark.parametrize("given", ["alpha", ""])
def test_a_users_package_travels_whole(project: Path, tmp_path: Path, given: str) -> None:
    """A package, or a folder of packages; modules that nothing imports may import what a server lacks."""
    beside = {"other/__init__.py": "", "setup.py": "", "docs/index.md": ""}
    code = write(tmp_path / "desk", {**PACKAGE, **beside})
    write(project, {"model_defs/own.py": "import alpha.net\n"})

    assert closure(project, code / given) == ALWAYS | PACKED | {"alpha/backtest.py"}


def test_a_namespace_package_and_a_module_travel(project: Path, tmp_path: Path) -> None:
    files = {"spaces/inner/net.py": "import single\n", "single.py": "", "setup.py": "import gone"}
    code = write(tmp_path / "desk", files)
    write(project, {"model_defs/own.py": "from spaces.inner import net\n"})

    assert closure(project, code) == ALWAYS | {"spaces/inner/net.py", "single.py"}


def test_two_folders_may_import_from_each_other(project: Path, tmp_path: Path) -> None:
    beta = "from handlers.parts import b\n"
    write(tmp_path, {"one/alpha/__init__.py": "import beta\n", "two/beta/__init__.py": beta})
    write(project, {"model_defs/own.py": "import alpha\n"})

    modules = closure(project, tmp_path / "one", tmp_path / "two" / "beta")

    assert modules == ALWAYS | {"alpha/__init__.py", "beta/__init__.py"}


@pytest.mark.parametrize(
    ("files", "code", "statement", "message"),
    [
        (["json/__init__.py"], ["json"], "", "json in .* has the name of a module of Python"),
        (["torch/__init__.py"], [""], "import torch", "torch in .* has the name of a module of a library"),
        (["model_defs/__init__.py"], ["model_defs"], "", "model_defs in .* has the name of a module of this project"),
        (["strategies/__init__.py"], [""], "import strategies", "has the name of a module of this project"),
        (["x_handler.py"], [""], "import x_handler", "has the name of a module of this project"),
        (["a/alpha.py", "b/alpha.py"], ["a", "b"], "import alpha", r"b: alpha is in .*a too: rename one of them"),
        (["alpha/__init__.py"], [""], "import torch", "expected a package.* that the model imports, got alpha"),
        (["alpha/net.py"], ["alpha"], "import alpha.net", r"add --code \S+desk, or"),
        ([], ["gone"], "", "gone: expected a folder, got none"),
        (["alpha/__init__.py"], ["alpha"], "import alpha.gone", r"own\.py:1: expected alpha\.gone in"),
    ],
)
def test_names_that_clash_or_are_missing_are_refused(
    project: Path, tmp_path: Path, files: list[str], code: list[str], statement: str, message: str
) -> None:
    desk = write(tmp_path / "desk", dict.fromkeys(files, ""))
    write(project, {"model_defs/own.py": f"{statement}\n"})

    with pytest.raises(ForbiddenImport, match=message):
        closure(project, *(desk / name for name in code))


def test_a_link_to_a_folder_is_refused(project: Path, tmp_path: Path) -> None:
    code = write(tmp_path / "desk", {"alpha/__init__.py": "", "elsewhere/x.py": ""})
    (code / "alpha" / "linked").symlink_to(code / "elsewhere")
    write(project, {"model_defs/own.py": "import alpha\n"})

    with pytest.raises(ForbiddenImport, match="linked: expected a folder, got a link to one"):
        closure(project, code / "alpha")
