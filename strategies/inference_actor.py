"""Asks a model about every trade and publishes what it says."""

import numpy as np
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import FIXED_PRECISION

from features.tick import WINDOW, TickFeatures, tick_schema
from strategies.checks import expect
from strategies.model_actor import ModelActor
from strategies.model_actor_config import ModelActorConfig
from wire.errors import RequestError

SIDE_SIGNS = (0, 1, -1)
"""Sign of `AggressorSide` NO_AGGRESSOR, BUYER, SELLER by its value."""


class InferenceActorConfig(ModelActorConfig, kw_only=True, frozen=True):
    """Configuration of `InferenceActor`: what `ModelActorConfig` has, and this.

    Parameters
    ----------
    instrument_id : InstrumentId
        Whose trades to ask about.
    window : int
        Trades that a row of features looks back on; must be the model's.
    """

    instrument_id: InstrumentId
    model: str = "tick"
    window: int = WINDOW

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.window >= 1, f"window of at least 1 trade, was {self.window}")


class InferenceActor(ModelActor):
    """Keeps the tick features, asks for a prediction with each trade and publishes it when it is due.

    A request that fails is logged and counted, and there is no prediction for that trade.

    Parameters
    ----------
    config : InferenceActorConfig
    """

    def __init__(self, config: InferenceActorConfig) -> None:
        super().__init__(config, [config.instrument_id])
        self.features = TickFeatures(config.window)
        self.failed: list[int] = []
        """Which trades' requests failed, 0 being the first trade seen."""
        self._price_step = 1
        self._size_step = 1

    def on_start(self) -> None:
        config = self.config
        self.connect_model(tick_schema(config.window))
        instrument = self.cache.instrument(config.instrument_id)
        self._price_step = 10 ** (FIXED_PRECISION - instrument.price_precision)
        self._size_step = 10 ** (FIXED_PRECISION - instrument.size_precision)
        self.subscribe_trade_ticks(config.instrument_id)

    def on_trade_tick(self, tick: TradeTick) -> None:
        row = self.features.update(
            tick.price.raw // self._price_step,
            tick.size.raw // self._size_step,
            SIDE_SIGNS[tick.aggressor_side],
            tick.ts_event,
        )
        if row is None or self.gave_up or not self.is_connected:
            return
        instrument_id = self.config.instrument_id
        route = self.route(instrument_id, tick.ts_event)
        asked = np.array((row,), dtype=np.float32)
        try:
            answer = self.ask(route, asked, [[instrument_id]], tick.ts_event)
        except RequestError as error:
            self.failed.append(self.features.seen - 1)
            self.say_failed(error, f"trade {self.features.seen}")
            self.count_event(answered=False, on_trial=route.on_trial)
        else:
            self.count_event(answered=True)
            due = self.schedule(tick.ts_init)
            self.hold_until_due(answer, 0, asked[0], instrument_id, tick.ts_event, due, route.split)
