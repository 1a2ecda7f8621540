"""Messages of the message bus as records of the audit log."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from nautilus_trader.cache.base import CacheFacade
from nautilus_trader.model.enums import liquidity_side_to_str, order_side_to_str, order_type_to_str
from nautilus_trader.model.events import OrderEvent, OrderFilled, OrderInitialized
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import ImportableStrategyConfig

from nautilus_torchserve.audit.records import DecisionRecord, FillRecord, OrderRecord, PlaybackRecord, RequestRecord
from nautilus_torchserve.code_version import NAME, code_version, package_version
from nautilus_torchserve.trading.decision import Decision
from nautilus_torchserve.trading.inference.messages import InferenceCall, ModelInput
from nautilus_torchserve.trading.live.replay.client import Playback
from nautilus_torchserve.wire.news_windows import NewsWindow

Next = Callable[[int], dict[str, Any]]
"""Given a record's time, returns its ``run_id``, ``seq`` and ``ts_ns``."""
PACKAGES = ("nautilus_trader", "numpy")


def packages() -> dict[str, str]:
    """Return the versions of the packages that determine a run on the trading side."""
    return {**{name: package_version(name) for name in PACKAGES}, NAME: code_version()}


def as_json(strategies: Iterable[ImportableStrategyConfig]) -> str:
    """Return the strategies' configs, as `audit.records.SessionRecord.strategies` has them."""
    return json.dumps([strategy.json_primitives() for strategy in strategies], sort_keys=True)


def instruments_as_json(instruments: Sequence[Instrument]) -> str:
    """Return the instruments, as `audit.records.SessionRecord.instruments` has them."""
    return json.dumps([type(instrument).to_dict(instrument) for instrument in instruments], sort_keys=True)


def request_records(call: InferenceCall, begin: Next) -> Iterator[RequestRecord]:
    """Yield a record for each request of a call."""
    for row, (request, outcome) in enumerate(zip(call.requests, call.outcomes, strict=True)):
        features, texts, ages_s = _inputs(request.features)
        yield RequestRecord(
            **begin(call.ended_ns),
            instrument_id=request.instrument_id.value,
            question=request.number,
            ts_event=request.ts_event,
            ts_init=request.ts_init,
            features=features.reshape(-1),
            shape=features.shape,
            texts=texts,
            ages_s=ages_s,
            model=call.model,
            url=call.url,
            version=call.version,
            digest=call.digest,
            outputs={name: values.item(row) for name, values in call.outputs.items()},
            fate=outcome.value,
            error=call.error,
            sent_ns=call.sent_ns,
            ended_ns=call.ended_ns,
            latency_ns=call.latency_ns,
            rows=len(call.requests),
        )


def _inputs(model_input: ModelInput) -> tuple[np.ndarray, tuple[str, ...], tuple[float, ...]]:
    if isinstance(model_input, NewsWindow):
        return model_input.window, model_input.texts, model_input.ages_s
    return model_input, (), ()


def decision_record(decision: Decision, cache: CacheFacade, begin: Next) -> DecisionRecord:
    """Return the record of a decision, with the market as it was at that moment."""
    prediction = decision.prediction
    quote, trade = cache.quote_tick(prediction.instrument_id), cache.trade_tick(prediction.instrument_id)
    return DecisionRecord(
        **begin(decision.ts_ns),
        strategy_id=decision.strategy_id,
        instrument_id=prediction.instrument_id.value,
        model=prediction.model,
        version=prediction.version,
        digest=prediction.archive_digest,
        status=str(prediction.status),
        outputs=prediction.outputs,
        question=prediction.number,
        ts_event=prediction.ts_event,
        ts_init=prediction.ts_init,
        feature_ts=prediction.feature_ts,
        latency_ns=prediction.latency_ns,
        split=prediction.split,
        leaving=prediction.pending_version_change,
        age_ns=decision.age_ns,
        position=str(decision.position),
        side=decision.side,
        quantity=str(decision.quantity),
        client_order_id=decision.client_order_id,
        why=decision.why,
        bid="" if quote is None else str(quote.bid_price),
        ask="" if quote is None else str(quote.ask_price),
        last="" if trade is None else str(trade.price),
    )


def order_record(event: OrderEvent, begin: dict[str, Any]) -> OrderRecord | FillRecord:
    """Return the record of an order's event; of a fill, a `FillRecord`.

    Parameters
    ----------
    begin : dict
        The record's ``run_id``, ``seq`` and ``ts_ns``: when it was received.
    """
    venue_order_id = event.venue_order_id
    common = {
        **begin,
        "ts_event": event.ts_event,
        "strategy_id": event.strategy_id.value,
        "instrument_id": event.instrument_id.value,
        "client_order_id": event.client_order_id.value,
        "venue_order_id": "" if venue_order_id is None else venue_order_id.value,
    }
    if isinstance(event, OrderFilled):
        return FillRecord(
            **common,
            trade_id=event.trade_id.value,
            position_id="" if event.position_id is None else event.position_id.value,
            side=order_side_to_str(event.order_side),
            quantity=str(event.last_qty),
            price=str(event.last_px),
            fee=str(event.commission.as_decimal()),
            fee_currency=event.commission.currency.code,
            liquidity=liquidity_side_to_str(event.liquidity_side),
        )
    is_new = isinstance(event, OrderInitialized)
    return OrderRecord(
        **common,
        event=type(event).__name__.removeprefix("Order").upper(),
        order_type=order_type_to_str(event.order_type) if is_new else "",
        side=order_side_to_str(event.side) if is_new else "",
        quantity=str(event.quantity) if is_new else "",
        tags=tuple(event.tags or ()) if is_new else (),
        reason=getattr(event, "reason", None) or "",  # rejected, denied and cancels rejected
    )


def playback_record(playback: Playback, begin: dict[str, Any]) -> PlaybackRecord:
    """Return the record of a replay's description."""
    return PlaybackRecord(**begin, **asdict(playback))
