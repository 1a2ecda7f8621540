"""Attribution of each position to the prediction that it was opened on, with the inputs of that prediction."""

from collections.abc import Sequence
from typing import NamedTuple

from nautilus_trader.common.component import MessageBus
from nautilus_trader.model.events import OrderEvent, OrderInitialized
from nautilus_trader.model.identifiers import ClientOrderId, InstrumentId

from nautilus_torchserve.reporting.backtest.trade_log import PastTrade, TradeLog
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.ledger import RoundTrip
from nautilus_torchserve.trading.backtest.prepared import Publisher
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.inference.messages import ModelInput
from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.wire.news_windows import NewsWindow


class Reason(NamedTuple):
    """Prediction that an order was sent on, with its inputs."""

    prediction: Prediction
    inputs: ModelInput


class TradeAttribution:
    """Records, for each order, the prediction that was being handled when it was sent.

    A strategy orders while it handles a prediction, so the reason is the one that was published last;
    an order on an earlier one, such as one that closes an expired position, has another tag and no reason here.

    Parameters
    ----------
    bus : MessageBus
    publisher : Publisher
        Source of the predictions.
    """

    def __init__(self, bus: MessageBus, publisher: Publisher) -> None:
        self._publisher = publisher
        self._of: dict[ClientOrderId, Reason] = {}
        bus.subscribe(topic="events.order.*", handler=self._on_order)

    def _on_order(self, event: OrderEvent) -> None:
        if not isinstance(event, OrderInitialized) or (published := self._publisher.published) is None:
            return
        prediction, inputs = published
        if prediction.instrument_id == event.instrument_id and f"feature_ts={prediction.feature_ts}" in (
            event.tags or ()
        ):
            self._of[event.client_order_id] = Reason(prediction, inputs)

    def past_trades(self, closed: Sequence[RoundTrip]) -> tuple[PastTrade, ...]:
        """Return closed positions with the predictions that they were opened on, in their order.

        Those that a strategy of the user's own opened without a prediction are left out.
        """
        return tuple(
            _past_trade(number, trip, self._of[trip.opening_order_id])
            for number, trip in enumerate(closed, 1)
            if trip.opening_order_id in self._of
        )


def trade_log(
    settings: RunSettings,
    metadata: ModelMetadata,
    instrument_id: InstrumentId | str,
    currency: str,
    trades: Sequence[PastTrade],
) -> TradeLog:
    """Return one instrument's trades with the model that they were made on."""
    return TradeLog(
        instrument_id=str(instrument_id),
        currency=currency,
        model=settings.model,
        version=metadata.version,
        archive_digest=metadata.archive_digest,
        url=settings.url,
        inputs=metadata.inputs,
        trades=tuple(trades),
    )


def _past_trade(number: int, trip: RoundTrip, reason: Reason) -> PastTrade:
    inputs = reason.inputs if isinstance(reason.inputs, NewsWindow) else NewsWindow(reason.inputs)
    return PastTrade(
        number=number,
        side=trip.side,
        quantity=float(trip.quantity),
        ts_opened=trip.ts_opened,
        ts_closed=trip.ts_closed,
        price_opened=float(trip.price_opened),
        price_closed=float(trip.price_closed),
        pnl=float(trip.pnl),
        feature_ts=reason.prediction.feature_ts,
        outputs=dict(reason.prediction.outputs),
        row=inputs.window,
        texts=inputs.texts,
        ages_s=inputs.ages_s,
    )
