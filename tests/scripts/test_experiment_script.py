"""scripts/experiment.py as a person or a CI job calls it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nautilus_torchserve.experiments.ab.experiment import plan
from nautilus_torchserve.experiments.ab.rules import Rules
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.traffic.records import CallWindow, ClosedTrade, ScoredPrediction, latency_bucket
from nautilus_torchserve.traffic.split import Split
from nautilus_torchserve.traffic.store import TrafficStore
from support import PROJECT, script_app

APP = script_app(PROJECT / "scripts/experiment.py")
HOUR_NS = 3_600_000_000_000
VERSIONS = ("--baseline", "1.0", "--challenger", "2.0", "--no-server")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/traffic.db"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(APP, [*arguments])


def words(result: Result) -> str:
    return " ".join(result.output.split())


def keep_outcomes(url: str, accuracies: dict[str, int]) -> None:
    """1,000 predictions of each version, of ten so many right; some trades and requests."""
    with TrafficStore(url) as store:
        for version, of_ten in accuracies.items():
            store.keep(
                [
                    ScoredPrediction(
                        "trial",
                        "tick",
                        version,
                        f"I{number % 4}",
                        number % 25 * HOUR_NS,
                        "BUY",
                        "BUY" if number // 4 * 7 % 10 < of_ten else "SELL",
                        0.5,
                    )
                    for number in range(1_000)
                ]
            )
            store.keep([ClosedTrade("trial", "tick", version, "I1", 0, 1, pnl, pnl) for pnl in (1.5, -0.5, 2.0)])
            store.keep(
                [
                    CallWindow(
                        "trial",
                        "tick",
                        version,
                        "desk",
                        number * 60_000_000_000,
                        600,
                        0,
                        600.0,
                        601.0,
                        {latency_bucket(1.0): 600},
                    )
                    for number in range(2)
                ]
            )


def test_an_experiment_from_begin_to_end(url: str) -> None:
    created = call("create", "tick", *VERSIONS, "--name", "trial", "--share", "50", "--store", url, "--json")
    assert created.exit_code == 0, created.output
    keep_outcomes(url, {"1.0": 5, "2.0": 7})

    analyzed, listed = call("analyze", "trial", "--store", url, "--json"), call("status", "tick", "--store", url)
    stopped, again = call("stop", "trial", "--store", url), call("stop", "trial", "--store", url)

    summary = json.loads(analyzed.stdout)
    assert summary["decision"]["action"] == "promote"
    assert summary["differences"]["accuracy"]["difference"] == pytest.approx(0.2)
    assert summary["challenger"]["classification"]["accuracy"] == pytest.approx(0.7)
    assert summary["experiment"]["settings"]["promote_accuracy"] == 0.02
    assert "trial: tick 2.0 against 1.0 with 50% of the instruments, running" in words(listed)
    assert "scored predictions 1,000 and 1,000; promote: accuracy is up by +20.0 points" in words(listed)
    assert (stopped.exit_code, again.exit_code) == (0, 1)
    assert "expected a running split, got one that is stopped" in words(again)


def test_the_analysis_is_readable_and_explains_both_intervals(url: str) -> None:
    call("create", "tick", *VERSIONS, "--name", "trial", "--store", url)
    keep_outcomes(url, {"1.0": 5, "2.0": 5})

    shown = words(call("analyze", "trial", "--store", url))

    assert "CONTINUE: accuracy differs by +0.0 points" in shown
    assert "valid however often it is checked" in shown
    assert "valid only once, at a sample size fixed before" in shown
    assert "Sharpe a trade, not annualised" in shown


def test_an_experiment_without_records_is_shown(url: str) -> None:
    call("create", "tick", *VERSIONS, "--name", "trial", "--store", url)

    shown, as_json = call("analyze", "trial", "--store", url), call("analyze", "trial", "--store", url, "--json")

    assert shown.exit_code == 0, shown.output
    assert "100 scored predictions of each version" in words(shown)
    assert json.loads(as_json.stdout)["baseline"]["classification"]["accuracy"] is None


def test_create_prints_the_version_of_each_instrument(url: str) -> None:
    names = [f"S{number}" for number in range(40)]
    arguments = [part for name in names for part in ("--instrument", name)]

    created = call(
        "create", "tick", *VERSIONS, "--name", "trial", "--share", "25", *arguments, "--store", url, "--json"
    )

    summary = json.loads(created.stdout)
    with TrafficStore(url) as store:
        experiment: Split = store.split("trial")
    assert summary["with_challenger"] == [name for name in names if experiment.version_for(name, 0) == "2.0"]
    assert 3 <= len(summary["with_challenger"]) <= 20
    assert summary["concerns"] == []


def test_create_warns_of_one_instrument(url: str) -> None:
    created = call("create", "tick", *VERSIONS, "--instrument", "ES", "--store", url)

    assert created.exit_code == 0
    assert "warning: expected at least two instruments for a split by instrument" in words(created)
    assert "--by time" in words(created)


def test_rules_and_slices_are_kept(url: str) -> None:
    created = call(
        "create",
        "tick",
        *VERSIONS,
        "--name",
        "trial",
        "--by",
        "time",
        "--slice",
        "30m",
        "--rule",
        "least_blocks=8",
        "--store",
        url,
    )

    with TrafficStore(url) as store:
        kept = store.split("trial")
    assert "10% of the time slices of 30 min" in words(created)
    assert (kept.unit, kept.slice_ns) == ("time", HOUR_NS // 2)
    assert Rules.from_json(kept.settings) == Rules(least_blocks=8)


@pytest.mark.parametrize(
    ("arguments", "because"),
    [
        (("--share", "100"), "less than 100 %, got 100 %"),
        (("--rule", "least_blocs=8"), "rule: expected one of alpha"),
        (("--slice", "1 hour"), "a duration such as"),
        (("--baseline", "2.0"), "expected two versions, got 2.0 twice"),
    ],
)
def test_invalid_arguments_begin_nothing(url: str, arguments: tuple[str, ...], because: str) -> None:
    result = call("create", "tick", *VERSIONS, *arguments, "--store", url)

    assert result.exit_code == 2
    assert because in words(result).replace("│ ", "")
    with TrafficStore(url) as store:
        assert store.splits() == []


def test_a_challenger_that_the_server_does_not_have_is_refused(tick_server: TorchServe, url: str) -> None:
    result = call("create", "tick", "--challenger", "9.9", "--store", url, "--home", str(tick_server.home))

    assert result.exit_code == 1
    assert "tick/9.9: expected a registered version with READY workers, got none" in words(result)
    with TrafficStore(url) as store:
        assert store.splits() == []


def test_a_second_split_of_the_model_is_refused(url: str) -> None:
    with TrafficStore(url) as store:
        store.start(plan("tick", "1.0", "2.0", name="first"))

    result = call("create", "tick", *VERSIONS, "--name", "second", "--store", url)

    assert result.exit_code == 1
    assert "got a running experiment 'first'" in words(result)


@pytest.mark.parametrize("arguments", [("analyze", "nobody"), ("stop", "nobody")])
def test_an_unknown_experiment_is_an_error(url: str, arguments: tuple[str, ...]) -> None:
    result = call(*arguments, "--store", url)

    assert result.exit_code == 1
    assert "expected an experiment's name, got 'nobody'" in words(result)


def test_auto_needs_a_server(url: str, tmp_path: Path) -> None:
    call("create", "tick", *VERSIONS, "--name", "trial", "--store", url)

    result = call("analyze", "trial", "--auto", "--store", url, "--home", str(tmp_path))

    assert result.exit_code == 1
    assert "expected a running server, got none" in words(result)


def test_looking_again_and_again_needs_auto(url: str) -> None:
    assert call("analyze", "trial", "--every", "60s", "--store", url).exit_code == 2


def test_the_simulation_prints_its_error_rates() -> None:
    result = call("simulate", "--experiments", "40", "--observations", "600", "--json")

    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert [(row["accuracy"], row["share"]) for row in summary["equal"]] == [
        (0.4, 0.5),
        (0.55, 0.5),
        (0.95, 0.5),
        (0.4, 0.1),
        (0.55, 0.1),
        (0.95, 0.1),
    ]
    assert all(row["promoted"] <= 0.1 for row in summary["equal"])
    assert [row["gain"] for row in summary["better"]] == [0.02, 0.05, 0.1] * 2
    assert len(summary["dependent"]) == 2


def test_the_simulation_is_readable() -> None:
    shown = words(call("simulate", "--experiments", "8", "--observations", "400"))

    assert "Equal versions, 8 experiments of 400 predictions, checked after every one" in shown
    assert "Dependence, 2 experiments" in shown
    assert "Equal versions, checked after every prediction, were promoted in at most" in shown
