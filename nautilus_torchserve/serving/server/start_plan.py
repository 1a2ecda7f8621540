"""The plan of a server's start: its configuration, with all checks that need no running server."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nautilus_torchserve.bundle import BUNDLE, WORKSPACE
from nautilus_torchserve.files.state_file import DamagedState
from nautilus_torchserve.serving.client.archive_import import TRUSTED_VARIABLE
from nautilus_torchserve.serving.server import environment
from nautilus_torchserve.serving.server.config import (
    LOAD_MODELS,
    MODEL_STORE,
    TRUSTED_KEYS,
    check_config,
    check_files,
    check_ports_are_free,
    configured_models,
    read_config,
    with_free_ports,
)
from nautilus_torchserve.serving.server.java import find_java_home
from nautilus_torchserve.serving.server.processes import CONFIG
from nautilus_torchserve.serving.server.properties import BadProperties, format_properties, read_properties
from nautilus_torchserve.serving.server.snapshot import PROPERTY, read_snapshot
from nautilus_torchserve.serving.server.state import STATE
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.names import check_model_name

DEFAULT_MODELS = {"tick": "tick.mar"}


class StartFailed(UserError):
    """The server cannot be started, or came up without its workers; the message says why."""


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a server's start."""

    models: Mapping[str, str] | None = None
    """Name -> archive in the model store: ``{"tick": "tick.mar"}``; None for the configuration's ``load_models``, else
    `DEFAULT_MODELS`. Without meaning where the configuration has a ``model_snapshot``, which says what is served."""
    model_store: Path | None = None
    """Folder of the archives; None for the configuration's ``model_store``, else ``archives`` of the current folder."""
    home: Path = WORKSPACE / ".server"
    """Working directory: keys, logs, temporary files, state. One server a home."""
    config: Path | None = BUNDLE / "config.properties"
    """Configuration to start from; None for TorchServe's defaults."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Changes to the configuration."""
    free_ports: bool = False
    """Take free ports instead of the configured ones."""
    ready_within_s: float = 120.0
    """Longest time for workers to load (seconds)."""
    trusted: Path | None = None
    """Folder of the keys whose signatures archives need; None for the configuration's ``trusted_keys``, else
    `TRUSTED_VARIABLE`, else archives are not verified."""
    fresh: bool = False
    """Start with the configuration's models also where rollouts have left other versions in the home."""
    remembered: Callable[[Path], Mapping[tuple[str, str], str]] | None = None
    """Model store -> model and version -> the digest with which it was rolled out."""


@dataclass(frozen=True)
class StartPlan:
    """A start that has passed its checks."""

    home: Path
    java_home: Path
    properties: Mapping[str, str]
    quiet: bool
    """Whether this project's log configuration is used."""
    digests: Mapping[tuple[str, str | None], str | None]
    """Model and version (None: its archive's) to be served -> the digest that was checked."""
    ready_within_s: float


def plan_start(settings: ServerSettings, running: Mapping[str, str] | None = None) -> StartPlan:
    """Check everything that can be checked without starting or stopping anything.

    Parameters
    ----------
    running : mapping, optional
        The properties of a server that is to be stopped first.

    Raises
    ------
    NoJava, StartFailed, UnreadableArchive, Untrusted
    OSError
        Too little free space.
    """
    # Not at the top: a host that only trades finds servers, and has no library for signatures.
    from nautilus_torchserve.serving.server.start_checks import check_archives, check_owner, check_space, folder_bytes

    home, java_home = settings.home, find_java_home()
    try:
        properties = _effective_properties(settings)
        check_files(properties)
        store = Path(properties[MODEL_STORE])
        served = served_archives(properties)
        check_ports_are_free(properties, running)
        format_properties(properties)
    except BadProperties as error:
        raise StartFailed(str(error)) from error
    trusted = properties.get(TRUSTED_KEYS)
    try:
        remembered = {} if settings.remembered is None or settings.fresh else settings.remembered(store)
    except DamagedState as error:
        raise StartFailed(f"{error}; where none runs, move {error.path} away and repair after the start") from error
    if trusted is not None:
        check_owner(home)
    checked = check_archives(store, served, None if trusted is None else Path(trusted), remembered)
    check_space(home, sum(archive.bytes for archive in checked.values()), folder_bytes(home / "tmp") if running else 0)
    digests = {key: archive.digest for key, archive in checked.items()}
    return StartPlan(home, java_home, properties, settings.config is not None, digests, settings.ready_within_s)


def served_archives(properties: Mapping[str, str]) -> dict[tuple[str, str | None], str]:
    """Return model and version (None: its archive's) -> file of the model store, of what these properties serve."""
    if PROPERTY in properties:
        return {(model, version): archive for (model, version), archive in read_snapshot(properties[PROPERTY]).items()}
    models = configured_models(properties, Path(properties[MODEL_STORE]))
    return {(model, None): archive for model, archive in models.items()}


def check_home(home: Path) -> None:
    """Refuse a home that no server can be started in, or whose files are not a server's and would be lost.

    Workers listen on a Unix socket in the home, whose path the kernel limits to 107 characters.
    """
    longest = home / "tmp" / ".ts.sock.65535"
    if len(str(longest)) > 107:
        raise StartFailed(
            f"{home}: expected a path of at most {107 - len('/tmp/.ts.sock.65535')} characters, got {len(str(home))}"
        )
    if not f"{home}".isprintable() or not _is_utf8(home):
        raise StartFailed(f"{str(home)!r:.200}: expected a path of printable UTF-8 characters, got others")
    others = [name for name in ("logs", "tmp") if (home / name).exists()]
    if others and not (home / CONFIG).is_file() and not (home / STATE).exists():
        raise StartFailed(
            f"{home}: expected an empty folder or one in which a server was started, got one with "
            f"{' and '.join(others)} but no {CONFIG}: a start would empty {others[0]}"
        )


def _check_places(settings: ServerSettings, store: Path) -> None:
    """Refuse a model store, or a configuration, that starting in this home would delete or replace."""
    if any(store.is_relative_to(settings.home / name) for name in ("logs", "tmp")):
        raise StartFailed(
            f"{store}: expected a model store outside of {settings.home}'s logs and tmp, which a start "
            "empties, got one inside"
        )
    if not _is_utf8(store):
        raise StartFailed(f"{str(store)!r:.200}: expected a path of UTF-8 characters, got others")


def _is_utf8(path: Path) -> bool:
    try:
        return bool(f"{path}".encode())
    except UnicodeEncodeError:
        return False


def _effective_properties(settings: ServerSettings) -> dict[str, str]:
    """Return the configuration with this start's changes, a model store and the models by name."""
    properties = {} if settings.config is None else read_config(settings.config)
    properties |= _left_by_rollouts(settings, properties)
    if settings.free_ports:
        properties = with_free_ports(properties)
    store = settings.model_store or Path(properties.get(MODEL_STORE, "archives")).resolve()
    if not store.is_dir():
        raise StartFailed(f"{store}: expected a model store, got no folder")
    _check_places(settings, store)
    models = settings.models
    if models is None:
        configured = LOAD_MODELS in properties or PROPERTY in properties
        models = configured_models(properties, store) if configured else DEFAULT_MODELS
    for name, archive in models.items():
        if re.search("[,=]", name) or "," in archive:
            raise StartFailed(
                f"{name}={archive}: expected a name and an archive without a comma, at which TorchServe cuts, got one"
            )
        check_model_name(name)
    names = ",".join(f"{name}={archive}" for name, archive in models.items())
    properties |= {MODEL_STORE: str(store), LOAD_MODELS: names} | dict(settings.properties)
    trusted = settings.trusted or properties.get(TRUSTED_KEYS) or os.environ.get(TRUSTED_VARIABLE)
    if trusted:
        properties[TRUSTED_KEYS] = str(Path(trusted).absolute())
    properties[environment.PROPERTY] = environment.withheld_names(properties)
    check_config(properties)
    return properties


def _left_by_rollouts(settings: ServerSettings, properties: Mapping[str, str]) -> dict[str, str]:
    """Return the home's entries on models, where rollouts have left a snapshot that this configuration lacks."""
    config = settings.home / CONFIG
    if settings.fresh or settings.config == config or not config.is_file():
        return {}
    try:
        previous = read_properties(config)
    except BadProperties as error:
        raise BadProperties(f"{error}: that is what ran in this home before; `start --fresh` replaces it") from error
    if previous.get(PROPERTY) in (None, properties.get(PROPERTY)):
        return {}
    try:
        versions = ", ".join(f"{model} {version}" for model, version in read_snapshot(previous[PROPERTY]))
    except ValueError as error:
        raise BadProperties(
            f"{config}: {PROPERTY}: expected TorchServe's JSON of models and versions, got "
            f"{previous[PROPERTY]!r:.100}: {str(error)!s:.100}: `start --fresh` ignores it"
        ) from error
    store = settings.model_store or Path(properties.get(MODEL_STORE, previous.get(MODEL_STORE, ""))).resolve()
    if settings.models is not None or str(store) != previous.get(MODEL_STORE):
        raise StartFailed(
            f"{settings.home}: expected no models and no other model store, as rollouts have left versions there, got "
            f"some: `nautilus-torchserve serve restart` serves {versions:.200} again, `start --fresh` forgets them"
        )
    return {key: previous[key] for key in (PROPERTY, MODEL_STORE, LOAD_MODELS) if key in previous}
