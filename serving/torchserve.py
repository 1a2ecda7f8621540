"""A TorchServe of one's own: started, really ready, stopped, nothing left behind."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving import environment, tokens
from serving.archive_import import check_handler
from serving.java import find_java_home
from serving.management import ManagementClient, ManagementError
from serving.processes import end_family, is_torchserve
from serving.properties import BadProperties, format_properties
from serving.server_config import (
    ADDRESSES,
    LOAD_MODELS,
    MODEL_STORE,
    address_of,
    check_config,
    check_ports_are_free,
    configured_models,
    is_true,
    launcher_environment,
    read_config,
    with_free_ports,
)
from serving.snapshot import PROPERTY, archives_of, versions_of
from serving.token_source import TokenSource
from wire.answer import MAX_RESPONSE_SIZE
from wire.user_error import UserError

PROJECT = Path(__file__).resolve().parent.parent
STATE = "server.json"
DEFAULT_MODELS = {"tick": "tick.mar"}
CONFIG = "config.properties"
RENEW_BEFORE_NS = 30_000_000_000
"""Time before a token's end at which commands renew it (nanoseconds)."""
"""In the home: what the server was really started from."""
_DEFAULT_MAX_RESPONSE_SIZE = "6553500"
"""TorchServe's own, bytes."""
_DIED = "Backend worker process died."
_TRACEBACK, _NEXT_WORKER = "Traceback (most recent call last):", "s_name_part0="
_UNKNOWN = "RuntimeError: 500 - Unknown exception"  # TorchServe's own, after any RuntimeError of a handler
"""What a worker says before the traceback of what it could not load."""
_EXCEPTION = re.compile(r"-std(?:out|err)(?: \S+)? - ([A-Za-z_][\w.]*(?:: .*)?)$", re.MULTILINE)


class StartFailed(UserError):
    """The server cannot be started, or came up without its workers; says why."""


@dataclass(frozen=True)
class ServerSettings:
    """How to start a server."""

    models: Mapping[str, str] | None = None
    """Name -> archive in the model store: ``{"tick": "tick.mar"}``; None for the configuration's ``load_models``, else
    `DEFAULT_MODELS`. Without meaning where the configuration has a ``model_snapshot``, which says what is served."""
    model_store: Path | None = None
    """Folder of the archives; None for the configuration's ``model_store``, else ``archives`` of the current folder."""
    home: Path = PROJECT / ".server"
    """Working directory: keys, logs, temporary files, state. One server a home."""
    config: Path | None = PROJECT / "config.properties"
    """What to start from; None for TorchServe's defaults."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Changes to the configuration."""
    free_ports: bool = False
    """Take free ports instead of the configured ones."""
    ready_within_s: float = 120.0
    """How long workers may take to load."""


class TorchServe:
    """A running server, started by `start_server` or found again by `find_server`.

    Attributes
    ----------
    inference_url, management_url, metrics_url : str
    home : Path
    pid : int
        Of the Java process.
    model_store : Path
        Folder of its archives.
    """

    def __init__(self, home: Path, pid: int, properties: Mapping[str, str]) -> None:
        self.home = home
        self.pid = pid
        self.model_store = Path(properties["model_store"])
        self.inference_url, self.management_url, self.metrics_url = (
            address_of(properties, key).url for key in ADDRESSES
        )
        self._tokens_off = is_true(properties, "disable_token_authorization")

    @property
    def token(self) -> str | None:
        """The inference token; None where tokens are off."""
        return None if self._tokens_off else tokens.inference_token(self.home / tokens.KEY_FILE)

    @property
    def management_token(self) -> str | None:
        """The management token; None where tokens are off."""
        return None if self._tokens_off else tokens.management_token(self.home / tokens.KEY_FILE)

    def token_source(self, purpose: str) -> TokenSource | None:
        """Return a token that follows restarts and is renewed, ``inference`` or ``management``; None where tokens are
        off."""
        if self._tokens_off:
            return None
        return TokenSource(self.home / tokens.KEY_FILE, self.management_url, RENEW_BEFORE_NS, purpose)

    def management(self) -> ManagementClient:
        """A client of the management port, with its token."""
        return ManagementClient(self.management_url, self.token_source("management"))

    def is_running(self) -> bool:
        """Whether the Java process lives."""
        return is_torchserve(self.pid)

    def _why_worker_died(self, within_s: float) -> str:
        """The exception's own line, which ends a traceback that comes line by line through a pipe.

        TorchServe logs a handler's RuntimeError before the worker dies, and any other exception after that.
        """
        deadline = time.monotonic() + within_s
        reasons: list[str] = []
        while not reasons and time.monotonic() < deadline:
            time.sleep(0.05)
            raised = self._log("model_log.log").partition(_TRACEBACK)[2].partition(_NEXT_WORKER)[0]
            reasons = [each for each in _EXCEPTION.findall(raised) if each != _UNKNOWN]
        return reasons[-1] if reasons else "for no reason that it gave"

    def _why_ended(self) -> str:
        """What TorchServe printed last before it ended: its own sentence, or Java's exception."""
        lines = self._log("console.log").splitlines()
        reasons = [line for line in lines if re.match(r"Invalid |(Caused by: )?[\w.]+(Exception|Error)\b", line)]
        return (reasons or list(filter(None, lines)) or ["for no reason that it gave"])[-1]

    def _log(self, name: str) -> str:
        path = self.home / "logs" / name
        return path.read_text(errors="replace") if path.is_file() else ""

    def wait_ready(self, models: Iterable[tuple[str, str | None]], within_s: float) -> None:
        """Wait until models, in a version or in their default one, have their workers READY.

        ``/ping`` says Healthy long before.

        Raises
        ------
        StartFailed
            It died, or they were not ready in time; says why, and where its logs are.
        """
        logs = f"logs: {self.home / 'logs'}"
        deadline = time.monotonic() + within_s
        waiting = list(models)
        while waiting:
            if not self.is_running():
                raise StartFailed(f"TorchServe ended while starting: {self._why_ended()} ({logs})")
            if _DIED in self._log("model_log.log"):
                raise StartFailed(f"a worker died while loading: {self._why_worker_died(within_s=5.0)} ({logs})")
            if time.monotonic() > deadline:
                names = ", ".join("/".join(filter(None, each)) for each in waiting)
                raise StartFailed(f"expected READY workers of {names} within {within_s:g} s, got none ({logs})")
            try:
                manager = self.management()
                waiting = [each for each in waiting if not manager.is_ready(*each)]
            except (ManagementError, tokens.NoToken):
                pass  # the ports open one after the other; the deadline decides
            if waiting:
                time.sleep(0.05)

    def stop(self) -> None:
        """End server and workers, and take away state, keys and unpacked models; the logs stay.

        By SIGKILL: on SIGTERM TorchServe resets what it is asked all the same, and starts workers anew while it ends.
        """
        end_family(self.pid)
        (self.home / STATE).unlink(missing_ok=True)
        (self.home / tokens.KEY_FILE).unlink(missing_ok=True)
        shutil.rmtree(self.home / "tmp", ignore_errors=True)

    def __enter__(self) -> "TorchServe":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_server(settings: ServerSettings) -> TorchServe:
    """Start a server and return when its workers are ready.

    Raises
    ------
    NoJava, StartFailed, UnreadableArchive
        Before anything is started where that can be known: no Java, a port in use, no such
        model store, a missing or damaged archive, a server already in this home.
    """
    java_home = find_java_home()
    _check_home(settings.home)
    if (running := find_server(settings.home)) is not None:
        raise StartFailed(f"{settings.home}: no running server expected, was one with process id {running.pid}")
    try:
        properties = _effective_properties(settings)
        model_store = Path(properties[MODEL_STORE])
        models, snapshot = configured_models(properties, model_store), properties.get(PROPERTY)
        _check_archives(model_store, archives_of(snapshot) if snapshot else set(models.values()))
        check_ports_are_free(properties)
        config = format_properties(properties)
    except BadProperties as error:
        raise StartFailed(str(error)) from error
    for name in ("logs", "tmp"):  # those of an earlier run would be taken for this one's
        shutil.rmtree(settings.home / name, ignore_errors=True)
        (settings.home / name).mkdir(parents=True)
    (settings.home / tokens.KEY_FILE).unlink(missing_ok=True)  # a token of an earlier run misleads
    (settings.home / CONFIG).write_text(config)
    pid = _launch(settings, properties, java_home)
    server = TorchServe(settings.home, pid, properties)
    (settings.home / STATE).write_text(json.dumps({"pid": pid, "properties": properties}))
    try:
        served = versions_of(snapshot) if snapshot else [(model, None) for model in models]
        server.wait_ready(served, settings.ready_within_s)
    except BaseException:  # Ctrl-C too: nothing may be left behind
        server.stop()
        raise
    return server


def restart_server(home: Path, ready_within_s: float = 120.0) -> TorchServe:
    """Start again, on the same ports, what was started in this home, stopping it first where it still runs.

    With the versions and the default that rollouts have left in the home's configuration, else with
    the models of the first start.

    Raises
    ------
    NoJava, StartFailed, UnreadableArchive
        Nothing was ever started there, or as `start_server`.
    """
    if (running := find_server(home)) is not None:
        running.stop()
    if not (home / CONFIG).is_file():
        raise StartFailed(f"{home}: a home in which a server was started expected, was without {CONFIG}")
    return start_server(ServerSettings(home=home, config=home / CONFIG, ready_within_s=ready_within_s))


def find_server(home: Path) -> TorchServe | None:
    """The server that runs in this home, if any."""
    try:
        state = json.loads((home / STATE).read_text())
    except FileNotFoundError:
        return None
    server = TorchServe(home, state["pid"], state["properties"])
    return server if server.is_running() else None


def _check_home(home: Path) -> None:
    """Workers listen on a Unix socket in the home, whose path the kernel limits to 107 characters."""
    longest = home / "tmp" / ".ts.sock.65535"
    if len(str(longest)) > 107:
        raise StartFailed(f"{home}: a path of at most {107 - len('/tmp/.ts.sock.65535')} characters expected, "
                          f"was {len(str(home))}")


def _check_archives(model_store: Path, archives: set[str]) -> None:
    if not model_store.is_dir():
        raise StartFailed(f"{model_store}: a model store expected, was no folder")
    for archive in sorted(archives):
        check_handler(model_store / archive)


def _effective_properties(settings: ServerSettings) -> dict[str, str]:
    """The configuration with this start's changes: always with a model store, and the models by name."""
    properties = {} if settings.config is None else read_config(settings.config)
    if settings.free_ports:
        properties = with_free_ports(properties)
    store = settings.model_store or Path(properties.get(MODEL_STORE, "archives")).resolve()
    models = settings.models
    if models is None:
        configured = LOAD_MODELS in properties or PROPERTY in properties
        models = configured_models(properties, store) if configured else DEFAULT_MODELS
    for name, archive in models.items():
        if re.search("[,=]", name) or "," in archive:
            raise StartFailed(f"{name}={archive}: expected a name and an archive without a comma, at which TorchServe "
                              "cuts, got one")
    names = ",".join(f"{name}={archive}" for name, archive in models.items())
    properties |= {MODEL_STORE: str(store), LOAD_MODELS: names} | dict(settings.properties)
    properties[environment.PROPERTY] = environment.withheld_names(properties)
    check_config(properties)
    return properties


def _launch(settings: ServerSettings, properties: Mapping[str, str], java_home: Path) -> int:
    """Start TorchServe's own launcher, which leaves the Java process running and ends."""
    home = settings.home
    variables = {
        **launcher_environment(properties),
        "JAVA_HOME": str(java_home),
        "PATH": f"{java_home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "TMPDIR": str(home / "tmp"),
        "TEMP": str(home / "tmp"),
        "LOG_LOCATION": str(home / "logs"),
        "METRICS_LOCATION": str(home / "logs"),
        MAX_RESPONSE_SIZE: properties.get("max_response_size", _DEFAULT_MAX_RESPONSE_SIZE),
    }
    command = [sys.executable, "-m", "ts.model_server", "--start", "--ncs"]
    command += ["--ts-config", str(home / CONFIG), "--model-store", properties[MODEL_STORE]]
    if settings.config is not None:
        command += ["--log-config", str(PROJECT / "deploy" / "log4j2.xml")]
    with (home / "logs" / "console.log").open("wb") as console:
        result = subprocess.run(
            command, cwd=home, env=variables, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            start_new_session=True, check=False,
        )  # a session of its own: Ctrl-C in the terminal reaches us, and we stop it in order
    pid_file = home / "tmp" / ".model_server.pid"
    if result.returncode or not pid_file.is_file():
        said = (home / "logs" / "console.log").read_text(errors="replace").split("\n")
        raise StartFailed(f"TorchServe's launcher failed: {' '.join(filter(None, said[-4:]))} (logs: {home / 'logs'})")
    return int(pid_file.read_text())
