"""Versions on a server: what lasts of them over a restart, and how one goes without losing a request."""

import fcntl
import shutil
from dataclasses import replace
from pathlib import Path

from release.gates import GateFailed
from release.journal import FOLDER, journaled_models, read_journal, write_journal
from release.target import Target
from release.workers import wait_drained
from serving.archive_import import archive_digest, read_manifest
from serving.properties import set_property
from serving.snapshot import PROPERTY, take_snapshot
from wire.fresh_file import fresh_file, settle

DRAIN_WITHIN_S = 30.0
"""How long, beyond the quiet time itself, a version may go on being asked before that counts as being in use."""


def archive_name(model: str, version: str) -> str:
    """The name of a version's archive in the model store: no later version takes it."""
    return f"{model}-{version}.mar"


def save_snapshot(target: Target) -> None:
    """Write into the server's configuration what it serves now, where the target names that file."""
    if target.config is None:
        return
    with (target.model_store / FOLDER / "snapshot.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another model's rollout must not write what it saw before this change
        archives = {
            (model, version): file
            for model in journaled_models(target)
            for version, file in read_journal(target, model).files.items()
        }
        set_property(target.config, PROPERTY, take_snapshot(target.manager(), archives))


def adopt(target: Target, model: str, version: str) -> str | None:
    """Keep the serving version's archive under a lasting name, so that building the next one cannot overwrite it.

    Returns
    -------
    str or None
        The name; None where the file has changed since it was registered: a restart of the server cannot bring
        this version back.

    Raises
    ------
    GateFailed
        The server serves from another folder.
    """
    journal = read_journal(target, model)
    if version in journal.files:
        return journal.files[version]
    status = target.manager().describe(model, version, customized=True)[0]
    served = target.model_store / status["modelUrl"]
    if not served.is_file():
        raise GateFailed(f"{target.model_store}: the model store with {status['modelUrl']!r} expected, was without it")
    if not _is_archive(served, version, (status.get("customizedMetadata") or {}).get("archive_digest")):
        return None
    lasting = target.model_store / archive_name(model, version)
    if served != lasting:
        with fresh_file(target.model_store, f"{model}.mar") as file, served.open("rb") as archive:
            shutil.copyfileobj(archive, file)
            settle(file, lasting, 0o644)
    write_journal(target, model, replace(journal, files={**journal.files, version: lasting.name}))
    return lasting.name


def _is_archive(path: Path, version: str, digest: str | None) -> bool:
    """Whether a file is still what the server serves; plain TorchServe models say no digest."""
    if str(read_manifest(path)["model"]["modelVersion"]) != version:
        return False
    return digest is None or archive_digest(path) == digest


def quiet_time_s(target: Target, model: str, version: str, drain_s: float | None) -> float:
    """How long nothing must be asked until nothing can be running any more, seconds."""
    if drain_s is not None:
        return drain_s
    status = target.manager().versions(model).get(version)
    return 0.0 if status is None else float(status["responseTimeout"])


def drain(target: Target, model: str, version: str, drain_s: float | None) -> None:
    """Wait until a version is asked nothing any more; raises `GateFailed` when somebody goes on asking it."""
    wait_drained(target, model, version, quiet_time_s(target, model, version, drain_s), DRAIN_WITHIN_S)


def take_out(target: Target, model: str, version: str) -> None:
    """Unregister a version, and delete its archive where a rollout put it there. May be called again."""
    target.manager().unregister(model, version)
    forget(target, model, version)
    save_snapshot(target)


def forget(target: Target, model: str, version: str) -> None:
    """Delete an unregistered version's archive where it is ours, and what is remembered of it."""
    journal = read_journal(target, model)
    file = journal.files.get(version)
    if file is not None:
        (target.model_store / file).unlink(missing_ok=True)
    write_journal(target, model, journal.without(version))


def retire(target: Target, model: str, keep: int, drain_s: float | None) -> dict[str, list[str]]:
    """Remove former default versions but the last ``keep``; one that is still asked stays until the next time."""
    journal = read_journal(target, model)
    removed, in_use = [], []
    for version in journal.defaults[: -1 - keep]:
        try:
            drain(target, model, version, drain_s)
            take_out(target, model, version)
            removed.append(version)
        except GateFailed:
            in_use.append(version)
    return {"removed": removed, "kept": list(journal.defaults[-1 - keep : -1]), "still asked": in_use}
