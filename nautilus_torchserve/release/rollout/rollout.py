"""New versions into service and back out, with no request lost.

Why in this order: TorchServe ends running requests of a version that is unregistered or scaled down, stalls clients
during a synchronous registration, and makes a version without workers the default one without a word.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nautilus_torchserve.release.rollout.change import Change, Say, carry_out, say_nothing
from nautilus_torchserve.release.rollout.gates import GateFailed
from nautilus_torchserve.release.rollout.golden import archived_golden, ask_golden, check_parity, golden_inputs
from nautilus_torchserve.release.rollout.journal import RolloutRefused, UnderWay
from nautilus_torchserve.release.rollout.latency_gate import compare_latency, one_input
from nautilus_torchserve.release.rollout.limits import Limits
from nautilus_torchserve.release.rollout.model_store import store_verified
from nautilus_torchserve.release.rollout.repair import commit, remember
from nautilus_torchserve.release.rollout.report import Report
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.versions import adopt, archive_name, drain, retire, unregister_and_delete
from nautilus_torchserve.release.rollout.watching import ErrorsBefore, watch
from nautilus_torchserve.release.rollout.workers import is_ready, wait_loaded
from nautilus_torchserve.serving.client.archive_file import (
    UnreadableArchive,
    archive_digest,
    open_archive,
    read_manifest,
)
from nautilus_torchserve.serving.server.management import ManagementError, described_digest
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
    say: Say = say_nothing,
) -> Report:
    """Bring a signed archive into service beside the version that serves, gate it, and make it the default one.

    Parameters
    ----------
    model : str
        The name it is asked under.
    trusted : Path
        Folder of public keys; an archive signed by none of them never reaches the model store.
    promote : bool
        False: it is loaded and gated, and stays a candidate: for a canary, an experiment, a shadow.
    say : callable
        Takes each step's name when it begins.

    Returns
    -------
    Report
        A gate that failed is in it (``ok`` is False), and all is as before.

    Raises
    ------
    RolloutRefused
        Nothing was begun.
    """

    def work(change: Change) -> str:
        errors = ErrorsBefore(target)
        if _serves_already(change, archive, trusted):
            return "nothing to do"
        _bring_in(change, archive, trusted, limits)
        serving_p95_ms, asked = _gate(change, target.model_store / archive_name(model, change.version), limits)
        if not promote and change.previous is not None:  # TorchServe makes a first version the default one itself
            change.passed()
            with change.step("remember"):
                commit(target, model)
            change.end()
            return "candidate"
        _make_default(change, asked, serving_p95_ms, errors, limits)
        return "serving"

    return carry_out(target, model, "register", say, work, limits.drain_s)


def promote(target: Target, model: str, version: str, limits: Limits = DEFAULTS, say: Say = say_nothing) -> Report:
    """Gate a registered version again and make it the default one; returns and raises what `register` does."""

    def work(change: Change) -> str:
        errors = ErrorsBefore(target)
        status = _registered(change, version)
        if version == change.previous:
            change.version = version
            return "nothing to do"
        archive = target.model_store / status["modelUrl"]
        change.begin(version, archive_digest(archive))
        with change.step("adopt") as found:
            found["archive"] = _adopt(change, change.previous)
        serving_p95_ms, asked = _gate(change, archive, limits)
        _make_default(change, asked, serving_p95_ms, errors, limits)
        return "serving"

    return carry_out(target, model, "promote", say, work, limits.drain_s)


def rollback(target: Target, model: str, to: str | None = None, say: Say = say_nothing) -> Report:
    """Make the default version before this one, or another earlier one, the default again, at once.

    The one that it goes back from stays loaded, and is no longer among those that a rollback goes back to, nor is any
    default version between the two. It needs no free space: what cannot be remembered then (outcome ``unrecorded``) is
    learned from the server by the next rollout or repair. Its golden answers are asked afterwards (``unchecked`` where
    they are wrong).
    """

    def work(change: Change) -> str:
        manager = target.manager()
        version = _earlier(change, to)
        status = _registered(change, version)
        if version == change.previous:
            change.version = version
            return "nothing to do"
        if not is_ready(status):
            with change.step("load"):
                manager.scale_up(model, version, max(1, status["minWorkers"]))
                wait_loaded(manager, model, version, 1, DEFAULTS.ready_within_s)
        archive = target.model_store / status["modelUrl"]
        change.begin(version, _digest_of(archive))
        change.passed()  # there is no way but back
        with change.step("set default"):
            manager.set_default(model, version)
        change.switched = True
        with change.step("remember"), change.recording():
            remember(target, model, UnderWay("rollback", version, change.previous, digest=change.digest))
        change.end()
        with change.step("golden") as found, change.recording(), target.connect(model) as client:
            golden = archived_golden(archive)
            found["max_error"] = check_parity(ask_golden(client, golden, version, change.digest), golden)
        return "serving"

    return carry_out(target, model, "rollback", say, work, 0.0, urgent=True)


def _earlier(change: Change, to: str | None) -> str:
    """Return which version a rollback goes to."""
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


def _digest_of(archive: Path) -> str:
    """Return an archive's digest; empty where it cannot be read, which keeps no loaded version from serving."""
    try:
        return archive_digest(archive)
    except UnreadableArchive:
        return ""


def remove(target: Target, model: str, version: str, limits: Limits = DEFAULTS, say: Say = say_nothing) -> Report:
    """Drain and unregister a version that is not the default one.

    Its archive leaves the model store where a rollout put it there. Returns and raises what `register` does.
    """

    def work(change: Change) -> str:
        status = _registered(change, version)
        if version == change.previous:
            raise RolloutRefused(f"{model}: a version that is not the default one expected, was {version}")
        archive = target.model_store / status["modelUrl"]
        change.begin(version, _digest_of(archive))
        with change.step("drain"):
            drain(target, model, version, limits.drain_s)
        change.passed()
        with change.step("unregister"):
            unregister_and_delete(target, model, version)
        change.end()
        return "removed"

    return carry_out(target, model, "remove", say, work, limits.drain_s)


def _registered(change: Change, version: str) -> dict[str, Any]:
    versions = change.target.manager().versions(change.model)
    if version not in versions:
        raise RolloutRefused(f"{change.model}: a registered version expected, one of {sorted(versions)}, was {version}")
    return versions[version]


def _serves_already(change: Change, archive: Path, trusted: Path) -> bool:
    """Whether the default version is this very archive: a job that is run again has nothing to do."""
    with change.step("verify") as found:
        verified = verify_archive(archive, trusted)
        change.version, change.digest = verified.version, verified.digest
        found |= {"digest": verified.digest, "signer": verified.signer}
    if verified.version != change.previous:
        return False
    status = change.target.manager().describe(change.model, verified.version, customized=True)[0]
    return bool(described_digest(status) == verified.digest)


def _bring_in(change: Change, archive: Path, trusted: Path, limits: Limits) -> None:
    """Verify, store, register, load."""
    target, model = change.target, change.model
    manager = target.manager()
    file = archive_name(model, change.version)
    with change.step("new"):
        if change.version in manager.versions(model):
            raise GateFailed(f"{model}: a new version expected, {change.version} is registered already")
        _check_place(target.model_store / file, archive, change.digest)
        archived_golden(archive)
    if change.previous is not None:
        with change.step("adopt") as found:
            found["archive"] = _adopt(change, change.previous)
    change.begin(change.version, change.digest, file, registers=True)
    with change.step("store") as found:
        stored = store_verified(archive, trusted, target.model_store, model)
        found |= {"file": stored.path.name, "bytes": stored.bytes}
        if (stored.version, stored.digest) != (change.version, change.digest):
            raise GateFailed(f"{archive}: the archive that was verified expected, it has changed since")
    serving = manager.versions(model).get(change.previous) if change.previous is not None else None
    with change.step("register") as found:
        options, workers = _serve_like(serving, stored.path)
        try:
            manager.register(file, model_name=model, **options)
        except ManagementError as error:
            if error.code:  # TorchServe has refused it: an undo need not wait for the version to appear
                change.enter("load")
            raise
    with change.step("load") as found:
        wait_loaded(manager, model, change.version, 1, limits.ready_within_s)
        if workers > 1:
            manager.scale_up(model, change.version, workers)
            wait_loaded(manager, model, change.version, workers, limits.ready_within_s)
        found |= {"workers": workers, **options}


def _check_place(place: Path, archive: Path, digest: str) -> None:
    """What lies in the model store already is not ours to replace, nor to delete should this rollout fail."""
    if not place.exists():
        return
    if place.samefile(archive):
        raise GateFailed(f"{archive}: an archive that was built elsewhere (--out) expected, was in its place already")
    if archive_digest(place) != digest:
        raise GateFailed(f"{place}: no file, or the same archive, expected, was another one")


def _serve_like(serving: Mapping[str, Any] | None, archive: Path) -> tuple[dict[str, int], int]:
    """Batch settings and number of workers: the serving version's, else those of the archive's own configuration.

    They are always said: a batch delay that is not becomes -10,000 ms in TorchServe 0.12.
    """
    if serving is not None:
        options = {"batch_size": serving["batchSize"], "max_batch_delay": max(1, serving["maxBatchDelay"])}
        return options, max(1, len(serving["workers"]))
    config = _model_config(archive)
    options = {"batch_size": config.get("batchSize", 1), "max_batch_delay": max(1, config.get("maxBatchDelay", 1))}
    return options, max(1, config.get("minWorkers", 1))


def _model_config(archive: Path) -> dict[str, int]:
    """Batch settings and workers by the archive's own configuration, where it has one."""
    name = read_manifest(archive)["model"].get("configFile")
    if not name:
        return {}
    if not isinstance(name, str):
        raise GateFailed(f"{archive}: expected configFile as a text, got {type(name).__name__}")
    with open_archive(archive) as members:
        if (size := members.getinfo(name).file_size) > _MAX_CONFIG_BYTES:
            raise GateFailed(f"{archive}: expected {name} of at most {_MAX_CONFIG_BYTES:,} bytes, got {size:,}")
        try:
            config = yaml.safe_load(members.read(name))
        except yaml.YAMLError as error:
            raise GateFailed(f"{archive}: expected YAML in {name}: {' '.join(str(error).split()):.200}") from None
    keys = ("batchSize", "maxBatchDelay", "minWorkers")
    found = {key: config.get(key) for key in keys} if isinstance(config, dict) else {}
    said = {key: value for key, value in found.items() if value is not None}
    if not all(type(value) is int and value >= 0 for value in said.values()):
        got = {key: value if type(value) is int else type(value).__name__ for key, value in said.items()}
        raise GateFailed(f"{archive}: expected positive integers in {name}, got {got!s:.200}")
    return said


def _adopt(change: Change, version: str | None) -> str:
    if version is None:
        return "none before"
    file = adopt(change.target, change.model, version)
    return file or f"has changed since {version} was registered: a restart of the server cannot bring it back"


def _gate(change: Change, archive: Path, limits: Limits) -> tuple[float | None, Any]:
    """Golden answers, parity and latency on the version's own route; the serving version's p95, and one input."""
    target, model = change.target, change.model
    golden = archived_golden(archive)
    asked = one_input(golden_inputs(golden))
    with target.connect(model, change.version) as client:
        with change.step("golden") as found:
            answer = ask_golden(client, golden, change.version, change.digest)
            found |= {"version": answer.version, "digest": answer.digest}
        with change.step("parity") as found:
            found |= {"max_error": check_parity(answer, golden), "tolerance": golden.tolerance}
        if not limits.latency_requests:
            return None, asked
        with change.step("latency") as found:
            if change.previous is None:
                found |= compare_latency(client, None, asked, limits)
            else:
                with target.connect(model, change.previous) as serving:
                    found |= compare_latency(client, serving, asked, limits)
    return found.get("serving_p95_ms"), asked


def _make_default(
    change: Change, asked: Any, serving_p95_ms: float | None, errors: ErrorsBefore, limits: Limits
) -> None:
    """Switch, watch, remember, retire what is older than is to be kept."""
    target, model = change.target, change.model
    anyway = errors.per_second()
    with change.step("set default"):
        target.manager().set_default(model, change.version)
    if limits.watch_s:
        with change.step("watch") as found:
            found |= watch(target, model, change.version, asked, serving_p95_ms, anyway, limits)
    change.passed()
    with change.step("remember"):
        commit(target, model)
    with change.step("retire") as found:
        found |= retire(target, model, limits.keep, limits.drain_s)
    change.end()
