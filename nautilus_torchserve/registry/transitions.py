"""What an alias means on a server: a version is staging, production or archived there first, by name afterwards."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nautilus_torchserve.mlflow_store import TrackingFailed
from nautilus_torchserve.registry.record import ARCHIVED, PRODUCTION, STAGING, RegisteredVersion
from nautilus_torchserve.registry.registry import Registry, RegistryRefused
from nautilus_torchserve.release.rollout.change import Say, say_nothing
from nautilus_torchserve.release.rollout.journal import locked, read_journal
from nautilus_torchserve.release.rollout.limits import Limits
from nautilus_torchserve.release.rollout.repair import recover
from nautilus_torchserve.release.rollout.report import Report
from nautilus_torchserve.release.rollout.rollout import promote, register, remove
from nautilus_torchserve.release.rollout.status import ModelStatus, model_status
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.versions import archive_name


@dataclass(frozen=True)
class Transition:
    """A version on its way to an alias."""

    version: RegisteredVersion
    """As it is registered now."""
    alias: str
    report: Report | None
    """What the rollout said; None where the server was already as the alias says."""
    unlabelled: str | None = None
    """Why the registry did not take the alias, although the server is as it says."""

    @property
    def ok(self) -> bool:
        """Whether the alias is set: it is when the rollout was carried out or none was needed."""
        return self.unlabelled is None and (self.report is None or self.report.ok)

    def as_dict(self) -> dict[str, Any]:
        """In plain JSON types."""
        report = None if self.report is None else self.report.as_dict()
        return {
            "ok": self.ok,
            "unlabelled": self.unlabelled,
            "alias": self.alias,
            "version": self.version.as_dict(),
            "rollout": report,
        }


def differences(registered: Sequence[RegisteredVersion], on_server: ModelStatus) -> list[str]:
    """Where a model's registry and a server contradict each other, in words; none: they agree."""
    found = []
    production, staging = (
        next((each.version for each in registered if alias in each.aliases), None) for alias in (PRODUCTION, STAGING)
    )
    default = next((each.version for each in on_server.versions if each.default), None)
    if production != default:
        found.append(f"production is {production or 'no version'}, the server's default version is {default or 'none'}")
    if staging is not None and staging not in {each.version for each in on_server.versions}:
        found.append(f"staging is {staging}, which the server does not have")
    by_version = {each.version: each for each in registered}
    for there in on_server.versions:
        known = by_version.get(there.version)
        if known is None:
            found.append(f"{there.version} is on the server, but not registered")
        elif there.digest != known.digest:
            found.append(
                f"{there.version} has digest {there.digest[:12] or 'unknown'} on the server, "
                f"{known.digest[:12]} was registered"
            )
    return found


def transition(
    registry: Registry,
    target: Target,
    model: str,
    name: str,
    alias: str,
    trusted: Path,
    limits: Limits = Limits(),  # noqa: B008
    say: Say = say_nothing,
    roll_out: bool = True,
) -> Transition:
    """Make a version staging, production or archived on a server, then set the alias.

    ``staging``: it is loaded, past the gates of a rollout, without being the default version. ``production``: it is
    the default one. ``archived``: it is not on the server any more; its archive stays in the registry.

    Parameters
    ----------
    name : str
        The version, or the alias it has now.
    trusted : Path
        Folder of the public keys whose signatures count.
    roll_out : bool
        False: the server must be as the alias says already, by a rollout before this.

    Raises
    ------
    RegistryRefused
        There is no such version, the server has other content under its number, it serves and cannot be
        staging or archived, or the server is not as it must be.
    RolloutRefused
        Somebody else changes the model on that server now.
    ManagementError, TrackingFailed
        The server or the registry does not answer.
    """
    version = registry.find(model, name)
    with locked(target, model, f"alias {alias}"):
        if read_journal(target, model).under_way is not None:  # what a killed rollout left is no candidate
            say(f"{model}: {recover(target, model)}")
        work = _needed(target, version, alias)
        if work is not None and not roll_out:
            raise RegistryRefused(
                f"{model} {version.version}: a server expected on which it is {alias} already, was "
                f"one that has to {work} it"
            )
        report = None
        if work is not None:
            report = _roll_out(work, registry, target, version, alias, trusted, limits, say)
        if report is not None and not report.done:
            return Transition(version, alias, report)
        try:
            registry.label(version, alias)
            return Transition(registry.find(model, version.version), alias, report)
        except TrackingFailed as error:
            if report is None:
                raise
            return Transition(version, alias, report, unlabelled=f"{error}")


def _needed(target: Target, version: RegisteredVersion, alias: str) -> Literal["register", "promote", "remove"] | None:
    """What brings the server to what the alias says; None where it is so already."""
    what = f"{version.model} {version.version}"
    on_server = {each.version: each for each in model_status(target, version.model).versions}
    there = on_server.get(version.version)
    if there is not None and there.digest != version.digest and not (there.ghost and alias == ARCHIVED):
        raise RegistryRefused(
            f"{what}: digest {version.digest[:12]} expected on the server, as registered, "
            f"was {there.digest[:12] or 'unknown'}"
        )
    serves = there is not None and there.default
    if serves and alias != PRODUCTION:
        raise RegistryRefused(
            f"{what}: a version that does not serve expected for {alias}, was the default one: make "
            "another version production first"
        )
    if not on_server and alias == STAGING:
        raise RegistryRefused(
            f"{what}: a version that serves expected beside the staging one, was none: a model's "
            "first version becomes production"
        )
    if alias == ARCHIVED:
        return None if there is None else "remove"
    if there is None:
        return "register"
    return "promote" if alias == PRODUCTION and not serves else None


def _roll_out(
    work: str,
    registry: Registry,
    target: Target,
    version: RegisteredVersion,
    alias: str,
    trusted: Path,
    limits: Limits,
    say: Say,
) -> Report:
    model, number = version.model, version.version
    if work == "remove":
        return remove(target, model, number, limits, say)
    if work == "promote":
        return promote(target, model, number, limits, say)
    with tempfile.TemporaryDirectory(prefix="registered-") as folder:
        archive = Path(folder) / archive_name(model, number)
        registry.fetch(version, archive)
        return register(target, model, archive, trusted, limits, promote=alias == PRODUCTION, say=say)
