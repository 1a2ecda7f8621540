"""Kills at random moments: of workers, of Java, of commands that change a server, of a live run.

After each the next prediction, the next run or a repair must work, with the bits and the version of before, and no
process may be left behind.
"""

import os
import shutil
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import psutil

from benchmarks.versions import as_version
from fault_injection.commands import LOST_MODEL, Call, fault_of, preload, run
from fault_injection.live_settings import write_live_settings
from fault_injection.servers import MODEL, make_keys, sign
from fault_injection.verdict import Failure, Findings
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.serving.server.torchserve import TorchServe, find_server
from nautilus_torchserve.serving.tokens import NoToken
from nautilus_torchserve.wire.errors import RequestError

LOST = "kills after which nothing was answered"
WRONG = "kills after which something else was answered"
NOT_REPAIRED = "kills after which a command failed"
ORPHANS = "processes left behind"
TRACEBACKS = "tracebacks"
MUST_BE_ZERO = (LOST, WRONG, NOT_REPAIRED, ORPHANS, TRACEBACKS)
_RECOVERS_WITHIN_S = 120.0
_GONE_WITHIN_S = 30.0
_ROLLOUT_S, _LIVE_S, _START_S = 2.5, 2.0, 4.0
"""Within which time a rollout, a live run and a start are killed (seconds)."""


@dataclass
class Scene:
    """A server, an archive, and the state that a kill must not change."""

    server: TorchServe
    archive: Path
    folder: Path
    findings: Findings
    rows: np.ndarray
    expected: dict[str, np.ndarray]
    seed: int
    recoveries_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Kind -> times from a kill to the next right answer."""
    kind: str = ""
    index: int = 0
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10_000)))

    @property
    def home(self) -> Path:
        return self.server.home

    def fail(self, count: str, what: str) -> None:
        """Count a failure of the kill under way."""
        self.findings.fail(Failure(count, self.kind, what[:400], f"kills --seed {self.seed} --index {self.index}"))

    def command(self, text: str, kill_after_s: float | None = None, kill: int = signal.SIGKILL) -> bool:
        """Make the call of a command, killed after a time or not; whether it ended well."""
        script, *arguments = text.split()
        call = Call(script, tuple(arguments), self.folder, _variables())
        with _alarm(kill_after_s, kill):
            status, out, err = run(call, 120.0)
        if kill_after_s is not None:
            if "Traceback (most recent call last)" in out + err and kill != signal.SIGKILL:
                self.fail(TRACEBACKS, err[-300:])
            return status == 0
        fault = fault_of(call, status, out, err)
        if fault is not None or status not in ((0, LOST_MODEL) if script == "live" else (0,)):
            lines = [line for line in err.splitlines() if line.startswith("error: ")] or err.splitlines()[-1:]
            count = TRACEBACKS if fault is not None and "Traceback" in fault else NOT_REPAIRED
            self.fail(count, f"{text}: status {status}: {' '.join(lines)[-300:]}")
        return not status

    def wait_for_answer(self, since: float, server: TorchServe | None = None) -> None:
        """Send requests until there is a response, as an earlier client does; it must be the right one."""
        deadline, why = time.monotonic() + _RECOVERS_WITHIN_S, ""
        while time.monotonic() < deadline:
            try:
                with self.client(server) as client:
                    answer = client.predict(self.rows)
            except (RequestError, NoToken, OSError) as error:
                why = str(error)
                time.sleep(0.05)
                continue
            self.recoveries_s[self.kind].append(time.monotonic() - since)
            if any(answer.outputs[name].tobytes() != values.tobytes() for name, values in self.expected.items()):
                self.fail(WRONG, f"{answer.version}: {answer.outputs}")
            return
        self.fail(LOST, why)

    def client(self, server: TorchServe | None = None) -> InferenceClient:
        """Return a client of the server, or of another one."""
        target = server or self.server
        return connect(target.inference_url, MODEL, token=target.token, timeout_s=5.0)


def _variables() -> dict[str, str]:
    return {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}


@contextmanager
def _alarm(after_s: float | None, kill: int) -> Iterator[None]:
    """Send this process's child a signal after a time, wherever it is then."""
    if after_s is None:
        yield
        return
    me, over = psutil.Process(), threading.Event()

    def strike() -> None:
        if not over.wait(after_s):
            for child in me.children():
                with suppress(psutil.Error):
                    child.send_signal(kill)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def attack_by_kills(
    server: TorchServe,
    archive: Path,
    folder: Path,
    seed: int,
    count: int,
    time_limit_s: float,
    indexes: Iterable[int] = (),
) -> Findings:
    """Kill ``count`` times; the server is one of one's own, its model store ``folder/store``."""
    findings = Findings("kills", MUST_BE_ZERO)
    with connect(f"mar:{archive}", MODEL) as oracle:
        rows = np.random.default_rng(seed).normal(0, 1, (3, 4)).astype(np.float32)
        expected = dict(oracle.predict(rows).outputs)
    scene = Scene(server, archive, folder, findings, rows, expected, seed)
    make_keys(folder)
    preload()
    write_live_settings(folder, archive, trades=400, speed=80.0)
    began, end, done = time.monotonic(), time.monotonic() + time_limit_s, Counter[str]()
    for index in tuple(indexes) or range(count):
        if time.monotonic() > end:
            break
        random = Random(f"{seed} {index}")
        scene.index = index
        (scene.kind,) = random.choices(tuple(KILLS), [weight for weight, _ in KILLS.values()])
        KILLS[scene.kind][1](scene, random)
        done[scene.kind] += 1
    findings.counts = {
        "kills": done.total(),
        **findings.counts,
        **{f"{kind}: kills": number for kind, number in sorted(done.items())},
        **{f"{kind}: longest recovery (s)": round(max(taken), 2) for kind, taken in sorted(scene.recoveries_s.items())},
        "seconds": time.monotonic() - began,
    }
    return findings


def _kill_worker(scene: Scene, random: Random) -> None:
    """Kill a worker, under load or idle."""
    workers = [worker["pid"] for worker in scene.server.management().describe(MODEL)[0]["workers"]]
    if random.random() < 0.5:
        with scene.client() as client, suppress(RequestError):
            for _ in range(random.randrange(20)):
                client.predict(scene.rows)
    began = time.monotonic()
    with suppress(ProcessLookupError):
        os.kill(random.choice(workers), signal.SIGKILL)
    scene.wait_for_answer(began)


def _kill_java(scene: Scene, random: Random) -> None:
    """Kill Java: its workers must end by themselves, and a restart must bring back what was served."""
    versions = set(scene.server.management().versions(MODEL))
    default = scene.server.management().default_version(MODEL)
    workers = psutil.Process(scene.server.pid).children(recursive=True)
    began = time.monotonic()
    os.kill(scene.server.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=_GONE_WITHIN_S)
    for process in alive:
        scene.fail(ORPHANS, f"worker {process.pid} {_GONE_WITHIN_S:g} s after its server's death")
        process.kill()
    _restart(scene)
    scene.wait_for_answer(began)
    manager = scene.server.management()
    if manager.default_version(MODEL) != default or set(manager.versions(MODEL)) != versions:
        scene.fail(WRONG, f"expected {default} of {versions}, got {manager.default_version(MODEL)}")


def _restart(scene: Scene) -> None:
    scene.command(f"serve restart --home {scene.home}")
    server = find_server(scene.home)
    if server is not None:
        scene.server = server


def _kill_rollout(scene: Scene, random: Random) -> None:
    """Kill a registration, a rollback or a removal at a random moment; then repair."""
    manager = scene.server.management()
    default = manager.default_version(MODEL)
    others = sorted(set(manager.versions(MODEL)) - {default})
    action = random.choice(("register", "register", "register", "rollback", "remove")) if others else "register"
    where = f"--home {scene.home} --reports {scene.folder}/reports"
    if action == "register":
        path = as_version(scene.archive, scene.folder / "new.mar", f"2.{next(scene.numbers)}")
        sign(path, scene.folder)
        text = (
            f"rollout register tick {where} --archive {path} --trusted {scene.folder}/trusted --watch 0.3 "
            "--drain 0.1 --latency-add-ms 1000"
        )
    elif action == "rollback":
        text = f"rollout rollback tick {where}"
    else:
        text = f"rollout remove tick {others[0]} --drain 0.1 {where}"
    kill = random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
    scene.command(text, random.uniform(0.0, _ROLLOUT_S if action == "register" else 0.5), kill)
    began = time.monotonic()
    scene.wait_for_answer(began)  # a kill may not cost an answer
    scene.command(f"rollout repair --home {scene.home}")
    scene.command(f"rollout status --home {scene.home}")
    scene.wait_for_answer(began)


def _kill_live_run(scene: Scene, random: Random) -> None:
    """Kill a live run: its audit log must be readable, and the next run must trade."""
    kill = random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
    began = time.monotonic()
    scene.command(f"live {scene.folder}/live.toml --json", random.uniform(0.0, _LIVE_S), kill)
    if (scene.folder / "audit").is_dir() and any((scene.folder / "audit").iterdir()):
        scene.command(f"audit --list --log parquet:{scene.folder}/audit --json")
    scene.command(f"live {scene.folder}/live.toml --json")
    scene.recoveries_s[scene.kind].append(time.monotonic() - began)


def _kill_start(scene: Scene, random: Random) -> None:
    """Kill the start of another server: the next start must work, and nothing be left when it is stopped."""
    home = scene.folder / f"h{scene.index}"
    kill = random.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGTERM, signal.SIGINT))
    start = f"serve start tick=tick.mar --model-store {scene.folder}/store --home {home} --free-ports"
    scene.command(start, random.uniform(0.05, _START_S), kill)
    began = time.monotonic()
    if kill != signal.SIGKILL:
        _expect_gone(scene, home, "after a start that a signal ended")
    if find_server(home) is None:
        scene.command(start)
    server = find_server(home)
    if server is None:
        scene.fail(LOST, "no server after a second start")
    else:
        scene.wait_for_answer(began, server)
        scene.command(f"serve stop --home {home}")
    _expect_gone(scene, home, "after a stop")
    shutil.rmtree(home, ignore_errors=True)


def _expect_gone(scene: Scene, home: Path, when: str) -> None:
    """Check that no process of a home is left; one whose start was completed may be serving."""
    deadline = time.monotonic() + _GONE_WITHIN_S
    while (left := _of_home(home)) and time.monotonic() < deadline and find_server(home) is None:
        time.sleep(0.1)
    if left and find_server(home) is None:
        scene.fail(ORPHANS, f"{len(left)} {when}: {left[0].name()} {left[0].pid}")
        for process in left:
            with suppress(psutil.Error):
                process.kill()


def _of_home(home: Path) -> list[psutil.Process]:
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if (
                process.pid != os.getpid()
                and process.status() != psutil.STATUS_ZOMBIE
                and (any(f"{home}/" in part for part in process.cmdline()) or process.cwd() == f"{home}")
            ):
                processes.append(process)
    return processes


KILLS: dict[str, tuple[float, Callable[[Scene, Random], None]]] = {
    "worker": (20, _kill_worker),
    "java": (4, _kill_java),
    "rollout": (18, _kill_rollout),
    "live run": (4, _kill_live_run),
    "server's start": (4, _kill_start),
}
"""Kind -> how often it comes, and what does it."""
