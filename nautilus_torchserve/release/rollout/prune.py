"""Removal of versions that were rolled back from: until then they keep their workers' memory."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import locked, read_journal
from nautilus_torchserve.release.rollout.report import UNRECORDED, Progress, no_progress
from nautilus_torchserve.release.rollout.rollout import remove
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.user_error import InvalidArgument

_MAX_AGE_S = 1e9


@dataclass(frozen=True)
class PruneResult:
    """Versions of a model that were rolled back from long enough ago: removed, kept or failed to be removed."""

    model: str
    removed: tuple[str, ...]
    """Drained and unregistered, with their archives deleted where rollouts had stored them."""
    kept: dict[str, str]
    """Version -> why it stays."""
    failed: dict[str, str]
    """Version -> why it could not be removed."""

    def lines(self) -> list[str]:
        """Return a line for each version removed or kept."""
        removed = [f"{self.model} {version}: removed" for version in self.removed]
        return removed + [f"{self.model} {version}: stays, {reason}" for version, reason in self.kept.items()]

    def failures(self) -> list[str]:
        """Return a line for each version that could not be removed."""
        return [f"{self.model} {version}: {reason}" for version, reason in self.failed.items()]


def prune(
    target: Target,
    model: str,
    older_than_s: float,
    splits: TrafficStore | None,
    limits: Limits = Limits(),  # noqa: B008
    progress: Progress = no_progress,
) -> PruneResult:
    """Remove versions that were rolled back from at least so long ago, unless something still uses them.

    The default version, a version that a router has instruments on, one of a running split, and one that still gets
    requests are never removed.

    Parameters
    ----------
    older_than_s : float
        Least time since the rollback, seconds.
    splits : TrafficStore or None
        The record of routers and splits; None where there is none.
    limits : Limits
        ``drain_s`` of the removals.

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
        newest = datetime.now(UTC) - timedelta(seconds=older_than_s)
        registered = target.manager().versions(model)
        for version, since in sorted(read_journal(target, model).rolled_back.items()):
            if version not in registered or since > newest:
                continue
            if (reason := _in_use(target, model, version, splits)) is not None:
                kept[version] = reason
                continue
            report = remove(target, model, version, limits, progress)
            if report.outcome in ("removed", UNRECORDED):
                removed.append(version)
            if not report.ok:
                (kept if report.failed_at == "drain" else failed)[version] = f"{report.failed_at}: {report.reason}"
    return PruneResult(model, tuple(removed), kept, failed)


def _in_use(target: Target, model: str, version: str, splits: TrafficStore | None) -> str | None:
    """Return the reason why a version is in use; None where it is not."""
    if target.manager().default_version(model) == version:
        return "it is the default version"
    if splits is None:
        return None
    split = splits.running(model)
    if split is not None and version in (split.baseline, split.challenger):
        return f"the running {split.kind} {split.name} uses it"
    if routers := splits.users(model, version):
        return f"routers have instruments on it: {', '.join(routers):.200}"
    return None
