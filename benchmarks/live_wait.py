"""A trade's wait for its handler in a live node with a slow model: requests outside and inside of the handler."""

import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.live_node import BLOCKING, LIVE, WAYS, Spec, Waits
from benchmarks.targets import Target
from nautilus_torchserve.bundle import BUNDLE
from nautilus_torchserve.serving.server.torchserve import ServerSettings, start_server
from nautilus_torchserve.user_error import UserError

MODEL = "tick-slow"
_ENDS_WITHIN_S = 300


class NodeFailed(UserError):
    """The node ended without a result."""


@dataclass(frozen=True)
class Comparison:
    """Medians over the rounds."""

    waits: dict[str, Waits]
    """By way."""
    times_longer: float
    """p99 of a trade's wait where the handler sends the request, over ours."""
    target: Target
    """Limit of our p99."""


def compare(archive: Path, model_ms: int, rate: float, seconds: float, rounds: int) -> Comparison:
    """Run each way in turn, against one server, so that a busier machine affects all.

    The server takes ``model_ms`` a request, and what a request takes otherwise: TorchServe waits so long for company
    before it lets a lone request through to the model (``max_batch_delay``).

    Raises
    ------
    StartFailed
        No server.
    NodeFailed
        A node ended without a result.
    """
    runs_by_way: dict[str, list[Waits]] = {way: [] for way in WAYS}
    with TemporaryDirectory(prefix="live-") as folder:
        store = Path(folder) / "store"
        store.mkdir()
        shutil.copyfile(archive, store / "tick.mar")
        settings = ServerSettings({"tick": "tick.mar"}, store, Path(folder) / "home", free_ports=True)
        with start_server(settings) as server:
            manager = server.management()
            manager.register("tick.mar", model_name=MODEL, batch_size=2, max_batch_delay=model_ms)
            manager.wait_ready(MODEL, manager.default_version(MODEL) or "")
            for seed in range(1, rounds + 1):
                for way, runs in runs_by_way.items():
                    spec = Spec(way, server.inference_url, MODEL, rate, round(rate * seconds), seed)
                    runs.append(_in_its_own_process(spec, server.token))
    waits = {way: _median(runs) for way, runs in runs_by_way.items()}
    target = Target(f"{LIVE}: p99 of a trade's wait, ms", waits[LIVE].p99_ms, 1.0, at_most=True)
    return Comparison(waits, waits[BLOCKING].p99_ms / waits[LIVE].p99_ms, target)


def _in_its_own_process(spec: Spec, token: str | None) -> Waits:
    environment = {**os.environ, **({"TORCHSERVE_TOKEN": token} if token else {})}
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.live_node"],
        input=json.dumps(dataclasses.asdict(spec)),
        cwd=BUNDLE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_ENDS_WITHIN_S,
        check=False,
    )
    if result.returncode:
        raise NodeFailed(f"{spec.way}: expected a result, got exit status {result.returncode}:\n{result.stderr}")
    return Waits(**json.loads(result.stdout.splitlines()[-1]))


def _median(runs: list[Waits]) -> Waits:
    names = [field.name for field in dataclasses.fields(Waits)]
    return Waits(**{name: statistics.median(getattr(run, name) for run in runs) for name in names})
