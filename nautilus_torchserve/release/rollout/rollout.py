"""Rollouts: new versions into service and out of it, without losing a request.

The order of the steps follows from TorchServe: it ends running requests of a version that is unregistered or scaled
down, stalls clients during a synchronous registration, and makes a version without workers the default one without
notice.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nautilus_torchserve.release.rollout.change import Change, carry_out
from nautilus_torchserve.release.rollout.gates import (
    GateFailed,
    Limits,
    check_parity,
    compare_latency,
    golden_inputs,
    predict_golden,
    read_archived_golden,
)
from nautilus_torchserve.release.rollout.journal import PendingChange, RolloutRefused
from nautilus_torchserve.release.rollout.model_store import store_verified
from nautilus_torchserve.release.rollout.observation import ErrorBaseline, observe
from nautilus_torchserve.release.rollout.repair import record
from nautilus_torchserve.release.rollout.report import Progress, RolloutReport, no_progress
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.versions import (
    adopt,
    archive_name,
    digest_of_file,
    drain,
    retire,
    served_digest,
    unregister_and_delete,
)
from nautilus_torchserve.release.rollout.workers import is_ready, wait_loaded
from nautilus_torchserve.serving.client.archive_file import archive_digest, open_archive, read_manifest
from nautilus_torchserve.serving.server.management import ManagementError
from nautilus_torchserve.signing.archive_signature import verify_archive

DEFAULTS = Limits()
_MAX_CONFIG_BYTES = 1 << 20


def register(
    target: Target,
    model: str,
    archive: Path,
    trusted: Path,
    limits: Limits = DEFAULTS,
    promote: bool = True,
    progress: Progress = no_progress,
) -> RolloutReport:
    """Load a signed archive beside the serving version, gate it, and make it the default version.

    Parameters
    ----------
    model : str
        The name it is served under.
    trusted : Path
        Folder of public keys; an archive signed by none of them never reaches the model store.
    promote : bool
        False: it is loaded and gated, and stays a candidate for a canary, an experiment or a shadow.
    progress : callable
        Takes each step's name when it begins.

    Returns
    -------
    RolloutReport
        Where a gate failed, ``ok`` is False, and everything is as before.

    Raises
    ------
    RolloutRefused
        Nothing was begun.
    """

    def work(change: Change) -> str:
        error_baseline = ErrorBaseline(target)
        if _is_serving(change, archive, trusted):
            return "nothing to do"
        _load_new_version(change, archive, trusted, limits)
        archive_path = target.model_store / archive_name(model, change.version)
        serving_p95_ms, inputs = _run_gates(change, archive_path, limits)
        if not promote and change.previous is not None:  # TorchServe makes a first version the default one itself
            change.reach_point_of_no_return()
            with change.step("remember"):
                record(target, model)
            change.end()
            return "candidate"
        _make_default(change, inputs, serving_p95_ms, error_baseline, limits)
        return "serving"

    return carry_out(target, model, "register", progress, work, limits.drain_s)


def promote(
    target: Target, model: str, version: str, limits: Limits = DEFAULTS, progress: Progress = no_progress
) -> RolloutReport:
    """Gate a registered version again and make it the default one; returns and raises as `register`."""

    def work(change: Change) -> str:
        error_baseline = ErrorBaseline(target)
        status = _registered_status(change, version)
        if version == change.previous:
            change.version = version
            return "nothing to do"
        archive = target.model_store / status["modelUrl"]
        change.begin(version, archive_digest(archive))
        _adopt_previous(change)
        serving_p95_ms, inputs = _run_gates(change, archive, limits)
        _make_default(change, inputs, serving_p95_ms, error_baseline, limits)
        return "serving"

    return carry_out(target, model, "promote", progress, work, limits.drain_s)


def rollback(target: Target, model: str, to: str | None = None, progress: Progress = no_progress) -> RolloutReport:
    """Make the previous default version, or another earlier one, the default again, at once.

    The version rolled back from stays loaded; no later rollback goes to it, or to any default version between the two.
    A rollback needs no free space: what cannot be recorded then (outcome ``unrecorded``) the next rollout or repair
    reads from the server. Golden requests follow the switch (``unchecked`` where their outputs are wrong).
    """

    def work(change: Change) -> str:
        manager = target.manager()
        version = _rollback_version(change, to)
        status = _registered_status(change, version)
        if version == change.previous:
            change.version = version
            return "nothing to do"
        if not is_ready(status):
            with change.step("load"):
                manager.scale_up(model, version, max(1, status["minWorkers"]))
                wait_loaded(manager, model, version, 1, DEFAULTS.ready_within_s)
        archive = target.model_store / status["modelUrl"]
        change.begin(version, digest_of_file(archive))
        change.reach_point_of_no_return()  # a rollback is not undone
        with change.step("set default"):
            manager.set_default(model, version)
        change.switched = True
        with change.step("remember"), change.recording():
            record(target, model, PendingChange("rollback", version, change.previous, digest=change.digest))
        change.end()
        with change.step("golden") as measured, change.recording(), target.connect(model) as client:
            golden = read_archived_golden(archive)
            measured["max_error"] = check_parity(predict_golden(client, golden, version, change.digest), golden)
        return "serving"

    return carry_out(target, model, "rollback", progress, work, 0.0, urgent=True)


def _rollback_version(change: Change, to: str | None) -> str:
    """Return the version that a rollback goes to."""
    journal, model = change.journal(), change.model
    if to is not None and to in journal.rolled_back:
        raise RolloutRefused(
            f"{model}: expected a version that was not rolled back from, got {to}, at "
            f"{journal.rolled_back[to].isoformat()}: promote it, which gates it again"
        )
    registered = change.target.manager().versions(model)
    earlier = [version for version in journal.defaults[:-1] if version in registered]
    if to is None and not earlier:
        raise RolloutRefused(
            f"{model}: expected an earlier default version to go back to, got none (--to names a "
            f"registered one: {sorted(registered)})"
        )
    return to if to is not None else earlier[-1]


def remove(
    target: Target, model: str, version: str, limits: Limits = DEFAULTS, progress: Progress = no_progress
) -> RolloutReport:
    """Drain and unregister a version that is not the default one.

    Its archive is deleted where a rollout stored it. Returns and raises as `register`.
    """

    def work(change: Change) -> str:
        status = _registered_status(change, version)
        if version == change.previous:
            raise RolloutRefused(f"{model}: expected a version that is not the default one, got {version}")
        archive = target.model_store / status["modelUrl"]
        change.begin(version, digest_of_file(archive))
        with change.step("drain"):
            drain(target, model, version, limits.drain_s)
        change.reach_point_of_no_return()
        with change.step("unregister"):
            unregister_and_delete(target, model, version)
        change.end()
        return "removed"

    return carry_out(target, model, "remove", progress, work, limits.drain_s)


def _registered_status(change: Change, version: str) -> dict[str, Any]:
    versions = change.target.manager().versions(change.model)
    if version not in versions:
        raise RolloutRefused(f"{change.model}: expected a registered version of {sorted(versions)}, got {version}")
    return versions[version]


def _is_serving(change: Change, archive: Path, trusted: Path) -> bool:
    """Return whether the default version is this very archive: a job that is run again has nothing to do."""
    with change.step("verify") as measured:
        verified = verify_archive(archive, trusted)
        change.version, change.digest = verified.version, verified.digest
        measured |= {"digest": verified.digest, "signer": verified.signer}
    if verified.version != change.previous:
        return False
    return served_digest(change.target, change.model, verified.version) == verified.digest


def _load_new_version(change: Change, archive: Path, trusted: Path, limits: Limits) -> None:
    """Verify, store, register and load an archive."""
    target, model = change.target, change.model
    manager = target.manager()
    file = archive_name(model, change.version)
    with change.step("new"):
        if change.version in manager.versions(model):
            raise GateFailed(f"{model}: expected a new version, got {change.version}, which is registered already")
        _check_destination(target.model_store / file, archive, change.digest)
        read_archived_golden(archive)
    _adopt_previous(change)
    change.begin(change.version, change.digest, file, registers=True)
    with change.step("store") as measured:
        stored = store_verified(archive, trusted, target.model_store, model)
        measured |= {"file": stored.path.name, "bytes": stored.bytes}
        if (stored.version, stored.digest) != (change.version, change.digest):
            raise GateFailed(f"{archive}: expected the archive that was verified, got one that has changed since")
    serving = manager.versions(model).get(change.previous) if change.previous is not None else None
    with change.step("register"):
        options, workers = _serving_options(serving, stored.path)
        try:
            manager.register(file, model_name=model, **options)
        except ManagementError as error:
            if error.code:  # TorchServe refused it: an undo need not wait for the version to appear
                change.enter("load")
            raise
    with change.step("load") as measured:
        wait_loaded(manager, model, change.version, 1, limits.ready_within_s)
        if workers > 1:
            manager.scale_up(model, change.version, workers)
            wait_loaded(manager, model, change.version, workers, limits.ready_within_s)
        measured |= {"workers": workers, **options}


def _check_destination(destination: Path, archive: Path, digest: str) -> None:
    """Refuse to replace, or to delete should this rollout fail, what lies in the model store already."""
    if not destination.exists():
        return
    if destination.samefile(archive):
        raise GateFailed(f"{archive}: expected an archive outside of the model store, got its file there: pack --out")
    if archive_digest(destination) != digest:
        raise GateFailed(f"{destination}: expected no file, or the same archive, got another one")


def _serving_options(serving: Mapping[str, Any] | None, archive: Path) -> tuple[dict[str, int], int]:
    """Return batch settings and workers: the serving version's, else those of the archive's configuration.

    They are always sent: TorchServe 0.12 takes a missing batch delay for -10,000 ms.
    """
    if serving is not None:
        options = {"batch_size": serving["batchSize"], "max_batch_delay": max(1, serving["maxBatchDelay"])}
        return options, max(1, len(serving["workers"]))
    config = _model_config(archive)
    options = {"batch_size": config.get("batchSize", 1), "max_batch_delay": max(1, config.get("maxBatchDelay", 1))}
    return options, max(1, config.get("minWorkers", 1))


def _model_config(archive: Path) -> dict[str, int]:
    """Return batch settings and workers of the archive's configuration, where it has one."""
    name = read_manifest(archive)["model"].get("configFile")
    if not name:
        return {}
    if not isinstance(name, str):
        raise GateFailed(f"{archive}: expected configFile as a string, got {type(name).__name__}")
    with open_archive(archive) as members:
        if (size := members.getinfo(name).file_size) > _MAX_CONFIG_BYTES:
            raise GateFailed(f"{archive}: expected {name} of at most {_MAX_CONFIG_BYTES:,} bytes, got {size:,}")
        try:
            config = yaml.safe_load(members.read(name))
        except yaml.YAMLError as error:
            raise GateFailed(f"{archive}: expected YAML in {name}: {' '.join(str(error).split()):.200}") from None
    keys = ("batchSize", "maxBatchDelay", "minWorkers")
    entries = config if isinstance(config, dict) else {}
    values = {key: entries[key] for key in keys if entries.get(key) is not None}
    if not all(type(value) is int and value >= 0 for value in values.values()):
        got = {key: value if type(value) is int else type(value).__name__ for key, value in values.items()}
        raise GateFailed(f"{archive}: expected positive integers in {name}, got {got!s:.200}")
    return values


def _adopt_previous(change: Change) -> None:
    version = change.previous
    if version is not None:
        with change.step("adopt") as measured:
            has_changed = f"has changed since {version} was registered: a restart of the server cannot restore it"
            measured["archive"] = adopt(change.target, change.model, version) or has_changed


def _run_gates(change: Change, archive: Path, limits: Limits) -> tuple[float | None, Any]:
    """Check golden outputs and latency on the version's own route; return the serving version's p95 and one input."""
    target, model = change.target, change.model
    golden = read_archived_golden(archive)
    one_input = golden_inputs(golden)[:1]  # as strategies send them
    with target.connect(model, change.version) as client:
        with change.step("golden") as measured:
            response = predict_golden(client, golden, change.version, change.digest)
            measured |= {"version": response.version, "digest": response.digest}
        with change.step("parity") as measured:
            measured |= {"max_error": check_parity(response, golden), "tolerance": golden.tolerance}
        if not limits.latency_requests:
            return None, one_input
        with change.step("latency") as measured:
            if change.previous is None:
                measured |= compare_latency(client, None, one_input, limits)
            else:
                with target.connect(model, change.previous) as serving:
                    measured |= compare_latency(client, serving, one_input, limits)
    return measured.get("serving_p95_ms"), one_input


def _make_default(
    change: Change, inputs: Any, serving_p95_ms: float | None, error_baseline: ErrorBaseline, limits: Limits
) -> None:
    """Switch, observe, record, and retire older versions than are to be kept."""
    target, model = change.target, change.model
    errors_per_s = error_baseline.per_second()
    with change.step("set default"):
        target.manager().set_default(model, change.version)
    if limits.watch_s:
        with change.step("watch") as measured:
            measured |= observe(target, model, change.version, inputs, serving_p95_ms, errors_per_s, limits)
    change.reach_point_of_no_return()
    with change.step("remember"):
        record(target, model)
    with change.step("retire") as measured:
        measured |= retire(target, model, limits.keep, limits.drain_s)
    change.end()
