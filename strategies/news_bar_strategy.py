"""Trades on an ensemble's forecast of the next bar: the bar strategy's rule with a news filter on entries."""

from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.wire.output_constraints import NON_NEGATIVE, SCORE, OutputConstraints
from strategies.bar_strategy import BarStrategy, BarStrategyConfig


class NewsBarStrategyConfig(BarStrategyConfig, kw_only=True, frozen=True):
    """Configuration for `NewsBarStrategy`, in addition to `BarStrategyConfig`.

    Parameters
    ----------
    require_news : bool, default False
        If only forecasts with news may open or turn a position.
    veto_score : float, optional
        No position is opened or turned against a sentiment of at least this strength, in (0, 1]; None: no veto, as
        the sentiment's weight in the forecast was fitted.
    """

    require_news: bool = False
    veto_score: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(
            self.veto_score is None or 0 < self.veto_score <= 1,
            f"veto_score above 0 and at most 1, or None, got {self.veto_score}",
        )


class NewsBarStrategy(BarStrategy):
    """`BarStrategy` on the ensemble's forecasts, with a news filter on entries.

    Signals are those of `BarStrategy`. One that may not enter is ignored like a weak forecast: it opens and
    turns nothing, and a position against it lasts to its horizon's end. One in the position's own
    direction renews it, with or without news.

    Parameters
    ----------
    config : NewsBarStrategyConfig
    """

    required = OutputConstraints({**BarStrategy.required.ranges, "texts": NON_NEGATIVE, "sentiment_score": SCORE})

    def may_enter(self, signal: Prediction, direction: int) -> bool:
        outputs, veto = signal.outputs, self.config.veto_score
        if self.config.require_news and outputs["texts"] == 0:
            return False
        return veto is None or -direction * outputs["sentiment_score"] < veto
