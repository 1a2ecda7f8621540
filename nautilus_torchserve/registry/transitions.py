"""Transitions of a version to staging, production or archived: on a server first, then as an alias of the registry."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nautilus_torchserve.mlflow_store import TrackingFailed
from nautilus_torchserve.registry.record import ARCHIVED, PRODUCTION, STAGING, RegisteredVersion
from nautilus_torchserve.registry.registry import Registry, RegistryRefused
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import locked, read_journal
from nautilus_torchserve.release.rollout.repair import recover
from nautilus_torchserve.release.rollout.report import Progress, RolloutReport, no_progress
from nautilus_torchserve.release.rollout.rollout import promote, register, remove
from nautilus_torchserve.release.rollout.status import ModelStatus, model_status
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.versions import archive_name


@dataclass(frozen=True)
class Transition:
    """Result of a transition of a version to an alias."""

    version: RegisteredVersion
    """The version as it is registered now."""
    alias: str
    report: RolloutReport | None
    """Report of the rollout; None where the server needed none."""
    unlabelled: str | None = None
    """Why the registry does not have the alias although the server is in that state."""

    @property
    def ok(self) -> bool:
        """Whether the alias is set, after a rollout where one was needed."""
        return self.unlabelled is None and (self.report is None or self.report.ok)

    def as_dict(self) -> dict[str, Any]:
        """Return the result in plain JSON types."""
        report = None if self.report is None else self.report.as_dict()
        return {
            "ok": self.ok,
            "unlabelled": self.unlabelled,
            "alias": self.alias,
            "version": self.version.as_dict(),
            "rollout": report,
        }


def differences(registered: Sequence[RegisteredVersion], on_server: ModelStatus) -> list[str]:
    """Describe where the registry of a model and a server contradict each other; empty where they agree."""
    lines = []
    production, staging = (
        next((version.version for version in registered if alias in version.aliases), None)
        for alias in (PRODUCTION, STAGING)
    )
    default = next((version.version for version in on_server.versions if version.default), None)
    if production != default:
        lines.append(f"production is {production or 'no version'}, the server's default version is {default or 'none'}")
    if staging is not None and staging not in {version.version for version in on_server.versions}:
        lines.append(f"staging is {staging}, which the server does not have")
    by_version = {version.version: version for version in registered}
    for served in on_server.versions:
        known = by_version.get(served.version)
        if known is None:
            lines.append(f"{served.version} is on the server, but not registered")
        elif served.digest != known.digest:
            lines.append(
                f"{served.version} has digest {served.digest[:12] or 'unknown'} on the server, "
                f"{known.digest[:12]} in the registry"
            )
    return lines


def transition(
    registry: Registry,
    target: Target,
    model: str,
    name: str,
    alias: str,
    trusted: Path,
    limits: Limits = Limits(),  # noqa: B008
    progress: Progress = no_progress,
    roll_out: bool = True,
) -> Transition:
    """Make a version staging, production or archived on a server, then set the alias.

    ``staging``: it is loaded and has passed the gates of a rollout, without being the default version. ``production``:
    it is the default one. ``archived``: it is not on the server any more; its archive stays in the registry.

    Parameters
    ----------
    name : str
        The version, or the alias it has now.
    trusted : Path
        Folder of the public keys whose signatures count.
    roll_out : bool
        False: the server must be in the alias's state already, by an earlier rollout.

    Raises
    ------
    RegistryRefused
        There is no such version, the server has other content under its number, it serves and cannot be
        staging or archived, or the server is not in the alias's state.
    RolloutRefused
        Another process changes the model on that server now.
    ManagementError, TrackingFailed
        The server or the registry does not respond.
    """
    version = registry.find(model, name)
    with locked(target, model, f"alias {alias}"):
        if read_journal(target, model).under_way is not None:  # a version that a killed rollout left is no candidate
            progress(f"{model}: {recover(target, model)}")
        action = _required_action(target, version, alias)
        if action is not None and not roll_out:
            raise RegistryRefused(
                f"{model} {version.version}: expected a server on which it is {alias} already, got one that has to "
                f"{action} it"
            )
        report = None
        if action is not None:
            report = _roll_out(action, registry, target, version, alias, trusted, limits, progress)
        if report is not None and not report.done:
            return Transition(version, alias, report)
        try:
            registry.set_alias(version, alias)
            return Transition(registry.find(model, version.version), alias, report)
        except TrackingFailed as error:
            if report is None:
                raise
            return Transition(version, alias, report, unlabelled=f"{error}")


def _required_action(
    target: Target, version: RegisteredVersion, alias: str
) -> Literal["register", "promote", "remove"] | None:
    """Return the action that brings the server into the alias's state; None where it is in that state."""
    what = f"{version.model} {version.version}"
    on_server = {status.version: status for status in model_status(target, version.model).versions}
    status = on_server.get(version.version)
    if status is not None and status.digest != version.digest and not (status.ghost and alias == ARCHIVED):
        raise RegistryRefused(
            f"{what}: expected the registered digest {version.digest[:12]} on the server, "
            f"got {status.digest[:12] or 'unknown'}"
        )
    serves = status is not None and status.default
    if serves and alias != PRODUCTION:
        raise RegistryRefused(
            f"{what}: expected a version that does not serve for {alias}, got the default one: make another version "
            "production first"
        )
    if not on_server and alias == STAGING:
        raise RegistryRefused(
            f"{what}: expected a serving version beside the staging one, got none: make the model's first version "
            "production"
        )
    if alias == ARCHIVED:
        return None if status is None else "remove"
    if status is None:
        return "register"
    return "promote" if alias == PRODUCTION and not serves else None


def _roll_out(
    action: str,
    registry: Registry,
    target: Target,
    version: RegisteredVersion,
    alias: str,
    trusted: Path,
    limits: Limits,
    progress: Progress,
) -> RolloutReport:
    model, number = version.model, version.version
    if action == "remove":
        return remove(target, model, number, limits, progress)
    if action == "promote":
        return promote(target, model, number, limits, progress)
    with tempfile.TemporaryDirectory(prefix="registered-") as folder:
        archive = Path(folder) / archive_name(model, number)
        registry.fetch(version, archive)
        return register(target, model, archive, trusted, limits, promote=alias == PRODUCTION, progress=progress)
