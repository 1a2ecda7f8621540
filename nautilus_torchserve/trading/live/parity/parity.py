"""Comparison of a recorded live run with a backtest over the same data and latencies."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nautilus_torchserve.audit.records import AuditLog
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.instruments.conform import conform, tick_steps
from nautilus_torchserve.trading.live.parity.backtest import backtest_recorded, traded_instrument
from nautilus_torchserve.trading.live.parity.orders import OrderParity, compare_orders
from nautilus_torchserve.trading.live.parity.predictions import PredictionParity, compare_predictions
from nautilus_torchserve.trading.live.parity.reasons import Market
from nautilus_torchserve.trading.live.parity.recorded_run import LoggedRun, NoParity, locate_events, recorded_run


@dataclass(frozen=True, eq=False)
class ParityReport:
    """The result of the comparison."""

    run_id: str
    data: str
    lost: int
    """Records that are missing from the log."""
    halts: int
    """Orders to stop trading, which the backtest got at their recorded times."""
    predictions: PredictionParity
    orders: OrderParity

    @property
    def holds(self) -> bool:
        """All predictions are equal to the bit, each differing order is explained, and no record is missing."""
        return self.predictions.equal and self.orders.explained and not self.lost

    def to_dict(self) -> dict[str, Any]:
        """Return the report in plain JSON types."""
        predictions = self.predictions
        return {
            "run_id": self.run_id,
            "data": self.data,
            "holds": self.holds,
            "lost": self.lost,
            "halts": self.halts,
            "predictions": {
                "asked": predictions.requests,
                "features_equal": predictions.features_equal,
                "answered": predictions.answered,
                "outputs_equal": predictions.outputs_equal,
                "differences": [asdict(difference) for difference in predictions.differences],
            },
            "orders": asdict(self.orders),
        }


def compare_run(
    log: AuditLog, trades: Trades, urls: Sequence[str], run_id: str | None = None, token: str | None = None
) -> ParityReport:
    """Compare a run of tick strategies with a backtest of it.

    Parameters
    ----------
    trades : Trades
        What was played, as recorded.
    urls : sequence of str
        Where the archives that answered are: servers, or ``mar:PATH``.
    run_id : str, optional
        Which run of the log; None takes the last one.
    token : str, optional
        TorchServe's inference token.

    Raises
    ------
    NoParity
        The log, the data and the archives do not belong together, or times make no sense.
    UnknownRun
        There is no such run.
    LogFailed
        The log cannot be read.
    RequestError, UnreadableArchive
        A model cannot be reached.
    """
    recorded = recorded_run(log, run_id)
    _check_not_ahead(recorded)
    rows = locate_events(recorded, trades)
    instrument = traded_instrument(recorded, trades)
    trades = conform(trades, instrument)
    predictions = compare_predictions(recorded.run.requests, rows, trades, urls, token)
    backtest = backtest_recorded(recorded, trades, predictions.outputs)
    return ParityReport(
        run_id=recorded.session.run_id,
        data=trades.source,
        lost=recorded.lost,
        halts=len(recorded.run.halts),
        predictions=predictions,
        orders=compare_orders(recorded.run, backtest, Market(trades, recorded.shift_ns, tick_steps(instrument))),
    )


def _check_not_ahead(recorded: LoggedRun) -> None:
    """Raise where data were played faster than they were recorded, and so stamped ahead of the clock."""
    for request in recorded.run.requests:
        if request.ended_ns < request.ts_init:
            raise NoParity(
                f"run {recorded.session.run_id}: expected data played at speed 1, got an answer "
                f"{(request.ts_init - request.ended_ns) / 1e6:.3f} ms before its question"
            )
