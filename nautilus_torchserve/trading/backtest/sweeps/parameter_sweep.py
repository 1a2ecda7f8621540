"""Parameter sweep: backtests over a grid of settings, ranked, with the deflated Sharpe ratio of the best."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nautilus_torchserve.reporting.sweeps.grid_page import write_sweep
from nautilus_torchserve.scores.sharpe import PERIODS, deflated_best
from nautilus_torchserve.trading.backtest.report_parts import all_instruments_labels, setting_labels
from nautilus_torchserve.trading.backtest.settings import RunSettings, served_metadata
from nautilus_torchserve.trading.backtest.sweeps.grid import Combination, Grid, written
from nautilus_torchserve.trading.backtest.sweeps.point import Plan, SweepPoint
from nautilus_torchserve.trading.checks import expect

Run = Callable[[Plan, Sequence[Combination]], list[SweepPoint]]
"""Runs combinations: `trading.backtest.sweeps.processes.run_in_processes` or
`trading.backtest.sweeps.on_ray.run_on_ray`, with their other arguments bound.
"""


@dataclass(frozen=True)
class ParameterSweep:
    """Results of the combinations tried."""

    grid: Grid
    trials: tuple[SweepPoint, ...]
    """In the order of the grid."""

    @property
    def possible(self) -> int:
        """Number of combinations in the grid."""
        return math.prod(len(values) for values in self.grid.values())

    @property
    def ranked(self) -> list[SweepPoint]:
        """Points with the most profitable first, failed ones last; equal ones in the order of the grid."""
        return sorted(self.trials, key=lambda trial: -trial.outcome.pnl if trial.outcome else math.inf)

    @property
    def failed(self) -> list[SweepPoint]:
        """Points without an outcome."""
        return [trial for trial in self.trials if trial.outcome is None]

    @property
    def deflated_sharpe(self) -> float | None:
        """`scores.sharpe.deflated_sharpe` of the highest Sharpe ratio among the points that traded."""
        return deflated_best([trial.sharpe for trial in self.trials if trial.sharpe is not None])

    def as_dict(self) -> dict[str, Any]:
        """Return the sweep in plain JSON types, the best point first."""
        subject = next((trial.subject for trial in self.trials if trial.subject is not None), None)
        return {
            "subject": None if subject is None else asdict(subject),
            "grid": {name: [written(name, value) for value in values] for name, values in self.grid.items()},
            "possible": self.possible,
            "tried": len(self.trials),
            "failed": len(self.failed),
            "deflated_sharpe": self.deflated_sharpe,
            "sharpe_periods": PERIODS,
            "trials": [
                {
                    "settings": {name: written(name, value) for name, value in trial.combination.items()},
                    **({} if trial.outcome is None else asdict(trial.outcome)),
                    "sharpe": None if trial.sharpe is None else trial.sharpe.ratio,
                    "error": trial.error,
                }
                for trial in self.ranked
            ],
        }


def sweep_parameters(plan: Plan, grid: Grid, tried: Sequence[Combination], run: Run) -> ParameterSweep:
    """Try combinations of a grid.

    All use the version that is the default one at the beginning, unless model or version are swept.

    Raises
    ------
    BadSetting
        Versions are split.
    RequestError, UnreadableArchive
        The model cannot be reached.
    """
    settings = plan.settings
    expect(settings.traffic is None, f"no traffic in a sweep (it moves while one runs), got {settings.traffic}")
    if not {"model", "version"} & set(grid):
        settings = replace(settings, version=served_metadata(settings).version)
    return ParameterSweep(grid, tuple(run(replace(plan, settings=settings), tried)))


def write_sweep_report(sweep: ParameterSweep, settings: RunSettings, folder: Path) -> Path:
    """Write the page and the same numbers as JSON; return ``folder/index.html``.

    Parameters
    ----------
    sweep : ParameterSweep
        At least one combination has an outcome.
    """
    document = sweep.as_dict()
    subject = document["subject"]
    labels = setting_labels(settings, subject["currency"], all_instruments_labels(subject["definitions"]))
    return write_sweep(document, labels, folder)
