"""Versions on a server: what a restart restores of them, and how one is removed without losing a request."""

import fcntl
import re
import shutil
from pathlib import Path

from msgspec.structs import replace

from nautilus_torchserve.files.atomic_file import fresh_file, settle
from nautilus_torchserve.files.state_file import DamagedState
from nautilus_torchserve.release.rollout.gates import GateFailed
from nautilus_torchserve.release.rollout.journal import journaled_models, open_lock, read_journal, write_journal
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.workers import wait_drained
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive, archive_digest, read_manifest
from nautilus_torchserve.serving.server.management import described_digest
from nautilus_torchserve.serving.server.properties import read_properties, set_property
from nautilus_torchserve.serving.server.snapshot import PROPERTY, read_snapshot, take_snapshot
from nautilus_torchserve.wire.names import check_model_name, check_version

DRAIN_WITHIN_S = 30.0
"""Time beyond the quiet time itself that a version may keep getting requests before it counts as in use."""


def archive_name(model: str, version: str) -> str:
    """Return the name of a version's archive in the model store: no later version takes it."""
    return f"{check_model_name(model)}-{check_version(version)}.mar"


def save_snapshot(target: Target) -> None:
    """Write what the server serves now into its configuration, where the target names that file."""
    if target.config is None:
        return
    with open_lock(target, "snapshot") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another model's rollout must not write a state from before this change
        previous = _snapshot_archives(read_properties(target.config).get(PROPERTY, ""))
        archives: dict[tuple[str, str], str] = {}
        for model in journaled_models(target.model_store):
            try:
                archives |= {(model, version): file for version, file in read_journal(target, model).files.items()}
            except DamagedState:  # another model's: its archives stay as they are
                archives |= {key: file for key, file in previous.items() if key[0] == model}
        set_property(target.config, PROPERTY, take_snapshot(target.manager(), archives))


def _snapshot_archives(snapshot: str) -> dict[tuple[str, str], str]:
    """Return the archives that a snapshot names, by model and version; none for what is no snapshot."""
    try:
        return read_snapshot(snapshot)
    except ValueError:
        return {}


def adopt(target: Target, model: str, version: str) -> str | None:
    """Copy the serving version's archive to a name of its own, so that packing the next one cannot overwrite it.

    Returns
    -------
    str or None
        The name; None where the file has changed since it was registered: a restart of the server cannot restore
        this version.

    Raises
    ------
    GateFailed
        The server serves from another folder.
    """
    journal = read_journal(target, model)
    kept = journal.files.get(version)
    if kept is not None and version in journal.digests and (target.model_store / kept).is_file():
        return kept
    digest = served_digest(target, model, version)
    file = target.manager().describe(model, version)[0]["modelUrl"]
    served = target.model_store / file
    if not served.is_file():
        raise GateFailed(f"{target.model_store}: expected the model store with {file!r}, got one without")
    if not _is_archive(served, version, digest):
        return None
    lasting = target.model_store / archive_name(model, version)
    if served != lasting:
        with fresh_file(target.model_store, f"{model}.mar") as file, served.open("rb") as archive:
            shutil.copyfileobj(archive, file)
            settle(file, lasting, 0o644)
    files, digests = {**journal.files, version: lasting.name}, {**journal.digests, version: digest}
    write_journal(target, model, replace(journal, files=files, digests=digests))
    return lasting.name


def served_digest(target: Target, model: str, version: str) -> str:
    """Return the content digest that a version's workers report; empty where they do not."""
    digest = described_digest(target.manager().describe(model, version, customized=True)[0])
    return digest if isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) else ""


def digest_of_file(archive: Path) -> str:
    """Return an archive's digest; empty where it cannot be read, which does not matter to a loaded version."""
    try:
        return archive_digest(archive)
    except UnreadableArchive:
        return ""


def _is_archive(path: Path, version: str, digest: str) -> bool:
    """Return whether a file is still what the server serves."""
    if str(read_manifest(path)["model"]["modelVersion"]) != version:
        return False
    return not digest or archive_digest(path) == digest


def drain(target: Target, model: str, version: str, drain_s: float | None) -> None:
    """Wait until a version gets no requests any more; raises `GateFailed` where it keeps getting them."""
    if drain_s is None:
        status = target.manager().versions(model).get(version)
        drain_s = 0.0 if status is None else float(status["responseTimeout"])
    wait_drained(target, model, version, drain_s, DRAIN_WITHIN_S)


def unregister_and_delete(target: Target, model: str, version: str) -> None:
    """Unregister a version, and delete its archive where a rollout stored it. May be called again."""
    target.manager().unregister(model, version)
    forget(target, model, version)
    save_snapshot(target)


def forget(target: Target, model: str, version: str) -> None:
    """Delete an unregistered version's archive where a rollout stored it, and its entries in the journal."""
    journal = read_journal(target, model)
    file = journal.files.get(version)
    if file is not None:
        (target.model_store / file).unlink(missing_ok=True)
    write_journal(target, model, journal.without(version))


def retire(target: Target, model: str, keep: int, drain_s: float | None) -> dict[str, list[str]]:
    """Remove earlier default versions except the last ``keep``; one that still gets requests stays until next time."""
    journal = read_journal(target, model)
    removed, in_use = [], []
    for version in journal.defaults[: -1 - keep]:
        try:
            drain(target, model, version, drain_s)
            unregister_and_delete(target, model, version)
            removed.append(version)
        except GateFailed:
            in_use.append(version)
    return {"removed": removed, "kept": list(journal.defaults[-1 - keep : -1]), "still asked": in_use}
