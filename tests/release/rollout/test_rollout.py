"""Rollouts to a running TorchServe: archives that serve, archives that do not, and what each leaves."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from deployment import QUICK, Deployment, full_disk
from signed_archives import keys
from tick_versions import (
    ANSWERS_OTHERWISE,
    DIES_LATER,
    LOADS_SLOWLY,
    RAISES,
    SAYS_ANOTHER_DIGEST,
    TAKES_30_MS,
    made,
)

from benchmarks.callers import Callers
from nautilus_torchserve.release.rollout.journal import RolloutRefused, locked, read_journal
from nautilus_torchserve.release.rollout.prune import prune
from nautilus_torchserve.release.rollout.repair import repair
from nautilus_torchserve.release.rollout.rollout import promote, register, remove, rollback
from nautilus_torchserve.release.rollout.status import model_status
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.server.properties import read_properties
from nautilus_torchserve.serving.server.snapshot import PROPERTY, read_snapshot
from nautilus_torchserve.traffic.split import Kind, Split, State
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.wire.digest import archive_digest

FreshVersion = Callable[[], str]


def answered(deployment: Deployment, rows: np.ndarray, version: str | None = None) -> tuple[str, str]:
    """Return version and digest on the default route."""
    with connect(deployment.server.inference_url, "tick", version, token=deployment.server.token) as client:
        answer = client.predict(rows[:1])
    return answer.version, answer.digest


def serving(deployment: Deployment) -> str:
    version = deployment.server.management().default_version("tick")
    assert version is not None
    return version


def remembered(deployment: Deployment) -> list[tuple[str, str]]:
    """Return the default version that a restarted server would serve."""
    return list(read_snapshot(read_properties(deployment.server.home / "config.properties")[PROPERTY]))


def test_new_version_serves_and_the_one_before_stays_warm(
    deployment: Deployment, fresh_version: FreshVersion, rows: np.ndarray
) -> None:
    before, version = serving(deployment), fresh_version()
    archive = deployment.make(version)

    report = register(deployment.target, "tick", archive, deployment.trusted, QUICK)

    assert report.ok, report.as_text()
    assert answered(deployment, rows) == (version, archive_digest(archive)) == (report.version, report.digest)
    assert answered(deployment, rows, before)[0] == before
    assert {("tick", before), ("tick", version)} <= set(remembered(deployment))
    assert f"tick-{version}.mar" in deployment.files()
    assert report.previous == before
    assert [step.name for step in report.steps if not step.ok] == []


@pytest.mark.slow
def test_only_as_many_earlier_versions_stay_as_are_to_be_kept(
    deployment: Deployment, fresh_version: FreshVersion
) -> None:
    made_here = [fresh_version() for _ in range(3)]

    for version in made_here:
        assert register(deployment.target, "tick", deployment.make(version), deployment.trusted, QUICK).ok

    assert sorted(deployment.server.management().versions("tick")) == sorted(made_here[-2:])  # they come in no order
    kept = {f"tick-{version}.mar" for version in made_here[-2:]}
    assert {file for file in deployment.files() if file.startswith("tick-")} == kept


def test_candidate_is_promoted_and_rolled_back(
    deployment: Deployment, fresh_version: FreshVersion, rows: np.ndarray
) -> None:
    before, version = serving(deployment), fresh_version()

    candidate = register(deployment.target, "tick", deployment.make(version), deployment.trusted, QUICK, promote=False)
    with_candidate = answered(deployment, rows)[0], answered(deployment, rows, version)[0]
    promoted = promote(deployment.target, "tick", version, QUICK)
    with_promoted = answered(deployment, rows)[0]
    back = rollback(deployment.target, "tick")

    assert [candidate.outcome, promoted.outcome, back.outcome] == ["candidate", "serving", "serving"]
    assert with_candidate == (before, version)
    assert with_promoted == version
    assert answered(deployment, rows)[0] == before == serving(deployment)
    assert version not in read_journal(deployment.target, "tick").defaults  # a second rollback would not go to it
    assert remove(deployment.target, "tick", version, QUICK).outcome == "removed"
    assert version not in deployment.server.management().versions("tick")
    assert f"tick-{version}.mar" not in deployment.files()


def test_registering_the_serving_archive_is_nothing_to_do(deployment: Deployment, fresh_version: FreshVersion) -> None:
    archive = deployment.make(fresh_version())
    register(deployment.target, "tick", archive, deployment.trusted, QUICK)
    versions = deployment.server.management().versions("tick").keys()

    again = register(deployment.target, "tick", archive, deployment.trusted, QUICK)

    assert (again.ok, again.outcome) == (True, "nothing to do")
    assert deployment.server.management().versions("tick").keys() == versions


def test_default_version_is_not_removed(deployment: Deployment) -> None:
    with pytest.raises(RolloutRefused, match="expected a version that is not the default one"):
        remove(deployment.target, "tick", serving(deployment), QUICK)


def test_version_that_is_not_registered_is_refused_by_name(deployment: Deployment) -> None:
    with pytest.raises(RolloutRefused, match=r"expected a registered version of \[.*\], got 99"):
        promote(deployment.target, "tick", "99", QUICK)


def corrupt(deployment: Deployment, version: str) -> Path:
    archive = deployment.make(version)
    archive.write_bytes(archive.read_bytes()[:-3000])
    return archive


def no_zip(deployment: Deployment, version: str) -> Path:
    path = deployment.folder / f"{version}.mar"
    path.write_text("not an archive")
    return path


def altered(deployment: Deployment, version: str) -> Path:
    """Replace the handler of a signed archive, keeping the signature."""
    archive = deployment.make(version)
    changed = deployment.folder / f"altered-{version}.mar"
    with ZipFile(archive) as old, ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (b"\n# other\n" if name == "tick_handler.py" else b""))
    return changed


def unknown_key(deployment: Deployment, version: str) -> Path:
    folder = deployment.folder / f"mallory-{version}"
    folder.mkdir()
    return deployment.make(version, key=keys(folder, "mallory")[0])


def unsigned(deployment: Deployment, version: str) -> Path:
    return made(deployment.archive, deployment.folder / f"unsigned-{version}.mar", version, None)


def place_is_taken(deployment: Deployment, version: str) -> Path:
    """Put another archive of that name there, which a rollout may neither replace nor delete."""
    other = deployment.make(version, RAISES)
    other.rename(deployment.server.model_store / f"tick-{version}.mar")
    return deployment.make(version)


def same_version(deployment: Deployment, version: str) -> Path:
    return deployment.make(serving(deployment), "\n# other code\n")


BAD = {
    "corrupt": (corrupt, "verify", "."),
    "not a zip": (no_zip, "verify", "."),
    "altered": (altered, "verify", "digest|content|altered"),
    "signed by a stranger": (unknown_key, "verify", "alice"),
    "unsigned": (unsigned, "verify", "unsigned"),
    "same version again": (same_version, "new", "registered already"),
    "place is taken": (place_is_taken, "new", "another one"),
    "without golden answers": (
        lambda deployment, version: deployment.make(version, without=("golden.npz",)),
        "new",
        "golden.npz",
    ),
    "answers otherwise": (
        lambda deployment, version: deployment.make(version, ANSWERS_OTHERWISE),
        "parity",
        "golden.npz",
    ),
    "another digest": (lambda deployment, version: deployment.make(version, SAYS_ANOTHER_DIGEST), "golden", "0000"),
    "slower than allowed": (lambda deployment, version: deployment.make(version, TAKES_30_MS), "latency", "p50"),
    "init raises": (lambda deployment, version: deployment.make(version, RAISES), "load", "one that died"),
    "weights missing": (
        lambda deployment, version: deployment.make(version, without=("weights.safetensors",)),
        "load",
        "one that died",
    ),
    "loads too slowly": (
        lambda deployment, version: deployment.make(version, LOADS_SLOWLY),
        "load",
        "READY workers within 2 s",
    ),
    "dies when it serves": (lambda deployment, version: deployment.make(version, DIES_LATER), "latency|watch", "."),
}
TIGHTER: dict[str, dict[str, float]] = {
    "loads too slowly": {"ready_within_s": 2.0},
    "slower than allowed": {"latency_add_ms": 5.0},
}
"""Limits that such an archive breaks."""
SLOW = (
    "another digest",
    "slower than allowed",
    "init raises",
    "weights missing",
    "loads too slowly",
    "dies when it serves",
)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind in SLOW else []) for kind in BAD])
def test_bad_archive_never_serves_and_leaves_nothing(
    deployment: Deployment, fresh_version: FreshVersion, rows: np.ndarray, kind: str
) -> None:
    make, fails_at, message = BAD[kind]
    archive = make(deployment, fresh_version())
    before = serving(deployment), sorted(deployment.server.management().versions("tick"))
    files = deployment.files()
    lasting = f"tick-{before[0]}.mar"  # the serving archive is kept under a lasting name
    limits = replace(QUICK, **TIGHTER.get(kind, {}))

    with Callers(deployment.server, "tick", rows, count=2, pause_s=0.005) as callers:
        report = register(deployment.target, "tick", archive, deployment.trusted, limits)
        callers.wait_for(20)

    assert callers.errors == []
    assert {call.version for call in callers.calls} == {before[0]}
    assert (report.ok, report.outcome) == (False, "undone")
    assert report.failed_at in fails_at.split("|"), report.as_text()
    assert report.reason is not None
    assert re.search(message, report.reason), report.reason
    assert (serving(deployment), sorted(deployment.server.management().versions("tick"))) == before
    assert deployment.files() - {lasting} == files - {lasting}
    assert read_journal(deployment.target, "tick").under_way is None


def test_first_version_of_a_model_comes_and_goes_like_any_other(
    deployment: Deployment, fresh_version: FreshVersion
) -> None:
    bad, good = deployment.make(fresh_version(), ANSWERS_OTHERWISE), deployment.make(fresh_version())

    refused = register(deployment.target, "tick-first", bad, deployment.trusted, QUICK)
    nothing = deployment.server.management().default_version("tick-first")
    accepted = register(deployment.target, "tick-first", good, deployment.trusted, QUICK)

    assert (refused.failed_at, nothing) == ("parity", None)
    assert (accepted.outcome, accepted.previous) == ("serving", None)
    assert deployment.server.management().default_version("tick-first") == accepted.version
    deployment.server.management().unregister("tick-first")


@pytest.mark.slow
def test_batching_and_workers_are_those_of_the_version_before(
    deployment: Deployment, fresh_version: FreshVersion
) -> None:
    manager = deployment.server.management()
    manager.register("tick.mar", model_name="tick-many", batch_size=16, max_batch_delay=3)
    manager.wait_ready("tick-many", "1.0")
    manager.scale_up("tick-many", "1.0", 2)
    version = fresh_version()

    report = register(deployment.target, "tick-many", deployment.make(version), deployment.trusted, QUICK)

    assert report.ok, report.as_text()
    status = manager.versions("tick-many")[version]
    assert (status["batchSize"], status["maxBatchDelay"], len(status["workers"])) == (16, 3, 2)
    manager.unregister("tick-many", "1.0")
    manager.unregister("tick-many")


def test_another_rollout_of_the_model_is_refused_with_its_holder(
    deployment: Deployment, fresh_version: FreshVersion
) -> None:
    archive = deployment.make(fresh_version())
    hold = (
        "import sys, time; from pathlib import Path; from nautilus_torchserve.release.rollout.journal import locked; "
        "from nautilus_torchserve.release.rollout.target import *\n"
        "with locked(local_target(Path(sys.argv[1])), 'tick', 'register'):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, deployment.server.home], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        with pytest.raises(RolloutRefused, match=f"register, process {holder.pid}"):
            register(deployment.target, "tick", archive, deployment.trusted, QUICK)
        under_way = model_status(deployment.target, "tick").under_way
        holder.send_signal(signal.SIGKILL)
        holder.wait()

    assert under_way is not None
    assert str(holder.pid) in under_way
    with locked(deployment.target, "tick", "test"):  # a crash leaves no lock behind
        assert serving(deployment)


@pytest.mark.parametrize("step", ["golden", pytest.param("watch", marks=pytest.mark.slow)])
def test_interrupt_undoes(deployment: Deployment, fresh_version: FreshVersion, rows: np.ndarray, step: str) -> None:
    before, files = serving(deployment), deployment.files()

    def interrupt(text: str) -> None:
        if text.endswith(f": {step}"):
            signal.raise_signal(signal.SIGINT)

    report = register(
        deployment.target, "tick", deployment.make(fresh_version()), deployment.trusted, QUICK, progress=interrupt
    )

    assert (report.outcome, report.reason) == ("undone", "interrupted")
    assert answered(deployment, rows)[0] == before
    assert deployment.files() == files


def test_report_is_kept_as_json_and_as_text(
    deployment: Deployment, fresh_version: FreshVersion, tmp_path: Path
) -> None:
    report = register(deployment.target, "tick", unsigned(deployment, fresh_version()), deployment.trusted, QUICK)

    path = report.write(tmp_path / "reports")

    assert json.loads(path.read_text())["failed_at"] == "verify"
    assert "FAILED verify" in path.with_suffix(".txt").read_text()


def default_after_a_restart(deployment: Deployment) -> str:
    snapshot = json.loads(read_properties(deployment.server.home / "config.properties")[PROPERTY])
    (version,) = [name for name, entry in snapshot["models"]["tick"].items() if entry["defaultVersion"]]
    return str(version)


def test_rollback_needs_no_space_and_its_version_is_pruned_later(
    deployment: Deployment, fresh_version: FreshVersion, tmp_path: Path
) -> None:
    before, version = serving(deployment), fresh_version()
    assert register(deployment.target, "tick", deployment.make(version), deployment.trusted, QUICK).ok

    with full_disk():
        report = rollback(deployment.target, "tick")
    serves, last = serving(deployment), read_journal(deployment.target, "tick").defaults[-1]
    repaired = repair(deployment.target, lambda _: None)

    assert (report.outcome, report.default, report.previous) == ("unrecorded", before, version)
    assert "File too large" in str(report.reason)
    assert (serves, last) == (before, version)
    assert any("as the server reports it" in text for text in repaired)
    assert default_after_a_restart(deployment) == before
    assert repair(deployment.target, lambda _: None) == []
    journal = read_journal(deployment.target, "tick")
    assert journal.defaults[-1] == before
    assert version not in journal.defaults
    with pytest.raises(RolloutRefused, match=f"expected a version that was not rolled back from, got {version}"):
        rollback(deployment.target, "tick", to=version)

    with TrafficStore(f"sqlite:///{tmp_path / 'traffic.db'}") as splits:
        too_young = prune(deployment.target, "tick", 3600.0, splits, QUICK)
        splits.heartbeat("host-1", "tick", [version])
        held = prune(deployment.target, "tick", 0.0, splits, QUICK)
        splits.unregister("host-1", "tick")
        splits.start(Split("exp-1", "tick", Kind.EXPERIMENT, before, version, 0.5))
        split = prune(deployment.target, "tick", 0.0, splits, QUICK)
        splits.end("exp-1", State.STOPPED)
        pruned = prune(deployment.target, "tick", 0.0, splits, QUICK)
        again = prune(deployment.target, "tick", 0.0, splits, QUICK)

    assert (too_young.removed, too_young.kept) == ((), {})
    assert "host-1" in held.kept[version]
    assert "exp-1" in split.kept[version]
    assert (pruned.removed, pruned.kept, pruned.failed) == ((version,), {}, {})
    assert version not in deployment.server.management().versions("tick")
    assert f"tick-{version}.mar" not in deployment.files()
    assert (again.removed, serving(deployment)) == ((), before)
