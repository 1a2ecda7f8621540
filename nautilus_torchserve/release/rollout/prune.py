"""Versions that were rolled back from, unloaded after a while: each keeps its workers' memory."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nautilus_torchserve.release.rollout.change import Say, say_nothing
from nautilus_torchserve.release.rollout.journal import locked, read_journal
from nautilus_torchserve.release.rollout.limits import Limits
from nautilus_torchserve.release.rollout.report import UNRECORDED
from nautilus_torchserve.release.rollout.rollout import remove
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.user_error import InvalidArgument

_MAX_AGE_S = 1e9


@dataclass(frozen=True)
class Pruned:
    """What became of a model's versions that were rolled back from long enough ago."""

    model: str
    removed: tuple[str, ...]
    """Drained, unregistered, and their archives deleted where rollouts had stored them."""
    kept: dict[str, str]
    """Version -> why it stays for now."""
    failed: dict[str, str]
    """Version -> why it could not be removed."""


def prune(
    target: Target,
    model: str,
    older_than_s: float,
    splits: TrafficStore | None,
    limits: Limits = Limits(),  # noqa: B008
    say: Say = say_nothing,
) -> Pruned:
    """Remove what was rolled back from at least so long ago, unless something still uses it.

    Never removed are the default version, one that a router has instruments on, one of a running split, and one that
    still gets requests.

    Parameters
    ----------
    older_than_s : float
        Least time since the rollback, seconds.
    splits : TrafficStore or None
        Where routers and splits are recorded; None where there are none.
    limits : Limits
        Of the removal: ``drain_s``.

    Raises
    ------
    RolloutRefused
        Another rollout of the model is under way.
    DamagedState, StoreFailed, ManagementError
        Nothing was removed.
    """
    if not 0 <= older_than_s <= _MAX_AGE_S:
        raise InvalidArgument(f"expected a time of 0 to {_MAX_AGE_S:g} s since the rollback, got {older_than_s:g} s")
    removed: list[str] = []
    kept: dict[str, str] = {}
    failed: dict[str, str] = {}
    with locked(target, model, "prune"):
        due = datetime.now(UTC) - timedelta(seconds=older_than_s)
        registered = target.manager().versions(model)
        for version, since in sorted(read_journal(target, model).rolled_back.items()):
            if version not in registered or since > due:
                continue
            if (reason := _in_use(target, model, version, splits)) is not None:
                kept[version] = reason
                continue
            report = remove(target, model, version, limits, say)
            if report.outcome in ("removed", UNRECORDED):
                removed.append(version)
            if not report.ok:
                (kept if report.failed_at == "drain" else failed)[version] = f"{report.failed_at}: {report.reason}"
    return Pruned(model, tuple(removed), kept, failed)


def _in_use(target: Target, model: str, version: str, splits: TrafficStore | None) -> str | None:
    """Return what uses a version; None where nothing does."""
    if target.manager().default_version(model) == version:
        return "it is the default version"
    if splits is None:
        return None
    split = splits.running(model)
    if split is not None and version in (split.baseline, split.challenger):
        return f"the running {split.kind} {split.name} needs it"
    if routers := splits.users(model, version):
        return f"routers have instruments on it: {', '.join(routers):.200}"
    return None
