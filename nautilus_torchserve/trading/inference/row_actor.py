"""The base of actors that request a prediction for one row of features at a time."""

from collections.abc import Iterable

import numpy as np
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.inference.actor import ModelActor
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.messages import PredictionRequest
from nautilus_torchserve.wire.errors import RequestError, is_refusal


class RowActor(ModelActor):
    """Requests the prediction of a row, and publishes it when it takes effect.

    A request that fails is logged and counted, and there is no prediction for that row.

    Parameters
    ----------
    config : ModelActorConfig
    instrument_ids : iterable of InstrumentId
        The instruments that predictions are about.
    """

    noun = "row"
    """One event, in log messages."""

    def __init__(self, config: ModelActorConfig, instrument_ids: Iterable[InstrumentId]) -> None:
        super().__init__(config, instrument_ids)
        self.failed: dict[InstrumentId, list[int]] = {name: [] for name in self.data_types}
        """Instrument -> `PredictionRequest.number` of the requests that failed."""
        self.refused_rows: dict[InstrumentId, list[int]] = {name: [] for name in self.data_types}
        """Instrument -> `PredictionRequest.number` of the rows that the model refused."""

    def request(self, request: PredictionRequest) -> None:
        """Request a prediction, unless requests have ended or there is no model."""
        if self._dispatcher is not None:  # a live run
            self._dispatcher.submit(request)
        elif self.is_connected and not self.gave_up:
            self._predict(request)

    def _predict(self, request: PredictionRequest) -> None:
        instrument_id, number, ts_event, ts_init, row = request
        route = self.route(instrument_id, ts_event)
        try:
            response = self.send(route, row[np.newaxis], [[instrument_id]], ts_event)
        except RequestError as error:
            subject = f"{self.noun} {number + 1} of {instrument_id}"
            if is_refusal(error):
                self.refused_rows[instrument_id].append(number)
                self.record_refusal(error, subject)
                self.count_event(is_answered=True)
                return
            self.failed[instrument_id].append(number)
            self.record_failure(error, subject)
            self.count_event(is_answered=False, on_trial=route.on_trial)
        else:
            self.count_event(is_answered=True)
            self.schedule_publish(response, 0, request, self.schedule(ts_init), route.split)
