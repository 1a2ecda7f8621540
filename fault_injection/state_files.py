"""Damaged state files: no command that reads one ends in a traceback, and a repair works from what the server serves.

A folder holds every state file as a real server, rollout, live run and experiment have left it. In each case one of
them is damaged, missing, or no file at all; the commands that read it are called in forks, and then a repair.
"""

import json
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import mkdtemp

from benchmarks.versions import as_version
from fault_injection.commands import LOST_MODEL, Call, fault_of, preload, quiet_environment, run
from fault_injection.damage import damage
from fault_injection.live_settings import write_live_settings
from fault_injection.servers import MODEL, make_keys, sign
from fault_injection.verdict import Failure, Findings
from nautilus_torchserve.serving.server.management import ManagementError
from nautilus_torchserve.serving.server.torchserve import TorchServe

TRACEBACKS = "tracebacks"
UNDOCUMENTED = "endings without one sentence and a documented status"
NOT_REPAIRED = "repairs after which the rollout's state is not well"
LOST = "versions that the server lost"
LONG_ERRORS = "sentences of more than 1,000 characters"
MUST_BE_ZERO = (TRACEBACKS, UNDOCUMENTED, NOT_REPAIRED, LOST, LONG_ERRORS)
_MOST_S = 120.0
_DEAD_PID = 4_194_303


@dataclass(frozen=True)
class StateFile:
    """A kind of state file."""

    path: str
    """Within the template; a folder: one of its files."""
    commands: tuple[str, ...]
    """Called one after the other; ``{here}`` is the case's folder."""
    weight: float = 1.0
    repaired: bool = False
    """Whether ``rollout.py repair`` must restore everything."""
    dead: bool = False
    """Whether the server of the home has died: commands start it again, by a Java that ends at once."""


_HOME = "--home {here}/home"
STATE_FILES: Mapping[str, StateFile] = {
    "journal": StateFile(
        "store/.rollout/tick.json",
        (
            f"rollout status {_HOME} --json --store sqlite:///{{here}}/none.db",
            f"rollout rollback tick {_HOME} --json",
        ),
        5,
        repaired=True,
    ),
    "journal of a killed rollout": StateFile("store/.rollout/tick.json", (f"rollout status {_HOME} --json",), 2, True),
    "rollout folder": StateFile("store/.rollout", (f"rollout status {_HOME} --json",), 2, repaired=True),
    "server.json": StateFile("home/server.json", (f"serve status {_HOME} --json", f"rollout status {_HOME}"), 4),
    "key file": StateFile("home/key_file.json", (f"serve status {_HOME}", f"rollout status {_HOME}"), 3),
    "configuration": StateFile(
        "home/config.properties", (f"serve status {_HOME}", f"rollout rollback tick {_HOME}"), 3
    ),
    "configuration at restart": StateFile(
        "home/config.properties",
        (f"serve restart {_HOME}", f"serve start {_HOME} --config {{here}}/home/config.properties"),
        3,
        dead=True,
    ),
    "server.json at restart": StateFile(
        "home/server.json", (f"serve restart {_HOME}", f"serve stop {_HOME}"), 2, dead=True
    ),
    "journal at restart": StateFile("store/.rollout/tick.json", (f"serve restart {_HOME}",), 2, dead=True),
    "traffic database": StateFile(
        "traffic.db",
        (
            "experiment status --store sqlite:///{here}/traffic.db --json",
            f"rollout status {_HOME} --store sqlite:///{{here}}/traffic.db",
            f"rollout repair {_HOME} --store sqlite:///{{here}}/traffic.db",
        ),
        3,
    ),
    "trading day": StateFile("day.json", ("live {here}/live.toml --json",), 1),
    "audit log": StateFile("audit", ("audit --list --log parquet:{here}/audit --json",), 3),
    "trusted keys": StateFile("trusted", ("verify {here}/signed.mar --trusted {here}/trusted",), 2),
    "private key": StateFile("alice.key", ("sign {here}/signed.mar --key {here}/alice.key",), 1),
}
_FOLDERS = ("store", "trusted", "audit")
_FILES = (
    "home/server.json",
    "home/key_file.json",
    "home/config.properties",
    "traffic.db",
    "live.toml",
    "day.json",
    "alice.key",
    "signed.mar",
)


@dataclass
class Template:
    """A folder with all state files, as they are left by a server that runs."""

    server: TorchServe
    folder: Path
    environment: dict[str, str]
    versions: set[str] = field(default_factory=set)
    default: str = ""

    @property
    def backup(self) -> Path:
        """Folder of the undamaged files."""
        return self.folder / "backup"

    def call(self, text: str, here: Path, fake_java: bool = False) -> tuple[Call, int, str, str]:
        """Make the call of a command."""
        script, *arguments = text.split()
        filled = tuple(argument.replace("{here}", f"{here}") for argument in arguments)
        variables = (
            self.environment
            if fake_java
            else {name: value for name, value in self.environment.items() if name not in ("JAVA_HOME", "PATH")}
        )
        call = Call(script, filled, here, variables)
        return (call, *run(call, _MOST_S))

    def must(self, text: str, statuses: tuple[int, ...] = (0,)) -> None:
        """Make a call that has to succeed."""
        call, status, out, err = self.call(text, self.folder)
        if status not in statuses:
            raise RuntimeError(f"{call}: status {status}: {out[-300:]}{err[-600:]}")


def make_template(server: TorchServe, folder: Path) -> Template:
    """Roll a second version out on a server of one's own, run live, begin an experiment; keep what they write.

    Parameters
    ----------
    server : TorchServe
        Serves ``tick`` of ``folder/store`` from ``folder/home``.
    """
    preload()
    template = Template(server, folder, quiet_environment(folder / "environment"))
    archive = folder / "store" / f"{MODEL}.mar"
    make_keys(folder)
    sign(as_version(archive, folder / "signed.mar", "1.1"), folder)
    template.must(
        f"rollout register tick {_HOME} --archive {{here}}/signed.mar --trusted {{here}}/trusted --watch 0.2 "
        "--drain 0.1 --latency-add-ms 1000 --reports {here}/reports"
    )
    template.must(
        "experiment create tick --challenger 2.0 --baseline 1.0 --no-server --name e1 "
        "--store sqlite:///{here}/traffic.db"
    )
    write_live_settings(folder, archive, trades=250, speed=5.0)
    template.must("live {here}/live.toml --json", statuses=(0, LOST_MODEL))
    write_live_settings(folder, archive, trades=250, speed=1000.0, audit=False)
    manager = server.management()
    template.versions, template.default = set(manager.versions(MODEL)), str(manager.default_version(MODEL))
    template.backup.mkdir()
    _copy_state(folder, template.backup)
    return template


def attack_state_files(
    template: Template, seed: int, count: int, time_limit_s: float, indexes: Sequence[int] = ()
) -> Findings:
    """Damage ``count`` copies and call what reads them."""
    findings = Findings("state files", MUST_BE_ZERO)
    statuses: Counter[int] = Counter()
    began, end, done = time.monotonic(), time.monotonic() + time_limit_s, 0
    try:
        for index in tuple(indexes) or range(count):
            if time.monotonic() > end:
                break
            done += 1
            _attack_one(template, findings, statuses, seed, index, show=bool(indexes))
    finally:
        _copy_state(template.backup, template.folder)
    findings.counts = {
        "damaged files": done,
        "calls of commands": sum(statuses.values()),
        **findings.counts,
        **{f"exit status {status}": number for status, number in sorted(statuses.items())},
        "seconds": time.monotonic() - began,
    }
    return findings


def _attack_one(
    template: Template, findings: Findings, statuses: Counter[int], seed: int, index: int, show: bool
) -> None:
    random = Random(f"{seed} {index}")
    (kind,) = random.choices(tuple(STATE_FILES), [state_file.weight for state_file in STATE_FILES.values()])
    state = STATE_FILES[kind]
    here = _prepare(template, state, kind)
    path = here / state.path
    with suppress(FileNotFoundError):
        _spoil(path, random)
    calls = [*state.commands, *([f"rollout repair {_HOME}", f"rollout status {_HOME}"] if not state.dead else [])]
    for number, text in enumerate(calls):
        call, status, out, err = template.call(text, here, fake_java=state.dead)
        statuses[status] += 1
        what = f"{' '.join((call.script, *call.arguments[:3]))}: {_last_line(err)}"
        fault = fault_of(call, status, out, err)
        reproduce = f"state-files --seed {seed} --index {index}"
        if fault is not None:
            count = TRACEBACKS if "Traceback" in fault or "bug" in fault else UNDOCUMENTED
            findings.fail(Failure(count, kind, f"{fault}: {what}", reproduce))
        elif state.repaired and status and number >= len(calls) - 2:
            findings.fail(Failure(NOT_REPAIRED, kind, f"status {status} of {what}", reproduce))
        if any(len(line) > 1000 for line in err.splitlines() if line.startswith("error: ")):
            findings.fail(Failure(LONG_ERRORS, kind, what[:300], reproduce))
        if show:
            print(f"{kind}: {call}\n    status {status}: {_last_line(err)}", file=sys.stderr)
    _check_server(template, findings, kind, f"state-files --seed {seed} --index {index}")
    if state.dead:
        shutil.rmtree(here)


def _prepare(template: Template, state: StateFile, kind: str) -> Path:
    """Return the folder in which a case's commands run, all files restored: the server's own, or a dead one's."""
    if state.dead:  # a copy that names itself, and a process that there is not
        here = Path(mkdtemp(prefix="attack-state-"))
        _copy_state(template.backup, here)
        for name in ("home/server.json", "home/config.properties"):
            text = (here / name).read_text().replace(f"{template.folder}/", f"{here}/")
            (here / name).write_text(text.replace(f"{template.server.pid}", f"{_DEAD_PID}"))
    else:
        here = template.folder
        _copy_state(template.backup, here)
    if kind == "journal of a killed rollout":
        _leave_under_way(here / state.path)
    return here


def _copy_state(source: Path, to: Path) -> None:
    """Copy all state files, whatever is in their places."""
    (to / "home").mkdir(exist_ok=True)
    for name in (*_FILES, *_FOLDERS):
        path = to / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        (shutil.copytree if name in _FOLDERS else shutil.copy)(source / name, path)


def _leave_under_way(path: Path) -> None:
    """Write into a journal what a killed rollout leaves."""
    journal = json.loads(path.read_text())
    journal["under_way"] = {
        "action": "register",
        "version": "1.2",
        "previous": "1.1",
        "step": "golden",
        "file": "tick-1.2.mar",
        "registers": True,
        "passed": False,
    }
    path.write_text(json.dumps(journal))


def _spoil(path: Path, random: Random) -> None:
    """Damage what is there, or put something else in its place."""
    chance = random.random()
    if chance < 0.75:
        damage(path, random)
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if chance < 0.8:
        return
    if chance < 0.85:
        path.mkdir()
    elif chance < 0.9:
        path.symlink_to(path)
    elif chance < 0.95:
        path.symlink_to("/dev/null")
    else:
        path.write_bytes(random.choice((b"", b"null", b"[]", b"{}", b"\0" * 4096, b"{" * 5000, b"\xff\xfe{\0}\0")))


def _check_server(template: Template, findings: Findings, kind: str, reproduce: str) -> None:
    """Check that the server serves what it served before; a rollback that a command requested is taken back."""
    _copy_state(template.backup, template.folder)
    manager = template.server.management()
    try:
        lost = template.versions - set(manager.versions(MODEL))
    except ManagementError as error:
        findings.fail(Failure(LOST, kind, f"all: {error}", reproduce))
        return
    for version in sorted(lost):
        findings.fail(Failure(LOST, kind, version, reproduce))
        file = {path.name for path in (template.folder / "store").glob("*.mar")} & {f"tick-{version}.mar", "tick.mar"}
        manager.register(max(file), model_name=MODEL, batch_size=1, max_batch_delay=1)
        manager.wait_ready(MODEL, version)
    manager.set_default(MODEL, template.default)


def _last_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line.strip("╰─╯ ")]
    telling = [
        line for line in lines if line.startswith("error: ") or re.match(r"[A-Za-z_.]+(Error|Exception)\b", line)
    ]
    return (telling or lines or [""])[-1][:250]
