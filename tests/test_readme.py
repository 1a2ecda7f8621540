"""Every command of the README and of the pages in ``docs/``, run as it stands there.

The ``bash`` blocks of a page run in order in a copy of the project, so that each can use the results of those before
it. A page needs nothing but the checkout and has a copy of its own; the pages in `CONTINUE_README` continue the
README's quick starts in the README's copy. Free ports replace 8080 to 8082, and the language model is trained for one
epoch. Commands that change the machine (``apt``, ``brew``) are ``console`` blocks, which are never run.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nautilus_torchserve.serving.server.config import free_ports
from nautilus_torchserve.serving.server.java import find_java_home
from support import PROJECT, copy_checkout

PAGES = {path.name: path.read_text() for path in (PROJECT / "README.md", *sorted(PROJECT.glob("docs/*.md")))}
BLOCKS = {name: re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL) for name, text in PAGES.items()}
CONTINUE_README = (
    "quickstart.md",
    "training-tick.md",
    "your-own-model.md",
    "backtesting.md",
    "live-trading.md",
    "experiments.md",
    "registry.md",
)
"""Pages whose commands follow the README's, in this order; a block that was run already is not run again."""
RUN_ELSEWHERE = {
    "make setup": ".ci/run",
    "make test": ".ci/run",
    "make demo": "tests/scripts/test_demo.py",
    "make bench": "tests/benchmarks/test_bench_serving.py",
    "python examples": "tests/examples/test_examples.py",
    "docker build": "needs Docker and a GPU; its rules are checked by hadolint",
}
"""Commands that this test does not run, and what does."""
SLOW = tuple(f"nautilus-torchserve train {rest}" for rest in ("sentiment", "price --bars 4000", "price --bars 2000"))
"""Blocks that begin so take long: they are run by `make test-slow`."""
ALSO_SLOW = (
    "nautilus-torchserve live deploy",
    "nautilus-torchserve live runs",
    "--latency-profile",
    "deploy/production.properties",
    "torch-model-archiver",
)
"""And so do blocks with these in them."""
SLOW_PAGES = ("archives.md", "data-formats.md", "instruments.md", "statistics.md")
"""And pages whose blocks are quick, but many."""
QUICKLY = {
    "nautilus-torchserve train sentiment --out runs/sentiment": " --set fit.epochs=1 --set fit.rdrop=0 --threads 1"
}
"""Commands that would take ten minutes and more, and what makes them quick; other tests have the other cores."""
MAKES_TICK = "nautilus-torchserve train tick --out runs/tick"
"""What the block begins with that makes ``archives/tick.mar``, which others need."""


def is_slow(block: str) -> bool:
    return block.startswith(SLOW) or any(command in block for command in ALSO_SLOW)


def runs_elsewhere(block: str) -> bool:
    return any(block.startswith(command) for command in RUN_ELSEWHERE)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Page -> its copy of the project, made at its first use."""
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
    copy_checkout(folder)
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
    """Return page of the copy and block of those that are run here, the long ones marked.

    An id begins with the page whose copy it is, which is what `conftest` gives to one process.
    """
    return [
        pytest.param(
            first,
            block,
            id=f"{first}: {'' if page == first else f'{page}: '}{block.splitlines()[0][:60]}",
            marks=[pytest.mark.slow] if is_slow(block) or first in SLOW_PAGES else [],
        )
        for first in PAGES
        if first not in CONTINUE_README
        for block, page in _by_block(first).items()
        if not runs_elsewhere(block)
    ]


def _by_block(first: str) -> dict[str, str]:
    """Return the blocks that run in a page's copy, in their order, each with the first page that has it."""
    by_block: dict[str, str] = {}
    for page in (first, *(CONTINUE_README if first == "README.md" else ())):
        for block in BLOCKS[page]:
            by_block.setdefault(block, page)
    return by_block


@pytest.mark.parametrize(("page", "block"), blocks())
def test_commands_of_a_page_run(copies: Callable[[str], Path], page: str, block: str) -> None:
    copy = copies(page)
    ports = (copy / "ports").read_text().split()
    for old, new in zip((8080, 8081, 8082), ports, strict=False):
        block = block.replace(f":{old}", f":{new}")
    for command, more in QUICKLY.items():
        block = block.replace(command, command + more)
    if page == "README.md" and "tick.mar" in block and not (copy / "archives" / "tick.mar").exists():
        block = next(first for first in BLOCKS[page] if first.startswith(MAKES_TICK)) + block  # the slow ones alone

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
@pytest.mark.parametrize("page", [pytest.param("training-news.md", id="training-news.md: its model")])
def test_the_language_model_of_the_documentation_beats_its_baselines(copies: Callable[[str], Path], page: str) -> None:
    """After one epoch."""
    evaluation = json.loads((copies(page) / "runs" / "sentiment" / "evaluation.json").read_text())

    scores = evaluation["scores"]
    model = scores.pop("model")
    assert model["accuracy"] >= 0.70
    for score in scores.values():
        assert model["accuracy"] > score["accuracy"]
        assert model["macro_f1"] > score["macro_f1"]
    calibration = evaluation["calibration"]
    assert calibration["after"]["log_loss"] <= calibration["before"]["log_loss"] + 0.02


def test_readme_is_short_and_has_commands() -> None:
    assert len(PAGES["README.md"].encode()) <= 10_240
    assert len(BLOCKS["README.md"]) > 5


@pytest.mark.parametrize("place", [place for place in RUN_ELSEWHERE.values() if "/" in place])
def test_what_runs_elsewhere_is_there(place: str) -> None:
    assert (PROJECT / place).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    folder = PROJECT if page == "README.md" else PROJECT / "docs"
    links = re.findall(r"\]\((?!https?://)([^)]+)", PAGES[page]) + re.findall(r'src="([^"]+)"', PAGES[page])

    assert [link for link in links if not _leads_somewhere(folder, page, link)] == []


def _leads_somewhere(folder: Path, page: str, link: str) -> bool:
    name, _, anchor = link.partition("#")
    path = folder / (name or page)
    return path.exists() and (not anchor or anchor in map(_anchor, _headings(path.read_text())))


def _headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub and mkdocs give a heading."""
    return re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
