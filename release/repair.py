"""Mending what a rollout left: one that failed, was interrupted, or whose process was killed."""

import time
from collections.abc import Callable
from dataclasses import replace

from release.gates import GateFailed
from release.journal import journaled_models, locked, read_journal, write_journal
from release.target import Target
from release.versions import drain, forget, retire, save_snapshot, take_out
from release.workers import is_ready, wait_loaded

LOADING_S = 30.0
"""How long a version may have no READY worker, nobody rolling it out, before it counts as failed."""


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
        if change.file is not None:
            write_journal(target, model, replace(journal, files={**journal.files, change.version: change.file}))
        try:
            drain(target, model, change.version, drain_s)
        except GateFailed:
            done.append(f"somebody goes on asking {change.version} by its own route")
        take_out(target, model, change.version)  # even so: it failed
        done.append(f"{change.version} is removed")
    _close(target, model)
    save_snapshot(target)
    return ", ".join(done) or "nothing had changed"


def finish(target: Target, model: str, keep: int = 1, drain_s: float | None = None) -> str:
    """Bring the change under way, whose gates are all behind it, to its end. May be called again."""
    change = read_journal(target, model).under_way
    assert change is not None
    if change.action == "remove":
        take_out(target, model, change.version)
    else:
        if change.action == "rollback":
            target.manager().set_default(model, change.version)
        settle(target, model)
        retire(target, model, keep, drain_s)
    _close(target, model)
    return f"{change.action} of {change.version} is finished"


def settle(target: Target, model: str) -> None:
    """Remember, of the change under way, what there is now: its archive, the default version, the server's snapshot."""
    journal = read_journal(target, model)
    change = journal.under_way
    assert change is not None
    if change.file is not None:
        journal = replace(journal, files={**journal.files, change.version: change.file})
    if change.action == "rollback" and change.previous is not None:  # there is no going back to that one
        journal = replace(journal, defaults=tuple(each for each in journal.defaults if each != change.previous))
    write_journal(target, model, journal.with_default(target.manager().default_version(model)))
    save_snapshot(target)


def mend(target: Target, model: str) -> str | None:
    """Undo or finish what a killed process left of a model's rollout, whose lock the caller holds.

    Returns what was done, in words; None where nothing was left.
    """
    change = read_journal(target, model).under_way
    if change is None:
        return None
    what = f"{change.action} of {change.version}, interrupted at {change.step!r}: "
    return what + (finish(target, model) if change.passed else undo(target, model))


def repair(target: Target, say: Callable[[str], None]) -> list[str]:
    """Mend all models: rollouts that were left, versions without workers, defaults that cannot answer.

    Returns
    -------
    list of str
        What was mended, in words; empty where all was well.

    Raises
    ------
    RolloutRefused
        A model is being rolled out right now.
    ManagementError
        The server cannot be reached.
    """
    mended: list[str] = []

    def note(text: str) -> None:
        mended.append(text)
        say(text)

    manager = target.manager()
    for model in sorted({*journaled_models(target), *manager.model_names()}):
        with locked(target, model, "repair"):
            if (done := mend(target, model)) is not None:
                note(f"{model}: {done}")
            _revive_default(target, model, note)
            _remove_ghosts(target, model, note)
    for leftover in sorted([*target.model_store.glob("*.adopted"), *target.model_store.glob(".*.mar.*")]):
        leftover.unlink()
        note(f"{leftover.name}: deleted, a copy that was never finished")
    if mended:
        save_snapshot(target)
    return mended


def _revive_default(target: Target, model: str, note: Callable[[str], None]) -> None:
    """A default version whose workers are gone is loaded again, else the last one before that can answer takes over."""
    manager = target.manager()
    versions, default = manager.versions(model), manager.default_version(model)
    if default is None or is_ready(versions[default]) or _becomes_ready(target, model, default):
        return
    if not versions[default]["workers"]:
        manager.scale_up(model, default, max(1, versions[default]["minWorkers"]))
        try:
            wait_loaded(manager, model, default, 1, LOADING_S)
            note(f"{model}: {default} had no workers; it is loaded again")
            return
        except GateFailed:
            pass  # it cannot be loaded: an earlier one takes over
    ready = [each for each in read_journal(target, model).defaults if each in versions and is_ready(versions[each])]
    if not ready:
        note(f"{model}: {default} cannot answer, and there is no earlier version that can")
        return
    manager.set_default(model, ready[-1])
    write_journal(target, model, read_journal(target, model).without(default).with_default(ready[-1]))
    note(f"{model}: {default} cannot answer; {ready[-1]} is the default version again")


def _remove_ghosts(target: Target, model: str, note: Callable[[str], None]) -> None:
    """Registrations that failed stay as versions without READY workers, and could be made the default one."""
    manager = target.manager()
    default = manager.default_version(model)
    for version, status in manager.versions(model).items():
        if version != default and not is_ready(status) and not _becomes_ready(target, model, version):
            manager.unregister(model, version)
            forget(target, model, version)
            note(f"{model}: {version} had no READY worker; it is removed")


def _becomes_ready(target: Target, model: str, version: str) -> bool:
    """Whether its workers come up by themselves, as after the death of one."""
    deadline = time.monotonic() + LOADING_S
    while time.monotonic() < deadline:
        status = target.manager().versions(model).get(version)
        if status is None or not status["workers"]:
            return False
        if is_ready(status):
            return True
        time.sleep(0.2)
    return False


def _close(target: Target, model: str) -> None:
    """The change under way has ended."""
    write_journal(target, model, replace(read_journal(target, model), under_way=None))
