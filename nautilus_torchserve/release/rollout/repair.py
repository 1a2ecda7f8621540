"""Mending what a rollout left: one that failed, was interrupted, or whose process was killed."""

import time
from collections.abc import Callable

from msgspec.structs import replace

from nautilus_torchserve.files.atomic_file import remove_unsettled
from nautilus_torchserve.release.rollout.gates import GateFailed
from nautilus_torchserve.release.rollout.journal import (
    FOLDER,
    UnderWay,
    journaled_models,
    locked,
    read_journal,
    write_journal,
)
from nautilus_torchserve.release.rollout.journal_repair import check_journal, check_snapshot, clear_places
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.versions import drain, forget, retire, save_snapshot, unregister_and_delete
from nautilus_torchserve.release.rollout.workers import is_ready, processes, wait_loaded, wait_registered
from nautilus_torchserve.user_error import UserError, describe
from nautilus_torchserve.wire.names import is_model_name


class RepairFailed(UserError):
    """Something could not be repaired; the rest was."""


LOADING_S = 30.0
"""How long a version may have no READY worker, nobody rolling it out, before it counts as failed."""

REGISTERED_WITHIN_S = 5.0
"""How long TorchServe may take to list a version whose registration was interrupted before its response came."""


def undo(target: Target, model: str, drain_s: float | None = None) -> str:
    """Take back the change under way: the version before is the default one again; one that came with it goes.

    Returns what was done, in words. May be called again where it was interrupted.
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
        drain_s = 0.0  # nobody but the rollout itself has asked it
    if change.registers:
        if change.step == "register":
            wait_registered(manager, model, change.version, REGISTERED_WITHIN_S)
        try:
            drain(target, model, change.version, drain_s)
        except GateFailed:
            done.append(f"{change.version} still gets requests by its own route")
        manager.unregister(model, change.version)  # even so: it failed
        if change.file is not None:  # first, so that a full disk has space for what follows
            (target.model_store / change.file).unlink(missing_ok=True)
        journal = journal.without(change.version)
        done.append(f"{change.version} is removed")
    save_snapshot(target)
    write_journal(target, model, replace(journal, under_way=None))
    return ", ".join(done) or "nothing had changed"


def finish(target: Target, model: str, keep: int = 1, drain_s: float | None = None) -> str:
    """Bring the change under way, whose gates are all behind it, to its end. May be called again."""
    change = read_journal(target, model).under_way
    assert change is not None
    if change.action == "remove":
        unregister_and_delete(target, model, change.version)
    else:
        if change.action == "rollback":
            target.manager().set_default(model, change.version)
        commit(target, model)
        retire(target, model, keep, drain_s)
    _close(target, model)
    return f"{change.action} of {change.version} is finished"


def commit(target: Target, model: str) -> None:
    """Remember, of the change under way, what there is now: its archive, the default version, the server's snapshot."""
    change = read_journal(target, model).under_way
    assert change is not None
    remember(target, model, change)


def remember(target: Target, model: str, change: UnderWay) -> None:
    """Write down what a change has brought: the archive and its digest, the default version, the server's snapshot."""
    journal = read_journal(target, model)
    journal = replace(journal, digests={**journal.digests, change.version: change.digest})
    if change.file is not None:
        journal = replace(journal, files={**journal.files, change.version: change.file})
    if change.action == "rollback":
        journal = journal.went_back(change.version, change.previous)
    elif change.version in journal.rolled_back:  # it has passed the gates again
        journal = replace(
            journal,
            rolled_back={version: since for version, since in journal.rolled_back.items() if version != change.version},
        )
    write_journal(target, model, journal.with_default(target.manager().default_version(model)))
    save_snapshot(target)


def recover(target: Target, model: str) -> str | None:
    """Undo or finish what a killed process left of a model's rollout, whose lock the caller holds.

    Returns what was done, in words; None where nothing was left.
    """
    change = read_journal(target, model).under_way
    if change is None:
        return None
    what = f"{change.action} of {change.version}, interrupted at {change.step!r}: "
    return what + (finish(target, model) if change.passed else undo(target, model))


def repair(target: Target, say: Callable[[str], None]) -> list[str]:
    """Recover all models: rollouts that were left, damaged journals, versions without workers, dead defaults.

    Returns
    -------
    list of str
        What was repaired, in words; empty where all was well.

    Raises
    ------
    RepairFailed
        Some of it could not be repaired, or a model is being rolled out right now; the rest was.
    ManagementError
        The server cannot be reached.
    """
    mended: list[str] = []
    failed: list[str] = []

    def note(text: str) -> None:
        mended.append(text)
        say(text)

    names = target.manager().model_names()
    clear_places(target, note)
    for model in sorted({*journaled_models(target.model_store), *filter(is_model_name, names)}):
        try:
            with locked(target, model, "repair"):
                _repair_model(target, model, note)
        except (UserError, OSError) as error:
            failed.append(f"{model}: {describe(error) if isinstance(error, OSError) else error}")
    try:
        if mended:
            save_snapshot(target)
        check_snapshot(target, note)
    except (UserError, OSError) as error:
        failed.append(describe(error) if isinstance(error, OSError) else f"{error}")
    if failed:
        raise RepairFailed("; ".join(failed))
    return mended


def _repair_model(target: Target, model: str, note: Callable[[str], None]) -> None:
    check_journal(target, model, note)
    if (done := recover(target, model)) is not None:
        note(f"{model}: {done}")
    _mend_dead(target, model, note)
    remove_unsettled(target.model_store, f"{model}.mar")
    remove_unsettled(target.model_store / FOLDER, f"{model}.json")


def _mend_dead(target: Target, model: str, note: Callable[[str], None]) -> None:
    """Versions without READY workers: a default one is loaded again or replaced, others go.

    Registrations that failed stay as such versions, and TorchServe would make one the default without a word.
    """
    manager = target.manager()
    dead = {version for version in manager.versions(model) if not _becomes_ready(target, model, version)}
    default = manager.default_version(model)
    if default in dead and _revived(target, model, default):
        dead.remove(default)
        note(f"{model}: {default} had no workers; it is loaded again")
    elif default in dead:
        ready = [each for each in read_journal(target, model).defaults if each in manager.versions(model).keys() - dead]
        if not ready:
            dead.remove(default)
            note(f"{model}: {default} cannot answer, and there is no earlier version that can")
        else:
            manager.set_default(model, ready[-1])
            journal = read_journal(target, model)
            former = tuple(each for each in journal.defaults if each != default)
            write_journal(target, model, replace(journal, defaults=former).with_default(ready[-1]))
            note(f"{model}: {default} cannot answer; {ready[-1]} is the default version again")
    for version in sorted(dead):
        manager.unregister(model, version)
        forget(target, model, version)
        note(f"{model}: {version} had no READY worker; it is removed")


def _revived(target: Target, model: str, version: str) -> bool:
    """Whether a version whose workers TorchServe has given up on comes up once more."""
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
    """Whether its workers come up by themselves, as after the death of one; those that die twice do not."""
    deadline = time.monotonic() + LOADING_S
    lives: dict[str, set[int]] = {}
    while time.monotonic() < deadline:
        status = target.manager().versions(model).get(version)
        if status is None or not status["workers"]:
            return False
        if is_ready(status):
            return True
        for worker, process in processes(status).items():
            lives.setdefault(worker, set()).add(process)
        if any(len(each) > 2 for each in lives.values()):
            return False
        time.sleep(0.2)
    return False


def _close(target: Target, model: str) -> None:
    """The change under way has ended."""
    write_journal(target, model, replace(read_journal(target, model), under_way=None))
