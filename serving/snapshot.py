"""TorchServe's own record of what it serves, from which it comes back: ``model_snapshot`` of its configuration.

TorchServe would write one file for each change of a version, to be found by ``--ts-config`` only if somebody
passes the last one; a line in the configuration that the server is started from needs nobody.
"""

import json
from collections.abc import Mapping
from typing import Any

from serving.management import ManagementClient

PROPERTY = "model_snapshot"
_KEPT = ("maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "startupTimeout")


def take_snapshot(manager: ManagementClient, archives: Mapping[tuple[str, str], str] | None = None) -> str:
    """What is registered now, as the value of `PROPERTY`; versions without workers (failed ones) are left out.

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
    # The name and the time are of no use to anybody, but TorchServe wants them.
    return json.dumps({"name": "rollout", "modelCount": count, "created": 1, "models": models}, separators=(",", ":"))


def versions_of(snapshot: str) -> list[tuple[str, str]]:
    """Models and versions that a server started with this snapshot serves."""
    return [(model, version) for model, versions in json.loads(snapshot)["models"].items() for version in versions]


def archives_of(snapshot: str) -> set[str]:
    """Files of the model store that a server started with this snapshot needs."""
    return {each["marName"] for versions in json.loads(snapshot)["models"].values() for each in versions.values()}
