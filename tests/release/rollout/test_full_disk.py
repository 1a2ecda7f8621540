"""Rollouts on a full disk: what was switched is reported, and nothing is half done.

The kernel's limit on the size of files, which this process sets for itself, is the full disk.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deployment import QUICK, Deployment
from typer.testing import CliRunner

from nautilus_torchserve.release.rollout.journal import read_journal
from nautilus_torchserve.release.rollout.prune import prune
from nautilus_torchserve.release.rollout.repair import repair
from nautilus_torchserve.release.rollout.rollout import promote, register, rollback
from nautilus_torchserve.release.rollout.status import model_status
from nautilus_torchserve.serving.server.properties import BadProperties, read_properties
from nautilus_torchserve.serving.server.snapshot import PROPERTY
from support import PROJECT, script_app

FreshVersion = Callable[[], str]
pytestmark = pytest.mark.slow
APP = script_app(PROJECT / "scripts/rollout.py")


def default(deployment: Deployment) -> str:
    version = deployment.server.management().default_version("tick")
    assert version is not None
    return version


def default_after_a_restart(deployment: Deployment) -> str:
    snapshot = json.loads(read_properties(deployment.server.home / "config.properties")[PROPERTY])
    (version,) = [name for name, entry in snapshot["models"]["tick"].items() if entry["defaultVersion"]]
    return version


def test_version_that_passed_the_gates_again_is_not_pruned(deployment: Deployment, fresh_version: FreshVersion) -> None:
    before, version = default(deployment), fresh_version()
    assert register(deployment.target, "tick", deployment.make(version), deployment.trusted, QUICK).ok
    assert rollback(deployment.target, "tick").outcome == "serving"
    since = read_journal(deployment.target, "tick").rolled_back[version]

    assert promote(deployment.target, "tick", version, QUICK).outcome == "serving"

    assert timedelta(0) <= datetime.now(UTC) - since < timedelta(minutes=5)
    assert version not in read_journal(deployment.target, "tick").rolled_back
    assert version not in prune(deployment.target, "tick", 0.0, None, QUICK).removed
    assert rollback(deployment.target, "tick").default == before


@pytest.mark.parametrize(
    "step", ["verify", "adopt", "store", "register", "load", "parity", "set default", "watch", "remember", "retire"]
)
def test_a_disk_that_fills_up_at_a_step_leaves_a_repairable_state(
    deployment: Deployment, fresh_version: FreshVersion, step: str
) -> None:
    before, version = default(deployment), fresh_version()
    archive = deployment.make(version)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(text: str) -> None:
        if text.endswith(f": {step}"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))

    try:
        report = register(deployment.target, "tick", archive, deployment.trusted, QUICK, progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    switched = step in ("remember", "retire")
    serves = default(deployment)
    left = model_status(deployment.target, "tick").left
    repair(deployment.target, lambda _: None)

    assert (serves, report.default) == (version if switched else before,) * 2
    assert report.outcome in ({"unrecorded"} if switched else {"undone", "left"})
    assert "File too large" in str(report.reason)
    assert (left is not None) == (report.outcome != "undone")
    assert default(deployment) == default_after_a_restart(deployment) == serves
    assert (version in deployment.server.management().versions("tick")) == switched
    assert (f"tick-{version}.mar" in deployment.files()) == switched
    assert repair(deployment.target, lambda _: None) == []


def call(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(APP, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_reports_that_cannot_be_written_are_noticed_before_anything_begins(
    deployment: Deployment, fresh_version: FreshVersion, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    before = sorted(deployment.server.management().versions("tick"))
    archive, reports = deployment.make(fresh_version()), tmp_path / "file" / "reports"
    arguments = ["--trusted", deployment.trusted, "--home", deployment.server.home, "--reports", reports]

    status, _, stderr = call("register", "tick", "--archive", archive, *arguments)

    assert status == 1
    assert "expected a folder that takes the report; nothing was begun" in stderr
    assert sorted(deployment.server.management().versions("tick")) == before


def test_exit_status_3_means_that_the_server_is_in_the_requested_state(
    deployment: Deployment, fresh_version: FreshVersion, tmp_path: Path
) -> None:
    """A rollback whose report is written to a full disk; and one whose stdout is full."""
    before = default(deployment)
    (tmp_path / "file").touch()
    home = deployment.server.home
    for output in ("report", "stdout"):
        assert register(deployment.target, "tick", deployment.make(fresh_version()), deployment.trusted, QUICK).ok
        reports = tmp_path / "file" / "reports" if output == "report" else tmp_path / "reports"
        command = ["scripts/rollout.py", "rollback", "tick", "--json", "--home", home, "--reports", reports]
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [sys.executable, *map(str, command)],
                cwd=PROJECT,
                text=True,
                check=False,
                stderr=subprocess.PIPE,
                stdout=full if output == "stdout" else subprocess.PIPE,
            )

        assert result.returncode == 3, result.stderr
        assert default(deployment) == before
        assert f"is done (default version now: {before}), but" in result.stderr
        assert "Traceback" not in result.stderr
        if output == "report":
            document = json.loads(result.stdout)
            assert (document["outcome"], document["default"], document["report"]) == ("serving", before, None)
            assert "the report could not be written" in document["unwritten"][0]


def test_messages_that_cannot_be_printed_stop_nothing(deployment: Deployment, tmp_path: Path) -> None:
    """A pipe whose reader has gone, or a disk that is full, under stderr."""
    command = [
        sys.executable,
        "scripts/rollout.py",
        "repair",
        "--json",
        "--home",
        str(deployment.server.home),
        "--store",
        f"sqlite:///{tmp_path / 'none.db'}",
    ]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(command, cwd=PROJECT, text=True, check=False, stdout=subprocess.PIPE, stderr=full)

    assert (result.returncode, json.loads(result.stdout)["failed"]) == (0, [])


def test_damaged_configuration_is_noticed_before_a_switch_and_stops_no_rollback(
    deployment: Deployment, fresh_version: FreshVersion
) -> None:
    before, version = default(deployment), fresh_version()
    assert register(deployment.target, "tick", deployment.make(version), deployment.trusted, QUICK).ok
    config, there = deployment.server.home / "config.properties", deployment.server.management().versions("tick").keys()
    good = config.read_bytes()
    config.write_bytes(b"\xef\xbb\xbf" + good)
    try:
        with pytest.raises(BadProperties, match="byte order mark"):
            register(deployment.target, "tick", deployment.make(fresh_version()), deployment.trusted, QUICK)
        registered = deployment.server.management().versions("tick").keys()
        report = rollback(deployment.target, "tick")
    finally:
        config.write_bytes(good)
    repair(deployment.target, lambda _: None)

    assert registered == there
    assert (report.outcome, report.default) == ("unrecorded", before)
    assert default_after_a_restart(deployment) == before
    prune(deployment.target, "tick", 0.0, None, QUICK)
