"""A TorchServe of one's own: started, ready, stopped, with nothing left behind."""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from nautilus_torchserve.files.state_file import DamagedState, set_aside
from nautilus_torchserve.serving import tokens
from nautilus_torchserve.serving.server.config import ADDRESSES, MODEL_STORE, address_of, is_true, read_config
from nautilus_torchserve.serving.server.launch import (
    exit_reason,
    has_dead_worker,
    launch,
    worker_death_reason,
    write_config,
)
from nautilus_torchserve.serving.server.management import ManagementClient, ManagementError, described_digest
from nautilus_torchserve.serving.server.processes import (
    CONFIG,
    end_processes,
    find_java,
    is_in_use,
    is_server,
    start_time_s,
)
from nautilus_torchserve.serving.server.properties import BadProperties
from nautilus_torchserve.serving.server.snapshot import PROPERTY, read_snapshot, take_snapshot
from nautilus_torchserve.serving.server.start_plan import (
    ServerSettings,
    StartFailed,
    StartPlan,
    check_home,
    plan_start,
    served_archives,
)
from nautilus_torchserve.serving.server.state import (
    STATE,
    ServerState,
    locked_home,
    read_server_state,
    write_server_state,
)
from nautilus_torchserve.serving.token_source import TokenSource
from nautilus_torchserve.user_error import UserError

_MIN_FREE_BYTES = 64 << 10
"""Free space below which a start has failed."""
RENEW_BEFORE_NS = 30_000_000_000
"""Time before a token's end at which commands renew it (nanoseconds)."""


class TorchServe:
    """A running server, started by `start_server` or found again by `find_server`.

    Attributes
    ----------
    inference_url, management_url, metrics_url : str
    home : Path
    pid : int
        Process id of Java.
    model_store : Path
        Folder of its archives.
    properties : mapping
        Configuration that it was started with.
    """

    def __init__(self, home: Path, pid: int, properties: Mapping[str, str], started_s: float | None = None) -> None:
        self.home = home
        self.pid = pid
        self.properties = properties
        self._started_s = started_s
        self.model_store = Path(properties["model_store"])
        self.inference_url, self.management_url, self.metrics_url = (
            address_of(properties, key).url for key in ADDRESSES
        )
        self._tokens_off = is_true(properties, "disable_token_authorization")

    @property
    def token(self) -> str | None:
        """Inference token; None where tokens are off."""
        return None if self._tokens_off else tokens.inference_token(self.home / tokens.KEY_FILE)

    @property
    def management_token(self) -> str | None:
        """Management token, which lets its holder run code on the server; None where tokens are off."""
        return None if self._tokens_off else tokens.read_key(self.home / tokens.KEY_FILE, "management").token

    def token_source(self, purpose: str) -> TokenSource | None:
        """Return a token that follows restarts and is renewed, ``inference`` or ``management``; None where tokens are
        off."""
        if self._tokens_off:
            return None
        return TokenSource(self.home / tokens.KEY_FILE, self.management_url, RENEW_BEFORE_NS, purpose)

    def management(self) -> ManagementClient:
        """Return a client of the management port, with its token."""
        return ManagementClient(self.management_url, self.token_source("management"))

    def is_running(self) -> bool:
        """Return whether the Java process lives."""
        return is_server(self.pid, self.home, self._started_s)

    def wait_ready(self, models: Iterable[tuple[str, str | None]], within_s: float) -> None:
        """Wait until models, in a version or in their default one, have their workers READY.

        ``/ping`` reports Healthy long before.

        Raises
        ------
        StartFailed
            It died, or they were not ready in time; the message has the reason and the place of the logs.
        """
        logs = f"logs: {self.home / 'logs'}"
        deadline = time.monotonic() + within_s
        waiting = list(models)
        while waiting:
            if not self.is_running():
                raise StartFailed(f"TorchServe ended while starting: {exit_reason(self.home)} ({logs})")
            if has_dead_worker(self.home):
                raise StartFailed(
                    f"a worker died while loading: {worker_death_reason(self.home, within_s=5.0)} ({logs})"
                )
            if shutil.disk_usage(self.home).free < _MIN_FREE_BYTES:
                raise StartFailed(f"{self.home}: expected free space while models are unpacked, got a full disk")
            if time.monotonic() > deadline:
                names = ", ".join("/".join(filter(None, model)) for model in waiting)
                raise StartFailed(f"expected READY workers of {names} within {within_s:g} s, got none ({logs})")
            try:
                manager = self.management()
                waiting = [model for model in waiting if not manager.is_ready(*model)]
            except (ManagementError, tokens.NoToken):
                pass  # the ports open one after the other; the deadline decides
            if waiting:
                time.sleep(0.05)

    def stop(self) -> None:
        """End what runs in the home, and remove state, keys and unpacked models; the logs stay.

        Raises
        ------
        HomeInUse, CannotEnd
        """
        stop_server(self.home)

    def __enter__(self) -> "TorchServe":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_server(settings: ServerSettings) -> TorchServe:
    """Start a server, and return it when its workers are ready.

    In a home where rollouts have left other versions than the configuration's, those are served again, unless
    ``models`` names others or ``fresh`` is set.

    Raises
    ------
    NoJava, StartFailed, UnreadableArchive, Untrusted
        Before anything is started where that can be checked: no Java, a port in use, no such model store, a missing,
        damaged, replaced or untrusted archive, a server already in this home, models that rollouts have left.
    HomeInUse
        Another start, restart or stop is under way there.
    """
    settings = replace(settings, home=settings.home.resolve())
    check_home(settings.home)  # before the home is made
    if settings.config is not None and settings.config.resolve() == settings.home / CONFIG:
        raise StartFailed(
            f"{settings.config}: expected a configuration outside of the home, where a start replaces "
            "it, got that one: `nautilus-torchserve serve restart` starts from it"
        )
    with locked_home(settings.home):
        _check_nothing_runs(settings.home)
        return _start(plan_start(settings))


def restart_server(
    home: Path,
    trusted: Path | None = None,
    remembered: Callable[[Path], Mapping[tuple[str, str], str]] | None = None,
) -> TorchServe:
    """Start again, on the same ports, what was started in this home; stop it first where it still runs.

    With the versions and the default that rollouts have left in the home's configuration, else with the models of the
    first start. The running server is stopped once everything that can be checked is; where the new start fails all the
    same, what ran before is started again.

    Raises
    ------
    StartFailed
        Nothing was ever started there, or the start failed; the message says what runs now.
    NoJava, UnreadableArchive, Untrusted, HomeInUse, CannotEnd
        As `start_server`; the running server was not touched.
    """
    home = home.resolve()
    if not (home / CONFIG).is_file():
        raise StartFailed(f"{home}: expected a home in which a server was started, got none with {CONFIG}")
    settings = ServerSettings(home=home, config=home / CONFIG, trusted=trusted, remembered=remembered)
    with locked_home(home):
        running = find_server(home)
        if running is None:
            _check_nothing_runs(home)
            return _start(plan_start(settings))
        plan = plan_start(settings, running.properties)
        before = _start_before(running, plan)
        _end(home)
        try:
            return _start(plan)
        except (UserError, OSError) as error:
            raise StartFailed(_bring_back(before, error)) from error


def stop_server(home: Path) -> int:
    """End what runs in a home, whatever its files say, and remove state, keys and unpacked models; the logs stay.

    Returns
    -------
    int
        Number of processes that were ended.

    Raises
    ------
    HomeInUse
        A start or restart is under way there.
    CannotEnd
    """
    home = home.resolve()
    if not home.is_dir():
        return 0
    with locked_home(home):
        return _end(home)


def find_server(home: Path) -> TorchServe | None:
    """Return the server that runs in this home, if any.

    Raises
    ------
    DamagedState
        One runs, but neither its state nor the home's configuration says how to reach it.
    """
    home = home.resolve()
    try:
        state = read_server_state(home)
    except FileNotFoundError:
        return None
    except DamagedState:
        pid = find_java(home)
        if pid is None:
            return None
        try:
            properties = read_config(home / CONFIG)
        except (BadProperties, OSError):
            properties = {}
        if MODEL_STORE not in properties:
            raise
        return TorchServe(home, pid, properties)
    if state.pid is None:
        return None
    server = TorchServe(home, state.pid, state.properties, state.started_s)
    return server if server.is_running() else None


def _check_nothing_runs(home: Path) -> None:
    """Refuse a home in which a server runs; end what a start that was killed has left."""
    if (running := find_server(home)) is not None:
        raise StartFailed(f"{home}: expected no running server, got one with process id {running.pid}")
    if not is_in_use(home):
        return
    try:
        interrupted = read_server_state(home).pid is None
    except (FileNotFoundError, DamagedState):
        interrupted = False
    if not interrupted:
        raise StartFailed(
            f"{home}: expected no running server, got processes that {STATE} does not record: "
            f"`nautilus-torchserve serve stop --home {home}` ends them"
        )
    _end(home)


def _start(plan: StartPlan) -> TorchServe:
    """Start a server in a home where none runs; when that fails, or is interrupted, nothing is left behind."""
    home, properties = plan.home, dict(plan.properties)
    _end(home)  # nothing runs, but something else may be in the place of its files
    try:
        write_server_state(home, ServerState(properties, starter=os.getpid()))
        write_config(home, properties)
        for name in ("logs", "tmp"):  # those of an earlier run would be taken for this one's
            shutil.rmtree(home / name, ignore_errors=True)
            (home / name).mkdir()
        (home / tokens.KEY_FILE).unlink(missing_ok=True)  # a token of an earlier run misleads
        pid = launch(plan)
        started_s = start_time_s(pid)
        server = TorchServe(home, pid, properties, started_s)
        server.wait_ready(plan.digests, plan.ready_within_s)
        _check_digests(server, plan.digests)
        write_server_state(home, ServerState(properties, pid, started_s))
        return server
    except BaseException:  # Ctrl-C too
        _end(home)
        raise


def _end(home: Path) -> int:
    """End what runs in a home, and remove what only a running server needs."""
    ended = end_processes(home)
    for path in (home / STATE, home / tokens.KEY_FILE):
        if path.is_dir() and not path.is_symlink():
            set_aside(path)
        path.unlink(missing_ok=True)
    shutil.rmtree(home / "tmp", ignore_errors=True)
    return ended


def _check_digests(server: TorchServe, digests: Mapping[tuple[str, str | None], str | None]) -> None:
    """Refuse workers that loaded other archives than those that were checked, replaced in between."""
    manager = server.management()
    for (model, version), digest in digests.items():
        if digest is None:
            continue
        status = manager.describe(model, version, customized=True)[0]
        loaded = described_digest(status)
        if loaded not in (None, digest):
            raise StartFailed(
                f"{model}: expected workers to load the archive with digest {digest}, which was checked, "
                f"got {loaded!s:.64}: it was replaced in {server.model_store} during the start"
            )


def _start_before(running: TorchServe, plan: StartPlan) -> StartPlan:
    """Return the plan that brings a running server back with the versions that it serves now."""
    properties = dict(running.properties)
    with suppress(ManagementError, tokens.NoToken):  # one that answers no more comes back with its first versions
        lasting = read_snapshot(plan.properties[PROPERTY]) if PROPERTY in plan.properties else {}
        properties[PROPERTY] = take_snapshot(running.management(), lasting)
    return replace(plan, properties=properties, digests=dict.fromkeys(served_archives(properties)))


def _bring_back(before: StartPlan, error: Exception) -> str:
    """Start what ran before a restart that failed; return a sentence on what happened."""
    home = before.home
    failed = home / f"{CONFIG}.failed"
    (home / CONFIG).replace(failed)
    try:
        server = _start(before)
    except (UserError, OSError) as second:
        failed.replace(home / CONFIG)
        return (
            f"the restart failed: {error}; what ran before could not be started again either: {second}; no server "
            f"runs in {home}"
        )
    return (
        f"the restart failed: {error}; what ran before runs again, process {server.pid}; the configuration that "
        f"failed is {failed}"
    )
