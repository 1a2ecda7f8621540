"""Every command of the README, run as it stands there.

Its ``bash`` blocks run in order in a copy of the project, so that each finds what the one
before it made. Free ports take the place of 8080 to 8082, and the language model learns for one epoch.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.java import find_java_home
from serving.torchserve import free_ports
from support import PROJECT

README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
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
ALSO_SLOW = ("scripts/live.py", "--latency-profile")
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
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project's own files, with free ports in its configuration."""
    folder = tmp_path_factory.mktemp("readme") / "p"
    made = (".git", ".venv*", "runs", "reports", "logs", "*.mar", ".server", "__pycache__", ".*_cache")
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(*made))
    config = folder / "config.properties"
    ports = free_ports(5)
    text = config.read_text()
    for old, new in zip((8080, 8081, 8082), ports, strict=False):
        text = text.replace(f":{old}", f":{new}")
    for live in (folder / "deploy" / "live").glob("*.toml"):
        live.write_text(live.read_text().replace(":8080", f":{ports[0]}").replace("port = 9464", "port = 0"))
    config.write_text(text.replace("=7070", f"={ports[3]}").replace("=7071", f"={ports[4]}"))
    (folder / "ports").write_text(" ".join(map(str, ports)))
    (folder / "tmp").mkdir()
    yield folder
    # A block that failed half-way may have left its server running.
    for stop in (["torchserve", "--stop"], [sys.executable, "scripts/serve.py", "stop"]):
        subprocess.run(stop, env=environment(folder), cwd=folder, check=False, capture_output=True)


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
    """Those that are run here, the long ones marked."""
    return [
        pytest.param(block, id=block.splitlines()[0][:60], marks=[pytest.mark.slow] if is_slow(block) else [])
        for block in BLOCKS
        if not runs_elsewhere(block)
    ]


@pytest.mark.parametrize("block", blocks())
def test_commands_of_the_readme_run(copy: Path, block: str) -> None:
    ports = (copy / "ports").read_text().split()
    for old, new in zip((8080, 8081, 8082), ports, strict=False):
        block = block.replace(f":{old}", f":{new}")
    for command, more in QUICKLY.items():
        block = block.replace(command, command + more)
    if "tick.mar" in block and not (copy / "archives" / "tick.mar").exists():  # the slow ones alone
        block = next(each for each in BLOCKS if each.startswith(MAKES_TICK)) + block

    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=copy, env=environment(copy),
        capture_output=True, text=True, timeout=1800 if is_slow(block) else 240, check=False,
    )

    assert result.returncode == 0, f"{block}\n{result.stdout}\n{result.stderr}"


@pytest.mark.slow
def test_the_language_model_of_the_readme_beats_its_baselines(copy: Path) -> None:
    """After one epoch."""
    evaluation = json.loads((copy / "runs" / "sentiment" / "evaluation.json").read_text())

    scores = evaluation["scores"]
    model = scores.pop("model")
    assert model["accuracy"] >= 0.70
    for score in scores.values():
        assert model["accuracy"] > score["accuracy"]
        assert model["macro_f1"] > score["macro_f1"]
    calibration = evaluation["calibration"]
    assert calibration["after"]["log_loss"] <= calibration["before"]["log_loss"] + 0.02


def test_readme_has_commands() -> None:
    assert len(BLOCKS) > 5


@pytest.mark.parametrize("place", [place for place in RUN_ELSEWHERE.values() if "/" in place])
def test_what_runs_elsewhere_is_there(place: str) -> None:
    assert (PROJECT / place).is_file()


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", README) + re.findall(r'src="([^"]+)"', README)

    assert links
    assert not [link for link in links if not (PROJECT / link).exists()]
