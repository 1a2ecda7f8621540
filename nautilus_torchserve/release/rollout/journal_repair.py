"""Journals, locks and snapshots that are damaged or behind the server, made anew from what the server serves."""

import json
import os
from collections.abc import Callable

from nautilus_torchserve.files.state_file import DamagedState, set_aside
from nautilus_torchserve.release.rollout.journal import FOLDER, Journal, read_journal, write_journal
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.versions import archive_name, save_snapshot, served_digest
from nautilus_torchserve.serving.server.properties import BadProperties, read_properties
from nautilus_torchserve.serving.server.snapshot import PROPERTY, take_snapshot
from nautilus_torchserve.wire.names import is_version

Note = Callable[[str], None]
"""Takes what was repaired, in a sentence."""


def clear_places(target: Target, note: Note) -> None:
    """Set aside what lies in the place of the journals' folder or of a lock file and cannot be one."""
    folder = target.model_store / FOLDER
    if os.path.lexists(folder) and not folder.is_dir():
        note(f"{folder}: expected the folder of rollout journals, got none; what was there is {set_aside(folder).name}")
    for path in sorted(folder.glob("*.lock")):
        if path.is_symlink() or not path.is_file():
            note(f"{path}: expected a lock file, got none; what was there is {set_aside(path).name}")


def check_journal(target: Target, model: str, note: Note) -> None:
    """Rebuild a model's journal where it is damaged, and bring it up to the server's default version.

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
        note(
            f"{model}: its journal was damaged ({damaged.found}) and is {aside.name} now; a new one has the default "
            f"version {default or 'none'} and the registered versions {versions}. Lost: which versions were the "
            "default one or rolled back from (rollback --to names one), and a rollout under way (remove what it left)"
        )
        return
    if journal.defaults and journal.under_way is None and (learned := journal.learned(default)) != journal:
        write_journal(target, model, learned)
        note(f"{model}: {default} is remembered as the default version, as the server says")


def _rebuilt(target: Target, model: str, default: str | None) -> Journal:
    """Return what the server tells of a model."""
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


def check_snapshot(target: Target, note: Note) -> None:
    """Write the server's snapshot anew where a restart would bring back other versions or another default one.

    A configuration without a snapshot has none that could be wrong.
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
            "put one in its place; a restart of the server needs it",
        ) from damaged
    if kept is not None and _defaults(kept) != _defaults(take_snapshot(target.manager())):
        save_snapshot(target)
        note(f"{target.config}: {PROPERTY} is as the server serves now")


def _defaults(snapshot: str) -> dict[tuple[str, str], bool] | None:
    """Return model and version -> whether it is the default one; None of what is no snapshot."""
    try:
        models = json.loads(snapshot)["models"]
        return {
            (model, version): entry["defaultVersion"]
            for model, versions in models.items()
            for version, entry in versions.items()
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
