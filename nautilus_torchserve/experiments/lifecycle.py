"""What canary and shadow share: whom they may try, and that no split goes on without anybody who watches it."""

from nautilus_torchserve.release.rollout.journal import RolloutRefused, lock_holder, locked
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.workers import is_ready
from nautilus_torchserve.traffic.split import Kind, Split, State
from nautilus_torchserve.traffic.store import SplitRefused, StoreFailed, TrafficStore
from nautilus_torchserve.wire.errors import RequestError

WATCHED = (Kind.CANARY, Kind.SHADOW)
"""Splits that a process stands by from begin to end, holding the model's rollout lock."""


def check_challenger(target: Target, model: str, challenger: str) -> tuple[str, str]:
    """The default version, and the challenger's content digest.

    Raises
    ------
    RolloutRefused
        The challenger is not registered, has no READY workers, gives no answer, or is the default version already.
    """
    manager = target.manager()
    baseline = manager.default_version(model)
    if baseline is None:
        raise RolloutRefused(f"{model}: a registered model expected, was none")
    if challenger == baseline:
        raise RolloutRefused(f"{model}/{challenger}: another version than the default one expected, was that")
    status = manager.versions(model).get(challenger)
    if status is None or not is_ready(status):
        was = "not registered" if status is None else [worker["status"] for worker in status["workers"]]
        raise RolloutRefused(f"{model}/{challenger}: a registered version with READY workers expected, was {was}")
    try:
        with target.connect(model, challenger) as client:
            return baseline, client.metadata.archive_digest
    except RequestError as error:
        raise RolloutRefused(f"{model}/{challenger}: a version that answers expected, was {error}") from error


def stop(store: TrafficStore, split: Split) -> str:
    """End a split as stopped, unless it has ended; in words, to be added to the reason, where that cannot be done."""
    try:
        store.end(split.name, State.STOPPED)
    except SplitRefused:
        pass  # ended before
    except StoreFailed as error:
        return f"; {split.name} could not be ended and is still running: {error}"
    return ""


def abandoned(target: Target, store: TrafficStore, model: str) -> Split | None:
    """A canary or shadow that is running although nobody watches it: its process was killed."""
    split = store.running(model)
    return split if split is not None and split.kind in WATCHED and lock_holder(target, model) is None else None


def end_abandoned(target: Target, store: TrafficStore, model: str) -> Split | None:
    """End a split that `abandoned` finds, and return it as it ended.

    A canary whose challenger is the default version already was killed after its promotion and ends as promoted;
    any other ends as stopped. The challenger stays registered.

    Raises
    ------
    RolloutRefused
        Somebody holds the model's lock: it is not abandoned.
    """
    with locked(target, model, "repair"):
        split = store.running(model)
        if split is None or split.kind not in WATCHED:
            return None
        promoted = split.kind is Kind.CANARY and target.manager().default_version(model) == split.challenger
        return store.end(split.name, State.PROMOTED if promoted else State.STOPPED)
