"""Hyper-parameter search with Optuna, with early pruning and continuation after an interruption."""

import fcntl
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from nautilus_torchserve.training.runs.config import Provenance, write_config
from nautilus_torchserve.user_error import UserError

START_UP_TRIALS = 5
"""Complete trials before any is pruned."""
WARM_UP_EPOCHS = 3
"""No trial is pruned before it has reported so many epochs."""
_CONFIGURATION = "configuration"
_LOCK_TIMEOUT_S = 60

Report = Callable[[int, float], None]
"""Takes an epoch (from 1) and its validation loss; raises `optuna.TrialPruned` where the trial is to be stopped."""
Objective = Callable[[Mapping[str, object], Report], float]
"""Takes a configuration and a `Report`, and returns the value to minimise."""
Space = Callable[[optuna.Trial], dict[str, object]]
"""Draws values from a trial and returns them as a configuration (of JSON types)."""


class StudyInUse(UserError):
    """A study that another process is working on."""


class TuningFailed(UserError):
    """No trial of a study has a value."""


@dataclass(frozen=True)
class TuneProgress:
    """A trial that has just ended."""

    number: int
    """Number of the trial, from 0; failed trials are numbered too."""
    state: Literal["complete", "pruned"]
    value: float | None
    """Value of the objective; None when pruned."""
    configuration: dict[str, object]
    done: int
    """Trials that count so far, this one and earlier runs' included."""
    best_value: float | None
    """Least value so far; None before the first complete trial."""


@dataclass(frozen=True)
class TuningResult:
    """The outcome of a study."""

    study: str
    best_params: dict[str, object]
    """The configuration of the least value, as `Space` returned it."""
    best_value: float
    trials: int
    """Trials that count: complete or pruned."""
    pruned: int
    failed: int
    """Trials that do not count: interrupted, or ended by an error."""


def tune(
    storage: Path,
    study: str,
    trials: int,
    objective: Objective,
    space: Space,
    seed: int,
    on_trial: Callable[[TuneProgress], None] = lambda progress: None,
) -> TuningResult:
    """Minimise an objective over a space; an existing study is continued.

    Each trial is drawn by a sampler (TPE, Bergstra et al. 2011) with a seed of its own, made of ``seed`` and the
    trial's number. So a trial depends on those before it, not on how often the study was interrupted, and one that ran
    out of memory is not repeated. A trial is pruned when its best loss is worse than the median of earlier trials'
    losses at that epoch (Golovin et al. 2017, section 3.2.2), or when its loss is not a finite number.

    Parameters
    ----------
    storage : Path
        SQLite file, made if missing; it may hold many studies.
    study : str
        Name of the study. Everything that changes the objective (data, model, length of the fit) belongs into it:
        values of different objectives must not be compared.
    trials : int
        Complete and pruned trials wanted in all; a study that has some runs only the rest.
    on_trial : callable
        Called after each trial.

    Raises
    ------
    StudyInUse
        Another process is working on it.
    TuningFailed
        Every trial was pruned.
    Exception
        Of the objective, unchanged; the trial is marked failed and the next call continues the study.
    """
    storage.parent.mkdir(parents=True, exist_ok=True)
    with _silence_optuna():
        backend = optuna.storages.RDBStorage(
            f"sqlite:///{storage.resolve()}", engine_kwargs={"connect_args": {"timeout": _LOCK_TIMEOUT_S}}
        )
        pruner = optuna.pruners.MedianPruner(START_UP_TRIALS, n_warmup_steps=WARM_UP_EPOCHS)
        stored = optuna.create_study(storage=backend, study_name=study, pruner=pruner, load_if_exists=True)
        with _lock_study(storage, study, backend.get_study_id_from_name(study)):
            for lost in _in_state(stored, TrialState.RUNNING):  # locked by this process, so its own is gone
                stored.tell(lost.number, state=TrialState.FAIL)
            while len(_counting(stored)) < trials:
                number = len(stored.get_trials(deepcopy=False))
                stored.sampler = optuna.samplers.TPESampler(seed=_trial_seed(seed, number))
                stored.optimize(_trial(objective, space), n_trials=1)
                on_trial(_progress(stored))
            return _result(stored)


def write_best(path: Path, tuned: TuningResult, fixed: Mapping[str, Mapping[str, object]]) -> None:
    """Write the best configuration, with what was not tuned, where
    `training.runs.config.read_config` takes it.

    Raises
    ------
    BadConfig
        The study's configurations are not made of sections.
    """
    write_config(path, tuned.best_params, fixed, Provenance(tuned.study, tuned.trials, tuned.best_value))


def _trial(objective: Objective, space: Space) -> Callable[[optuna.Trial], float]:
    def run(trial: optuna.Trial) -> float:
        configuration = space(trial)
        trial.set_user_attr(_CONFIGURATION, configuration)

        def report(epoch: int, validation_loss: float) -> None:
            trial.report(validation_loss, epoch)
            if not math.isfinite(validation_loss) or trial.should_prune():
                raise optuna.TrialPruned(f"validation loss {validation_loss:g} after epoch {epoch}")

        value = objective(configuration, report)
        if not math.isfinite(value):
            raise optuna.TrialPruned(f"value {value}")
        return value

    return run


def _trial_seed(seed: int, number: int) -> int:
    """Return a trial's seed; unlike seed + number, it shares no trial with the study of another seed."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _progress(study: optuna.Study) -> TuneProgress:
    newest = study.get_trials(deepcopy=False)[-1]
    complete = newest.state == TrialState.COMPLETE
    best = _best(study)
    return TuneProgress(
        number=newest.number,
        state="complete" if complete else "pruned",
        value=newest.value if complete else None,
        configuration=newest.user_attrs[_CONFIGURATION],
        done=len(_counting(study)),
        best_value=best.value if best else None,
    )


def _result(study: optuna.Study) -> TuningResult:
    best, counting = _best(study), _counting(study)
    if best is None or best.value is None:
        raise TuningFailed(f"{study.study_name}: expected a complete trial, got {len(counting)} pruned ones")
    return TuningResult(
        study=study.study_name,
        best_params=best.user_attrs[_CONFIGURATION],
        best_value=best.value,
        trials=len(counting),
        pruned=len(_in_state(study, TrialState.PRUNED)),
        failed=len(_in_state(study, TrialState.FAIL)),
    )


def _best(study: optuna.Study) -> FrozenTrial | None:
    complete = _in_state(study, TrialState.COMPLETE)
    return min(complete, key=lambda trial: (trial.value, trial.number)) if complete else None


def _counting(study: optuna.Study) -> list[FrozenTrial]:
    return _in_state(study, TrialState.COMPLETE, TrialState.PRUNED)


def _in_state(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=states)


@contextmanager
def _lock_study(storage: Path, study: str, study_id: int) -> Iterator[None]:
    """Keep other processes off one study: a lock on the byte of its id, which ends with the process however that ends.

    Not on the database itself, whose own locks would be lost when it is closed.
    """
    with storage.with_name(f"{storage.name}.lock").open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, study_id)
        except OSError:
            raise StudyInUse(f"{storage}: study {study} is in use by another process") from None
        yield


@contextmanager
def _silence_optuna() -> Iterator[None]:
    """Silence Optuna, which writes a line for each trial to stderr, and the traceback of an error that is raised."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
