"""The inputs of a recorded run's requests, computed anew from the data."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from nautilus_trader.model.instruments import Instrument
from numpy.typing import NDArray

from nautilus_torchserve.features.tick import tick_features, tick_schema
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.models.spec import ModelSpec
from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.trading.features.arrays import MarketData, market_arrays
from nautilus_torchserve.trading.features.instrument_features import load_schema
from nautilus_torchserve.trading.instruments.conform import conform
from nautilus_torchserve.trading.live.parity.backtest import shifted_to
from nautilus_torchserve.trading.live.parity.recorded_run import LoggedRun, check_data, locate_events
from nautilus_torchserve.wire.errors import SchemaMismatch


@dataclass(frozen=True, eq=False)
class ComputedInputs:
    """Inputs of the data, and which of them each request of a run is about."""

    positions: NDArray[np.int64]
    """Of each request's input among those of the data [requests], -1 where they have none."""
    of_model: Callable[[InferenceClient], NDArray[np.float32]]
    """Returns the inputs that a model takes [n, ...]; raises SchemaMismatch for a model of other features."""


def tick_inputs(recorded: LoggedRun, trades: Trades) -> ComputedInputs:
    """Return the features of each trade, in the window of the model that is asked; raises as `locate_events`."""
    check_data(recorded, trades)
    columns = (trades.price, trades.size, trades.side, trades.ts_event)

    def of_model(client: InferenceClient) -> NDArray[np.float32]:
        schema = tick_schema(client.metadata.feature_schema.window)
        _check_schema(client, schema.sha256, schema.name)
        return tick_features(*columns, schema.window)

    return ComputedInputs(locate_events(recorded, trades.source, trades.ts_event + recorded.shift_ns), of_model)


def own_inputs(recorded: LoggedRun, trades: Trades, instrument: Instrument, spec: ModelSpec) -> ComputedInputs:
    """Return what the streaming class of a spec makes of the trades in the run's time, as a live actor had them.

    The class is given the data from their beginning: where that is not the run's, the first `FeatureSet.warm_up` rows
    after it may differ.

    Raises
    ------
    NoParity
        The data are not those of the run.
    BadData, FeaturesFailed, BadSetting, InvalidArgument
        As `trading.features.arrays.feature_arrays`.
    """
    check_data(recorded, trades)
    market = MarketData((conform(shifted_to(trades, recorded), instrument),), (instrument,))
    arrays = market_arrays(spec, market, instrument.id, recorded.until_ns)
    schema = load_schema(spec.features)

    def of_model(client: InferenceClient) -> NDArray[np.float32]:
        _check_schema(client, schema.sha256, schema.name)
        return arrays.inputs

    return ComputedInputs(locate_events(recorded, trades.source, arrays.ts_event), of_model)


def _check_schema(client: InferenceClient, sha256: str, name: str) -> None:
    if sha256 != client.metadata.feature_schema_sha256:
        raise SchemaMismatch(f"expected a model trained on features {name}, got {client.metadata.feature_schema.name}")
