import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest

from nautilus_torchserve.training.runs.config import read_config
from nautilus_torchserve.training.runs.tuning import (
    START_UP_TRIALS,
    WARM_UP_EPOCHS,
    StudyInUse,
    TuneProgress,
    TuningFailed,
    tune,
    write_best,
)
from support import PROJECT

SEARCH = """
import sys
from pathlib import Path
from nautilus_torchserve.training.runs.tuning import tune

def space(trial):
    return {"network": {"hidden": trial.suggest_int("hidden", 8, 256)},
            "fit": {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)}}

def objective(configuration, report):
    print(configuration["fit"]["learning_rate"], flush=True)
    if len(drawn := seen.append(1) or seen) == 3:
        sys.stdin.read()
    report(1, configuration["fit"]["learning_rate"])
    return configuration["fit"]["learning_rate"]

seen = []
tune(Path(sys.argv[1]), "price", 6, objective, space, seed=1)
"""
"""Stops in the middle of its third trial until its stdin ends."""


@dataclass(frozen=True)
class Network:
    hidden: int = 32


@dataclass(frozen=True)
class Fit:
    learning_rate: float = 1e-3
    epochs: int = 5


def space(trial: optuna.Trial) -> dict[str, object]:
    return {
        "network": {"hidden": trial.suggest_int("hidden", 8, 256)},
        "fit": {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)},
    }


def learning_rate(configuration: Any) -> float:
    return configuration["fit"]["learning_rate"]


def objective(configuration: Any, report: Any) -> float:
    report(1, learning_rate(configuration))
    return learning_rate(configuration)


def search(storage: Path, trials: int, seed: int = 1, study: str = "price") -> list[TuneProgress]:
    """Return the value of each trial of this call."""
    ended: list[TuneProgress] = []
    tune(storage, study, trials, objective, space, seed, ended.append)
    return ended


def drawn(ended: list[TuneProgress]) -> list[dict[str, object]]:
    return [progress.configuration for progress in ended]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "tuning.db"


@pytest.fixture
def in_third_trial(storage: Path) -> Iterator[tuple[subprocess.Popen[str], list[float]]]:
    """Another process that searches the same study, and the learning rates of its first three trials."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SEARCH, str(storage)]
    with subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        yield process, [float(process.stdout.readline()) for _ in range(3)]
        process.kill()


def test_killed_study_resumes_up_to_the_total(
    storage: Path, in_third_trial: tuple[subprocess.Popen[str], list[float]]
) -> None:
    process, before = in_third_trial
    process.kill()
    _, stderr = process.communicate()
    after: list[TuneProgress] = []

    tuned = tune(storage, "price", 6, objective, space, 1, after.append)

    assert stderr == ""
    assert (tuned.trials, tuned.failed) == (6, 1)
    assert [(progress.number, progress.done) for progress in after] == [(3, 3), (4, 4), (5, 5), (6, 6)]
    rates = [*before, *(learning_rate(progress.configuration) for progress in after)]
    assert len(set(rates)) == 7
    counted = rates[:2] + rates[3:]
    assert tuned.best_value == min(counted) == learning_rate(tuned.best_params)
    assert after[-1].best_value == tuned.best_value


def test_a_study_in_use_is_left_alone(storage: Path, in_third_trial: tuple[subprocess.Popen[str], list[float]]) -> None:
    with pytest.raises(StudyInUse, match="study price is in use by another process"):
        search(storage, 6)

    assert len(search(storage, 1, study="another")) == 1
    stdout, _ = in_third_trial[0].communicate("")
    assert len(stdout.split()) == 3
    assert search(storage, 6) == []


def test_trials_do_not_depend_on_interruptions(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole.db", 14)
    parts = [progress for total in (4, 11, 14) for progress in search(tmp_path / "parts.db", total)]

    assert drawn(parts) == drawn(whole)
    assert len({learning_rate(configuration) for configuration in drawn(whole)}) == 14


def test_another_seed_draws_others(storage: Path) -> None:
    one, two = (search(storage, 5, seed, study=f"seed {seed}") for seed in (1, 2))

    assert not {*map(learning_rate, drawn(one))} & {*map(learning_rate, drawn(two))}


def test_a_clearly_bad_trial_is_pruned(storage: Path) -> None:
    epochs: list[int] = []

    def worse_after_the_start(configuration: Any, report: Any) -> float:
        epochs.append(0)
        level = 1.0 if len(epochs) <= START_UP_TRIALS else 100.0
        for epoch in range(1, 11):
            epochs[-1] = epoch
            report(epoch, level / epoch)
        return level / 10

    ended: list[TuneProgress] = []

    tuned = tune(storage, "s", START_UP_TRIALS + 3, worse_after_the_start, space, 1, ended.append)

    assert epochs == [10] * START_UP_TRIALS + [WARM_UP_EPOCHS] * 3
    assert [progress.state for progress in ended] == ["complete"] * START_UP_TRIALS + ["pruned"] * 3
    assert (tuned.trials, tuned.pruned, tuned.failed, tuned.best_value) == (START_UP_TRIALS + 3, 3, 0, 0.1)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
@pytest.mark.parametrize("reported", [True, False])
def test_a_fit_that_diverges_is_pruned_and_counts(storage: Path, loss: float, reported: bool) -> None:
    values = [0.5, loss]

    def diverges(configuration: Any, report: Any) -> float:
        value = values.pop(0)
        if reported:
            report(1, value)
        return value

    tuned = tune(storage, "s", 2, diverges, space, 1)

    assert values == []
    assert (tuned.trials, tuned.pruned, tuned.best_value) == (2, 1, 0.5)


def test_a_study_without_a_complete_trial_is_refused(storage: Path) -> None:
    with pytest.raises(TuningFailed, match="s: expected a complete trial, got 3 pruned ones"):
        tune(storage, "s", 3, lambda configuration, report: math.nan, space, 1)


def test_error_of_the_objective_stops_the_study_which_can_be_resumed(storage: Path) -> None:
    rates = []

    def out_of_memory_once(configuration: Any, report: Any) -> float:
        rates.append(learning_rate(configuration))
        if len(rates) == 2:
            raise MemoryError("of the card")
        return objective(configuration, report)

    with pytest.raises(MemoryError, match="of the card"):
        tune(storage, "s", 3, out_of_memory_once, space, 1)
    tuned = tune(storage, "s", 3, out_of_memory_once, space, 1)

    assert (tuned.trials, tuned.failed) == (3, 1)
    assert len(set(rates)) == len(rates) == 4


def test_the_next_run_accepts_the_best_configuration(storage: Path, tmp_path: Path) -> None:
    tuned = tune(storage, "price", 3, objective, space, 1)

    write_best(tmp_path / "best.json", tuned, {"fit": {"epochs": 7, "learning_rate": 1.0}})

    config = read_config(tmp_path / "best.json", {"network": Network, "fit": Fit})
    assert config["fit"] == Fit(tuned.best_value, 7)
    assert {"hidden": config["network"].hidden} == tuned.best_params["network"]
    assert (config["tuned"].study, config["tuned"].trials, config["tuned"].value) == ("price", 3, tuned.best_value)
