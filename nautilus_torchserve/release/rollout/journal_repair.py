"""Repair of journals, locks and snapshots that are damaged or behind the server, from what the server serves."""

import json
import os

from nautilus_torchserve.files.state_file import DamagedState, set_aside
from nautilus_torchserve.release.rollout.journal import FOLDER, Journal, read_journal, write_journal
from nautilus_torchserve.release.rollout.report import Progress
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.versions import archive_name, save_snapshot, served_digest
from nautilus_torchserve.serving.server.properties import BadProperties, read_properties
from nautilus_torchserve.serving.server.snapshot import PROPERTY, take_snapshot
from nautilus_torchserve.wire.names import is_version


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
            digests[version] = served_digest(manager.describe(model, version, customized=True)[0])
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
