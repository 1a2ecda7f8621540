"""Requests a prediction with every trade and publishes it."""

from typing import Any

import numpy as np
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import FIXED_PRECISION

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.features.tick import WINDOW, TickFeatures, tick_schema
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.messages import PredictionRequest
from nautilus_torchserve.trading.inference.row_actor import RowActor
from nautilus_torchserve.trading.isolate_errors import isolate_errors
from nautilus_torchserve.trading.warm_start import WarmStart

SIDE_SIGNS = (0, 1, -1)
"""Sign of `AggressorSide` NO_AGGRESSOR, BUYER, SELLER by its value."""


class InferenceActorConfig(ModelActorConfig, kw_only=True, frozen=True):
    """Configuration for `InferenceActor`, in addition to `ModelActorConfig`.

    Parameters
    ----------
    instrument_id : InstrumentId
        The instrument whose trades to follow.
    window : int
        Trades that a row of features looks back on; must be the model's.
    """

    instrument_id: InstrumentId
    model: str = "tick"
    window: int = WINDOW

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.window >= 1, f"window of at least 1 trade, got {self.window}")

    @classmethod
    def metadata_fields(cls, metadata: ModelMetadata) -> dict[str, Any]:
        return {"window": metadata.feature_schema.window}

    def feature_schema(self) -> FeatureSchema:
        return tick_schema(self.window)

    def subjects(self) -> list[InstrumentId]:
        return [self.instrument_id]


class InferenceActor(RowActor):
    """Updates the tick features with each trade, requests a prediction and publishes it when it takes effect.

    In a live run with ``warm_up_ns`` the features are filled from history first, without requests.

    Parameters
    ----------
    config : InferenceActorConfig
    """

    noun = "trade"

    def __init__(self, config: InferenceActorConfig) -> None:
        super().__init__(config, [config.instrument_id])
        self.features = TickFeatures(config.window)
        self._price_step = 1
        self._size_step = 1
        self._warm_start: WarmStart[TradeTick] = WarmStart(lambda tick: tick.trade_id.value)

    def on_start(self) -> None:
        config = self.config
        instrument = self.connect_model(config.feature_schema())[config.instrument_id]
        self._price_step = 10 ** (FIXED_PRECISION - instrument.price_precision)
        self._size_step = 10 ** (FIXED_PRECISION - instrument.size_precision)
        self.subscribe_trade_ticks(config.instrument_id)
        since = self.begin_warm_start(self._add_history)
        if since is None:
            self._warm_start.is_over = True
        else:
            self.request_trade_ticks(config.instrument_id, start=since, callback=self.end_warm_start)

    @isolate_errors
    def on_historical_data(self, data: TradeTick) -> None:
        if isinstance(data, TradeTick) and data.instrument_id == self.config.instrument_id:
            self._warm_start.add_history(data)

    @isolate_errors
    def on_trade_tick(self, tick: TradeTick) -> None:
        if not self._warm_start.is_over:
            self._warm_start.hold(tick)
            return
        row = self._row(tick)
        if row is None:
            return
        self.request(
            PredictionRequest(
                self.config.instrument_id,
                self.features.seen - 1,
                tick.ts_event,
                tick.ts_init,
                np.array(row, dtype=np.float32),
            )
        )

    def _row(self, tick: TradeTick) -> tuple[float, ...] | None:
        price, finer_price = divmod(tick.price.raw, self._price_step)
        size, finer_size = divmod(tick.size.raw, self._size_step)
        if finer_price or finer_size:
            self._refine(tick)
            price, size = tick.price.raw // self._price_step, tick.size.raw // self._size_step
        return self.features.update(price, size, SIDE_SIGNS[tick.aggressor_side], tick.ts_event)

    def _refine(self, tick: TradeTick) -> None:
        """Adopt the steps of a trade that has more decimals than its instrument, as after a change of tick size."""
        price_step, size_step = _step(tick.price.raw, self._price_step), _step(tick.size.raw, self._size_step)
        self.features.refine(self._price_step // price_step, self._size_step // size_step)
        self._price_step, self._size_step = price_step, size_step
        self.log.warning(f"{tick} has more decimals than its instrument; features continue in its steps")

    def _add_history(self) -> str:
        for tick in self._warm_start.end():
            self._row(tick)
        return f"{self.features.seen} trades, of which {self.config.window + 1} make the first row of features"


def _step(raw: int, step: int) -> int:
    """Return the largest step, ``step`` over a power of ten, of which ``raw`` is a multiple."""
    while raw % step:
        step //= 10
    return step
