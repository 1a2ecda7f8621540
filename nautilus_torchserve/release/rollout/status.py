"""Status of a server's models: versions, workers, digests, and what is being changed."""

from dataclasses import dataclass
from typing import Any

from nautilus_torchserve.files.state_file import DamagedState
from nautilus_torchserve.release.rollout.journal import Journal, journaled_models, lock_holder, read_journal
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.versions import digest_of_file, served_digest
from nautilus_torchserve.release.rollout.workers import is_ready
from nautilus_torchserve.traffic.split import Split
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.wire.names import is_model_name


@dataclass(frozen=True)
class VersionStatus:
    """One registered version."""

    version: str
    default: bool
    """Whether requests without a version go to it."""
    workers: tuple[str, ...]
    """Status of each worker."""
    ghost: bool
    """Whether the version cannot respond: no workers, or one that is not READY."""
    archive: str
    """File of the version in the model store."""
    digest: str
    """Content digest that its workers report, or of its file where it cannot respond; empty where neither is known."""
    waiting: int
    """Requests in its queue."""


@dataclass(frozen=True)
class ModelStatus:
    """One model."""

    model: str
    versions: tuple[VersionStatus, ...]
    earlier: tuple[str, ...]
    """Former default versions that a rollback can go back to, the next one last."""
    under_way: str | None
    """The process that changes it now."""
    left: str | None
    """State that a killed rollout left, or damage of its journal; `repair` recovers it."""
    split: Split | None
    """The traffic split that routers of strategies follow."""


def model_status(target: Target, model: str, store: TrafficStore | None = None) -> ModelStatus:
    """Return the status of a model.

    Raises
    ------
    ManagementError
        The server cannot be reached.
    """
    manager = target.manager()
    default = manager.default_version(model)
    versions = manager.versions(model)
    journal, damage = _journal(target, model)
    earlier = tuple(version for version in journal.defaults if version in versions and version != default)
    return ModelStatus(
        model,
        tuple(_version(target, model, version, status, version == default) for version, status in versions.items()),
        earlier,
        holder := lock_holder(target, model) if is_model_name(model) else None,
        damage or (_left(journal) if holder is None else None),
        None if store is None else store.running(model),
    )


def known_models(target: Target) -> list[str]:
    """Return the models that are registered or were ever rolled out."""
    return sorted({*target.manager().model_names(), *journaled_models(target.model_store)})


def _version(target: Target, model: str, version: str, status: dict[str, Any], default: bool) -> VersionStatus:
    ghost = not is_ready(status)
    return VersionStatus(
        version,
        default,
        tuple(worker["status"] for worker in status["workers"]),
        ghost,
        status["modelUrl"],
        digest_of_file(target.model_store / status["modelUrl"]) if ghost else served_digest(target, model, version),
        status["jobQueueStatus"]["pendingRequests"],
    )


def _journal(target: Target, model: str) -> tuple[Journal, str | None]:
    """Return a model's journal, and how it is damaged."""
    if not is_model_name(model):  # registered by others, and never rolled out
        return Journal(), None
    try:
        return read_journal(target, model), None
    except DamagedState as damaged:
        return Journal(), f"{damaged}"


def _left(journal: Journal) -> str | None:
    change = journal.under_way
    return None if change is None else f"{change.action} of {change.version} was left at {change.step!r}: repair it"
