"""TorchServe's own record of what it serves, from which it comes back: ``model_snapshot`` of its configuration.

TorchServe would write one file for each change of a version, of which ``--ts-config`` has to name the last one; a line
in the configuration that the server is started from needs no such care.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from nautilus_torchserve.serving.server.management import ManagementClient

PROPERTY = "model_snapshot"
_KEPT = ("maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "startupTimeout")


def take_snapshot(manager: ManagementClient, archives: Mapping[tuple[str, str], str] | None = None) -> str:
    """Return what is registered, as the value of `PROPERTY`; versions without workers (failed ones) are left out.

    ``archives`` names, by model and version, files of the model store with the same content as those that were
    registered, and lasting names.
    """
    archives = archives or {}
    models: dict[str, dict[str, Any]] = {}
    for model in manager.model_names():
        default = manager.default_version(model)
        for status in manager.describe(model, "all"):
            if status["workers"]:
                version = status["modelVersion"]
                models.setdefault(model, {})[version] = {
                    "defaultVersion": version == default,
                    "marName": archives.get((model, version), status["modelUrl"]),
                    "minWorkers": len(status["workers"]),
                    **{name: status[name] for name in _KEPT},
                }
    count = sum(len(versions) for versions in models.values())
    # Nothing reads the name and the time, but TorchServe requires them.
    return json.dumps({"name": "rollout", "modelCount": count, "created": 1, "models": models}, separators=(",", ":"))


class _Version(msgspec.Struct):
    """Fields of one version that are read; TorchServe writes more."""

    archive: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(name="marName")


class _Snapshot(msgspec.Struct):
    models: dict[str, Annotated[dict[str, _Version], msgspec.Meta(min_length=1)]]


def read_snapshot(text: str) -> dict[tuple[str, str], str]:
    """Return model and version -> file of the model store, of what a server started with this snapshot serves.

    Raises
    ------
    ValueError
        It is no snapshot.
    """
    try:
        models = msgspec.json.decode(text, type=_Snapshot).models
    except UnicodeEncodeError:
        raise ValueError("expected text, got lone surrogates") from None
    except RecursionError:
        raise ValueError("expected a snapshot, got JSON that is nested too deeply") from None
    return {(model, name): version.archive for model, versions in models.items() for name, version in versions.items()}
