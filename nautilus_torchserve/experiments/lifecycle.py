"""Steps common to canaries, shadows and experiments: checks of the challenger, its withdrawal, abandoned splits."""

import time

from nautilus_torchserve.release.rollout.journal import RolloutRefused, locked
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.workers import is_ready
from nautilus_torchserve.traffic.split import DAY_NS, Kind, Split, State, Unit
from nautilus_torchserve.traffic.store import SplitRefused, StoreFailed, TrafficStore
from nautilus_torchserve.wire.errors import RequestError

POLL_S = 0.2
WATCHED = (Kind.CANARY, Kind.SHADOW)
"""Splits that a process watches from begin to end, holding the model's rollout lock."""


def check_challenger(target: Target, model: str, challenger: str, baseline: str | None = None) -> tuple[str, str]:
    """Return the default version, and the challenger's content digest.

    Parameters
    ----------
    baseline : str, optional
        Required default version; None: whichever it is.

    Raises
    ------
    RolloutRefused
        The default version is another one, or the challenger is not registered, has no READY workers, gives no
        response, or is the default version already.
    """
    manager = target.manager()
    default = manager.default_version(model)
    if default is None:
        raise RolloutRefused(f"{model}: expected a registered model, got none")
    if challenger == default:
        raise RolloutRefused(f"{model}/{challenger}: expected another version than the default one, got that")
    status = manager.versions(model).get(challenger)
    if status is None or not is_ready(status):
        got = "none" if status is None else [worker["status"] for worker in status["workers"]]
        raise RolloutRefused(f"{model}/{challenger}: expected a registered version with READY workers, got {got}")
    try:
        with target.connect(model, challenger) as client:
            digest = client.metadata.archive_digest
    except RequestError as error:
        raise RolloutRefused(f"{model}/{challenger}: expected a version that responds, got {error}") from error
    if baseline not in (None, default):
        raise RolloutRefused(
            f"{model}: expected the baseline {baseline} as the server's default version, got {default}"
        )
    return default, digest


def start_split(
    store: TrafficStore,
    model: str,
    kind: Kind,
    baseline: str,
    challenger: str,
    share: float,
    unit: Unit = Unit.INSTRUMENT,
    slice_ns: int = DAY_NS,
) -> Split:
    """Start a split under a name of its own; raises as `TrafficStore.start`."""
    name = f"{model}-{kind}-{challenger}-{time.time_ns() // 1_000_000}"
    return store.start(Split(name, model, kind, baseline, challenger, share, unit, slice_ns))


def stop_split(store: TrafficStore, split: Split) -> str:
    """End a split as stopped, unless it has ended; where that fails, return a text to be added to the reason."""
    try:
        store.end(split.name, State.STOPPED)
    except SplitRefused:
        pass  # it has ended before
    except StoreFailed as error:
        return f"; {split.name} could not be ended and is still running: {error}"
    return ""


def wait_until_unused(store: TrafficStore, split: Split, settle_s: float, leave_s: float) -> list[str]:
    """Wait until no router uses the challenger of a split that has ended; return those that still do after the time.

    Parameters
    ----------
    settle_s : float
        How long routers may take to read that the split has ended, seconds.
    leave_s : float
        How long they may take to leave the challenger after that, seconds.
    """
    settled_ns = split.updated_ns + round(settle_s * 1e9)
    deadline = time.monotonic() + settle_s + leave_s
    while (users := store.users(split.model, split.challenger)) or time.time_ns() < settled_ns:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    return users


def end_abandoned(target: Target, store: TrafficStore, model: str) -> Split | None:
    """End a canary or shadow that is running although no process watches it, and return it; None where there is none.

    A canary whose challenger is the default version already was killed after its promotion and ends as promoted;
    any other ends as stopped. The challenger stays registered.

    Raises
    ------
    RolloutRefused
        Another process holds the model's lock: the split is not abandoned.
    """
    with locked(target, model, "repair"):
        split = store.running(model)
        if split is None or split.kind not in WATCHED:
            return None
        promoted = split.kind is Kind.CANARY and target.manager().default_version(model) == split.challenger
        return store.end(split.name, State.PROMOTED if promoted else State.STOPPED)
