"""Recovery of what a rollout left: one that failed, was interrupted, or whose process was killed."""

import json
import os
import time

from msgspec.structs import replace

from nautilus_torchserve.files.atomic_file import remove_unsettled
from nautilus_torchserve.files.state_file import DamagedState, set_aside
from nautilus_torchserve.release.rollout.gates import GateFailed
from nautilus_torchserve.release.rollout.journal import (
    FOLDER,
    Journal,
    PendingChange,
    journaled_models,
    locked,
    read_journal,
    write_journal,
)
from nautilus_torchserve.release.rollout.report import Progress
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.versions import (
    archive_name,
    drain,
    forget,
    retire,
    save_snapshot,
    served_digest,
    unregister_and_delete,
)
from nautilus_torchserve.release.rollout.workers import is_ready, processes, wait_loaded, wait_registered
from nautilus_torchserve.serving.server.properties import BadProperties, read_properties
from nautilus_torchserve.serving.server.snapshot import PROPERTY, take_snapshot
from nautilus_torchserve.user_error import UserError, describe
from nautilus_torchserve.wire.names import is_model_name, is_version

LOADING_S = 30.0
"""Time that a version outside of a rollout may have no READY worker before it counts as failed."""
REGISTERED_WITHIN_S = 5.0
"""Time that TorchServe may take to list a version whose registration was interrupted before its response."""


class RepairFailed(UserError):
    """Something could not be repaired; the rest was."""


def undo(target: Target, model: str, drain_s: float | None = None) -> str:
    """Undo the change under way: the previous version is the default one again, and one it registered is removed.

    Returns what was done. May be called again where it was interrupted.
    """
    journal = read_journal(target, model)
    change = journal.under_way
    assert change is not None
    manager = target.manager()
    done = []
    if manager.default_version(model) == change.version and change.previous in manager.versions(model):
        assert change.previous is not None
        manager.set_default(model, change.previous)
        done.append(f"{change.previous} is the default version again")
    else:
        drain_s = 0.0  # only the rollout itself has sent it requests
    if change.registers:
        if change.step == "register":
            wait_registered(manager, model, change.version, REGISTERED_WITHIN_S)
        try:
            drain(target, model, change.version, drain_s)
        except GateFailed:
            done.append(f"{change.version} still gets requests by its own route")
        manager.unregister(model, change.version)  # all the same: it failed
        if change.file is not None:  # first, so that a full disk has space for what follows
            (target.model_store / change.file).unlink(missing_ok=True)
        journal = journal.without(change.version)
        done.append(f"{change.version} is removed")
    save_snapshot(target)
    write_journal(target, model, replace(journal, under_way=None))
    return ", ".join(done) or "nothing had changed"


def finish(target: Target, model: str) -> str:
    """Finish the change under way, which has passed all gates. May be called again."""
    change = read_journal(target, model).under_way
    assert change is not None
    if change.action == "remove":
        unregister_and_delete(target, model, change.version)
    else:
        if change.action == "rollback":
            target.manager().set_default(model, change.version)
        record(target, model)
        retire(target, model, keep=1, drain_s=None)
    write_journal(target, model, replace(read_journal(target, model), under_way=None))
    return f"{change.action} of {change.version} is finished"


def record(target: Target, model: str, change: PendingChange | None = None) -> None:
    """Record a change that was made: the archive and its digest, the default version, the server's snapshot.

    Parameters
    ----------
    change : PendingChange, optional
        None: the one that the journal has under way.
    """
    journal = read_journal(target, model)
    change = change or journal.under_way
    assert change is not None
    journal = replace(journal, digests={**journal.digests, change.version: change.digest})
    if change.file is not None:
        journal = replace(journal, files={**journal.files, change.version: change.file})
    if change.action == "rollback":
        journal = journal.after_rollback(change.version, change.previous)
    elif change.version in journal.rolled_back:  # it passed the gates again
        journal = replace(
            journal,
            rolled_back={version: since for version, since in journal.rolled_back.items() if version != change.version},
        )
    write_journal(target, model, journal.with_default(target.manager().default_version(model)))
    save_snapshot(target)


def recover(target: Target, model: str) -> str | None:
    """Undo or finish what a killed process left of a model's rollout; the caller holds the model's lock.

    Returns what was done; None where nothing was left.
    """
    change = read_journal(target, model).under_way
    if change is None:
        return None
    description = f"{change.action} of {change.version}, interrupted at {change.step!r}: "
    return description + (finish(target, model) if change.point_of_no_return else undo(target, model))


def repair(target: Target, progress: Progress) -> list[str]:
    """Recover all models: unfinished rollouts, damaged journals, versions without workers, dead default versions.

    Returns
    -------
    list of str
        What was repaired; empty where nothing had to be.

    Raises
    ------
    RepairFailed
        Something could not be repaired, or a model is being rolled out now; the rest was.
    ManagementError
        The server cannot be reached.
    """
    repaired: list[str] = []
    failed: list[str] = []

    def report_step(text: str) -> None:
        repaired.append(text)
        progress(text)

    names = target.manager().model_names()
    clear_places(target, report_step)
    for model in sorted({*journaled_models(target.model_store), *filter(is_model_name, names)}):
        try:
            with locked(target, model, "repair"):
                _repair_model(target, model, report_step)
        except (UserError, OSError) as error:
            failed.append(f"{model}: {describe(error) if isinstance(error, OSError) else error}")
    try:
        if repaired:
            save_snapshot(target)
        check_snapshot(target, report_step)
    except (UserError, OSError) as error:
        failed.append(describe(error) if isinstance(error, OSError) else f"{error}")
    if failed:
        raise RepairFailed("; ".join(failed))
    return repaired


def _repair_model(target: Target, model: str, progress: Progress) -> None:
    check_journal(target, model, progress)
    if (done := recover(target, model)) is not None:
        progress(f"{model}: {done}")
    _recover_dead_versions(target, model, progress)
    remove_unsettled(target.model_store, f"{model}.mar")
    remove_unsettled(target.model_store / FOLDER, f"{model}.json")


def _recover_dead_versions(target: Target, model: str, progress: Progress) -> None:
    """Load a default version without READY workers again, or replace it, and remove other versions without them.

    Failed registrations stay as such versions, and TorchServe would make one the default without notice.
    """
    manager = target.manager()
    dead = {version for version in manager.versions(model) if not _becomes_ready(target, model, version)}
    default = manager.default_version(model)
    if default in dead and _reload(target, model, default):
        dead.remove(default)
        progress(f"{model}: {default} had no workers; it is loaded again")
    elif default in dead:
        alive = manager.versions(model).keys() - dead
        ready = [earlier for earlier in read_journal(target, model).defaults if earlier in alive]
        if not ready:
            dead.remove(default)
            progress(f"{model}: {default} cannot respond, and there is no earlier version that can")
        else:
            manager.set_default(model, ready[-1])
            journal = read_journal(target, model)
            others = tuple(earlier for earlier in journal.defaults if earlier != default)
            write_journal(target, model, replace(journal, defaults=others).with_default(ready[-1]))
            progress(f"{model}: {default} cannot respond; {ready[-1]} is the default version again")
    for version in sorted(dead):
        manager.unregister(model, version)
        forget(target, model, version)
        progress(f"{model}: {version} had no READY worker; it is removed")


def _reload(target: Target, model: str, version: str) -> bool:
    """Load a version again whose workers TorchServe has given up on; return whether it came up."""
    manager = target.manager()
    status = manager.versions(model)[version]
    if status["workers"]:
        return False
    manager.scale_up(model, version, max(1, status["minWorkers"]))
    try:
        wait_loaded(manager, model, version, 1, LOADING_S)
    except GateFailed:
        return False
    return True


def _becomes_ready(target: Target, model: str, version: str) -> bool:
    """Return whether its workers come up by themselves, as after one died; those that die twice do not."""
    deadline = time.monotonic() + LOADING_S
    process_ids: dict[str, set[int]] = {}
    while time.monotonic() < deadline:
        status = target.manager().versions(model).get(version)
        if status is None or not status["workers"]:
            return False
        if is_ready(status):
            return True
        for worker, process_id in processes(status).items():
            process_ids.setdefault(worker, set()).add(process_id)
        if any(len(ids) > 2 for ids in process_ids.values()):
            return False
        time.sleep(0.2)
    return False


def clear_places(target: Target, progress: Progress) -> None:
    """Move aside what lies in the place of the journals' folder or of a lock file and cannot be one."""
    folder = target.model_store / FOLDER
    if os.path.lexists(folder) and not folder.is_dir():
        progress(
            f"{folder}: expected the folder of rollout journals, got none; what was there is {set_aside(folder).name}"
        )
    for path in sorted(folder.glob("*.lock")):
        if path.is_symlink() or not path.is_file():
            progress(f"{path}: expected a lock file, got none; what was there is {set_aside(path).name}")


def check_journal(target: Target, model: str, progress: Progress) -> None:
    """Rebuild a model's journal where it is damaged, and update it to the server's default version.

    The caller holds the model's lock. A damaged journal is kept beside the new one.
    """
    default = target.manager().default_version(model)
    try:
        journal = read_journal(target, model)
    except DamagedState as damaged:
        journal = _rebuilt(target, model, default)
        aside = set_aside(damaged.path)
        write_journal(target, model, journal)
        versions = ", ".join(sorted(target.manager().versions(model))) or "none"
        progress(
            f"{model}: the journal was damaged ({damaged.got}) and is {aside.name} now; the new one has the default "
            f"version {default or 'none'} and the registered versions {versions}. Lost: earlier default versions and "
            "those rolled back from (rollback --to names one), and a rollout under way (remove what it left)"
        )
        return
    if journal.defaults and journal.under_way is None and (updated := journal.with_server_default(default)) != journal:
        write_journal(target, model, updated)
        progress(f"{model}: {default} is recorded as the default version, as the server reports it")


def _rebuilt(target: Target, model: str, default: str | None) -> Journal:
    """Return a journal of what the server serves of a model."""
    manager = target.manager()
    files, digests = {}, {}
    for version, status in manager.versions(model).items():
        if not is_version(version):
            continue
        if status["workers"]:
            digests[version] = served_digest(target, model, version)
        if status["modelUrl"] == archive_name(model, version):
            files[version] = status["modelUrl"]
    return Journal((default,) if default is not None and is_version(default) else (), None, files, digests)


def check_snapshot(target: Target, progress: Progress) -> None:
    """Rewrite the server's snapshot where a restart would bring back other versions or another default version.

    A configuration without a snapshot stays as it is.
    """
    if target.config is None:
        return
    try:
        kept = read_properties(target.config).get(PROPERTY)
    except BadProperties as damaged:
        raise DamagedState(
            target.config,
            "the configuration that the server was started from",
            f"{damaged}",
            "replace it; a restart of the server needs it",
        ) from damaged
    if kept is not None and _defaults(kept) != _defaults(take_snapshot(target.manager())):
        save_snapshot(target)
        progress(f"{target.config}: {PROPERTY} is what the server serves now")


def _defaults(snapshot: str) -> dict[tuple[str, str], bool] | None:
    """Return model and version -> whether it is the default one; None for what is no snapshot."""
    try:
        models = json.loads(snapshot)["models"]
        return {
            (model, version): entry["defaultVersion"]
            for model, versions in models.items()
            for version, entry in versions.items()
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
