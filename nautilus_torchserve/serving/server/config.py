"""Configuration of a server: a file of the user's or of another company's, with the changes of one start."""

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from nautilus_torchserve.serving.client.archive_file import read_manifest
from nautilus_torchserve.serving.server.environment import server_environment
from nautilus_torchserve.serving.server.properties import BadProperties, find_line, read_properties
from nautilus_torchserve.serving.server.snapshot import PROPERTY, read_snapshot

LOAD_MODELS = "load_models"
MODEL_STORE = "model_store"
ADDRESSES = {
    "inference_address": (8080, 80, 443),
    "management_address": (8081, 8081, 8444),
    "metrics_address": (8082, 8082, 8445),
}
"""Key -> the port of TorchServe's default address, and those of ``http://`` and ``https://`` addresses without one."""
_GRPC_PORTS = ("grpc_inference_port", "grpc_management_port")
_WORKER_PORT = "initial_worker_port"
"""Names the workers' Unix sockets."""
_ADDRESS = re.compile(r"(https?)://([^:/^]+)(?::([0-9]+))?", re.IGNORECASE)
"""TorchServe's own pattern, without Unix sockets."""
TRUSTED_KEYS = "trusted_keys"
"""Folder of the keys whose signatures archives need (`signing.trust`). A property of this
project's: TorchServe ignores it, and started by itself loads whatever lies in the model store."""
_INCLUDE = "include"
"""Another configuration, whose properties count where this one has none; also this project's alone."""
_FILES = ("certificate_file", "cpp_log_config", "keystore", "metrics_config", "private_key_file")
_PATHS = (*_FILES, TRUSTED_KEYS, "workflow_store")
_VARIABLE = re.compile(r"\$\$([^$]+)\$\$")
_READ_HERE = (
    *ADDRESSES,
    *_GRPC_PORTS,
    _WORKER_PORT,
    *_PATHS,
    LOAD_MODELS,
    MODEL_STORE,
    PROPERTY,
    "disable_token_authorization",
)
"""Properties that this side needs to know; all others are TorchServe's alone."""


class Address(NamedTuple):
    """Address of one of the server's ports."""

    scheme: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """``http://127.0.0.1:8080``."""
        return f"{self.scheme}://{self.host}:{self.port}"


def read_config(path: Path) -> dict[str, str]:
    """Read a configuration and check what this side needs of it.

    Environment variables are filled in as TorchServe does it: ``$$NAME$$``, and ``TS_...`` where
    ``enable_envvars_config`` is true. Relative paths become absolute, from the folder of the configuration. What an
    included configuration says counts where this one does not say it.

    Raises
    ------
    BadProperties
        Something that TorchServe, or this side, cannot use; names file and line.
    """
    if not path.is_file():
        raise BadProperties(f"{path}: expected a configuration, got no file")
    properties = read_properties(path)
    for key in _READ_HERE:
        for name in _VARIABLE.findall(properties.get(key, "")):
            if name not in os.environ:
                place = _place(path, key)
                raise BadProperties(f"{place}{key}: expected the environment variable {name}, got none", key)
            properties[key] = properties[key].replace(f"$${name}$$", os.environ[name])
    if is_true(properties, "enable_envvars_config"):
        variables = {key: f"TS_{key.upper()}" for key in _READ_HERE if key != PROPERTY}
        properties |= {key: os.environ[name] for key, name in variables.items() if name in os.environ}
    for key in (*_PATHS, MODEL_STORE):
        if key in properties:
            properties[key] = str((path.parent / properties[key]).resolve())
    try:
        check_config(properties)
    except BadProperties as error:
        raise BadProperties(f"{_place(path, error.key)}{error}") from error
    if _INCLUDE not in properties:
        return properties
    included = (path.parent / properties.pop(_INCLUDE)).resolve()
    if included.is_file() and _INCLUDE in read_properties(included):
        raise BadProperties(
            f"{_place(path, _INCLUDE)}{_INCLUDE}: expected a configuration that includes no other, got {included}",
            _INCLUDE,
        )
    return read_config(included) | properties


def check_config(properties: Mapping[str, str]) -> None:
    """Refuse addresses, ports and a snapshot that no server can be started with, or none that is reached over TCP."""
    for key in ADDRESSES:
        address_of(properties, key)
    for key in (*_GRPC_PORTS, _WORKER_PORT):
        _check_port(properties, key, properties.get(key, "1"))
    if PROPERTY in properties:
        try:
            read_snapshot(properties[PROPERTY])
        except ValueError as error:
            raise BadProperties(
                f"{PROPERTY}: expected TorchServe's JSON of models and versions, "
                f"got {properties[PROPERTY]!r:.100}: {str(error)!s:.100}",
                PROPERTY,
            ) from error


def check_files(properties: Mapping[str, str]) -> None:
    """Refuse a property that names a file which is not there: TorchServe or its workers would die of it."""
    for key in _FILES:
        if key in properties and not Path(properties[key]).is_file():
            raise BadProperties(f"{key}={properties[key]}: expected a file, got none", key)


def address_of(properties: Mapping[str, str], key: str) -> Address:
    """Return where a port is, by the property or TorchServe's default.

    Raises
    ------
    BadProperties
        An address that TorchServe refuses, or a Unix socket, on which it would not be reached.
    """
    default, http, https = ADDRESSES[key]
    value = properties.get(key, f"http://127.0.0.1:{default}")
    match = _ADDRESS.fullmatch(value)
    if match is None:
        reason = ""
        if value.lower().startswith("unix:"):
            reason = ": strategies, rollouts and metrics reach a server over TCP only"
        elif "[" in value:
            reason = ": TorchServe 0.12 takes no IPv6 address; use 127.0.0.1, 0.0.0.0 or a host name"
        raise BadProperties(f"{key}: expected http://HOST:PORT or https://HOST:PORT, got {value!r:.200}{reason}", key)
    scheme, host, port = match[1].lower(), match[2], match[3]
    return Address(scheme, host, _check_port(properties, key, port or str(https if scheme == "https" else http)))


def configured_models(properties: Mapping[str, str], model_store: Path) -> dict[str, str]:
    """Return name -> archive as ``load_models`` has them: ``name=archive``, ``archive``, or ``all`` of the model store.

    Raises
    ------
    UnreadableArchive
        An archive that is to say its own name, but does not.
    """
    value = properties.get(LOAD_MODELS, "")
    if value.lower() == "all":
        value = ",".join(sorted(path.name for path in model_store.glob("*.mar")))
    models = {}
    for entry in filter(None, value.split(",")):
        name, equals, archive = entry.partition("=")
        if equals:
            models[name] = archive
        else:
            models[str(read_manifest(model_store / entry)["model"]["modelName"])] = entry
    return models


def is_true(properties: Mapping[str, str], key: str) -> bool:
    """Return whether a property is ``true`` to Java; unset is false."""
    return properties.get(key, "").lower() == "true"


def with_free_ports(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties with ports that are free now, on loopback."""
    ports = iter(free_ports(len(ADDRESSES) + len(_GRPC_PORTS) + 1))
    changed = {key: f"http://127.0.0.1:{next(ports)}" for key in ADDRESSES}
    return {**properties, **changed, **{key: str(next(ports)) for key in (*_GRPC_PORTS, _WORKER_PORT)}}


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for bound in sockets:
            bound.bind(("127.0.0.1", 0))
        return [bound.getsockname()[1] for bound in sockets]
    finally:
        for bound in sockets:
            bound.close()


def check_ports_are_free(properties: Mapping[str, str], held_by: Mapping[str, str] | None = None) -> None:
    """Refuse ports that are in use, by the property that names them.

    Parameters
    ----------
    held_by : mapping, optional
        The properties of a running server that will have given its ports back.
    """
    held = set() if held_by is None else set(_ports(held_by).values())
    for key, end in _ports(properties).items():
        if end in held:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(end)
            except (OSError, TypeError, UnicodeError) as error:  # a name that cannot be one of a host
                value = properties.get(key, f"http://{end[0]}:{end[1]}")
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
                raise BadProperties(f"{key}={value:.200}: expected a free port, got {reason}", key) from error


def _ports(properties: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """Return property -> host and port."""
    ends = {key: address_of(properties, key)[1:] for key in ADDRESSES}
    return ends | {key: ("127.0.0.1", int(properties[key])) for key in _GRPC_PORTS if key in properties}


def launcher_environment(properties: Mapping[str, str]) -> dict[str, str]:
    """Return what TorchServe may have of this process's environment, without what would win over the properties."""
    overriding = {"TS_CONFIG_FILE", *(f"TS_{key.upper()}" for key in _READ_HERE)}
    return {name: value for name, value in server_environment(properties).items() if name not in overriding}


def _check_port(properties: Mapping[str, str], key: str, port: str) -> int:
    if not (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65535):
        raise BadProperties(f"{key}: expected a port from 1 to 65534, got {properties[key]!r:.200}", key)
    return int(port)


def _place(path: Path, key: str) -> str:
    line = find_line(path, key)
    return f"{path}: " if line is None else f"{path}:{line}: "
