"""Every command of the README and of the pages in ``docs/``, run as it stands there.

The ``bash`` blocks of a page run in order in a copy of the project, so that each finds what the one before it made.
Every page has a copy of its own: it needs nothing but the checkout. Free ports take the place of 8080 to 8082, and the
language model learns for one epoch. What changes the machine (``apt``, ``brew``) is a ``console`` block, never run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nautilus_torchserve.serving.server.config import free_ports
from nautilus_torchserve.serving.server.java import find_java_home
from support import PROJECT

PAGES = {path.name: path.read_text() for path in (PROJECT / "README.md", *sorted(PROJECT.glob("docs/*.md")))}
BLOCKS = {name: re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL) for name, text in PAGES.items()}
RUN_ELSEWHERE = {
    "make setup": ".ci/run",
    "make test": ".ci/run",
    "make demo": "tests/scripts/test_demo.py",
    "make bench": "tests/benchmarks/test_bench_serving.py",
    "docker build": "needs Docker and a GPU; its rules are checked by hadolint",
}
"""Commands that this test does not run, and what does."""
SLOW = tuple(f"python scripts/train.py {what}" for what in ("sentiment", "price --bars 4000", "price --bars 2000"))
"""Blocks that begin so take long: they are run by `make test-slow`."""
ALSO_SLOW = ("scripts/live.py", "--latency-profile", "deploy/production.properties")
"""And so do blocks with these in them."""
QUICKLY = {"python scripts/train.py sentiment --out runs/sentiment": " --set fit.epochs=1 --set fit.rdrop=0"}
"""Commands that would take ten minutes and more, and what makes them quick."""
MAKES_TICK = "python scripts/train.py tick --out runs/tick"
"""What the block begins with that makes ``archives/tick.mar``, which others need."""


def is_slow(block: str) -> bool:
    return block.startswith(SLOW) or any(command in block for command in ALSO_SLOW)


def runs_elsewhere(block: str) -> bool:
    return any(block.startswith(command) for command in RUN_ELSEWHERE)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Page -> its copy of the project, made when it is first asked for."""
    made: dict[str, Path] = {}

    def copy_of(page: str) -> Path:
        if page not in made:
            made[page] = copy_project(tmp_path_factory.mktemp(page.split(".")[0].lower()) / "p")
        return made[page]

    yield copy_of
    # A block that failed half-way may have left its server running.
    for folder in made.values():
        for home in [path.parent for path in folder.glob("*/server.json")]:
            command = [sys.executable, "scripts/serve.py", "stop", "--home", home]
            subprocess.run(command, env=environment(folder), cwd=folder, check=False, capture_output=True)
        if (folder / "tmp" / ".model_server.pid").exists():
            command = ["torchserve", "--stop"]
            subprocess.run(command, env=environment(folder), cwd=folder, check=False, capture_output=True)


def copy_project(folder: Path) -> Path:
    """Copy the project's own files, with free ports in its configuration."""
    made_here = shutil.ignore_patterns(".git", ".venv*", "runs", "reports", "logs", ".server", ".*_cache")
    made_anywhere = shutil.ignore_patterns("*.mar", "__pycache__")

    def ignore(path: str, names: list[str]) -> set[str]:
        return made_anywhere(path, names) | (made_here(path, names) if Path(path) == PROJECT else set())

    shutil.copytree(PROJECT, folder, ignore=ignore)
    config = folder / "config.properties"
    ports = free_ports(5)
    text = config.read_text()
    for old, new in zip((8080, 8081, 8082), ports, strict=False):
        text = text.replace(f":{old}", f":{new}")
    for live in (folder / "deploy" / "live").glob("*.toml"):
        written = live.read_text().replace(":8080", f":{ports[0]}").replace(":8081", f":{ports[1]}")
        live.write_text(written.replace("port = 9464", "port = 0"))
    config.write_text(text.replace("=7070", f"={ports[3]}").replace("=7071", f"={ports[4]}"))
    (folder / "ports").write_text(" ".join(map(str, ports)))
    (folder / "tmp").mkdir()
    return folder


def environment(folder: Path) -> dict[str, str]:
    """As in a terminal with the environment activated, but with temporary files of its own."""
    java = find_java_home()
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(java / "bin"), os.environ["PATH"]]),
        "JAVA_HOME": str(java),
        "HOME": str(folder / "home"),  # private keys are made there
        "PYTHONPATH": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "TEMP": str(folder / "tmp"),
    }


def blocks() -> list[Any]:
    """Page and block of those that are run here, the long ones marked."""
    return [
        pytest.param(
            page, block, id=f"{page}: {block.splitlines()[0][:60]}", marks=[pytest.mark.slow] if is_slow(block) else []
        )
        for page, found in BLOCKS.items()
        for block in found
        if not runs_elsewhere(block)
    ]


@pytest.mark.parametrize(("page", "block"), blocks())
def test_commands_of_a_page_run(copies: Callable[[str], Path], page: str, block: str) -> None:
    copy = copies(page)
    ports = (copy / "ports").read_text().split()
    for old, new in zip((8080, 8081, 8082), ports, strict=False):
        block = block.replace(f":{old}", f":{new}")
    for command, more in QUICKLY.items():
        block = block.replace(command, command + more)
    if page == "README.md" and "tick.mar" in block and not (copy / "archives" / "tick.mar").exists():
        block = next(each for each in BLOCKS[page] if each.startswith(MAKES_TICK)) + block  # the slow ones alone

    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=copy,
        env=environment(copy),
        capture_output=True,
        text=True,
        timeout=1800 if is_slow(block) else 240,
        check=False,
    )

    assert result.returncode == 0, f"{block}\n{result.stdout}\n{result.stderr}"


@pytest.mark.slow
def test_the_language_model_of_the_readme_beats_its_baselines(copies: Callable[[str], Path]) -> None:
    """After one epoch."""
    evaluation = json.loads((copies("README.md") / "runs" / "sentiment" / "evaluation.json").read_text())

    scores = evaluation["scores"]
    model = scores.pop("model")
    assert model["accuracy"] >= 0.70
    for score in scores.values():
        assert model["accuracy"] > score["accuracy"]
        assert model["macro_f1"] > score["macro_f1"]
    calibration = evaluation["calibration"]
    assert calibration["after"]["log_loss"] <= calibration["before"]["log_loss"] + 0.02


def test_readme_has_commands() -> None:
    assert len(BLOCKS["README.md"]) > 5


@pytest.mark.parametrize("place", [place for place in RUN_ELSEWHERE.values() if "/" in place])
def test_what_runs_elsewhere_is_there(place: str) -> None:
    assert (PROJECT / place).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page: str) -> None:
    folder = PROJECT if page == "README.md" else PROJECT / "docs"
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", PAGES[page]) + re.findall(r'src="([^"]+)"', PAGES[page])

    assert not [link for link in links if not (folder / link).exists()]
