"""What passes over the message bus, as records of the audit log."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from nautilus_trader.cache.base import CacheFacade
from nautilus_trader.model.enums import liquidity_side_to_str, order_side_to_str, order_type_to_str
from nautilus_trader.model.events import OrderEvent, OrderFilled, OrderInitialized
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import ImportableStrategyConfig

from nautilus_torchserve.audit.records import AskedRecord, DecisionRecord, FillRecord, OrderRecord, PlaybackRecord
from nautilus_torchserve.code_version import NAME, code_version, package_version
from nautilus_torchserve.trading.decision import Decision
from nautilus_torchserve.trading.inference.messages import InferenceCall, OneInput
from nautilus_torchserve.trading.live.replay.client import Playback
from nautilus_torchserve.wire.news_windows import NewsWindow

Next = Callable[[int], dict[str, Any]]
"""Given a record's time, its ``run_id``, ``seq`` and ``ts_ns``."""
PACKAGES = ("nautilus_trader", "numpy")


def packages() -> dict[str, str]:
    """Versions of what decides what comes out of a run on the trading side."""
    return {**{name: package_version(name) for name in PACKAGES}, NAME: code_version()}


def as_json(strategies: Iterable[ImportableStrategyConfig]) -> str:
    """The strategies' configs, as `audit.records.SessionRecord.strategies` has them."""
    return json.dumps([strategy.json_primitives() for strategy in strategies], sort_keys=True)


def instruments_as_json(instruments: Sequence[Instrument]) -> str:
    """The instruments, as `audit.records.SessionRecord.instruments` has them."""
    return json.dumps([type(each).to_dict(each) for each in instruments], sort_keys=True)


def asked_records(call: InferenceCall, begin: Next) -> Iterator[AskedRecord]:
    """One for each question of a request."""
    for row, (question, fate) in enumerate(zip(call.questions, call.fates, strict=True)):
        features, texts, ages_s = _inputs(question.asked)
        yield AskedRecord(
            **begin(call.ended_ns),
            instrument_id=question.instrument_id.value,
            question=question.number,
            ts_event=question.ts_event,
            ts_init=question.ts_init,
            features=features.reshape(-1),
            shape=features.shape,
            texts=texts,
            ages_s=ages_s,
            model=call.model,
            url=call.url,
            version=call.version,
            digest=call.digest,
            outputs={name: values.item(row) for name, values in call.outputs.items()},
            fate=fate.value,
            error=call.error,
            sent_ns=call.sent_ns,
            ended_ns=call.ended_ns,
            latency_ns=call.latency_ns,
            rows=len(call.questions),
        )


def _inputs(asked: OneInput) -> tuple[np.ndarray, tuple[str, ...], tuple[float, ...]]:
    if isinstance(asked, NewsWindow):
        return asked.window, asked.texts, asked.ages_s
    return asked, (), ()


def decision_record(decision: Decision, cache: CacheFacade, begin: Next) -> DecisionRecord:
    """A decision with the market as it was at that moment."""
    said = decision.prediction
    quote, trade = cache.quote_tick(said.instrument_id), cache.trade_tick(said.instrument_id)
    return DecisionRecord(
        **begin(decision.ts_ns),
        strategy_id=decision.strategy_id,
        instrument_id=said.instrument_id.value,
        model=said.model,
        version=said.version,
        digest=said.archive_digest,
        status=str(said.status),
        outputs=said.outputs,
        question=said.number,
        ts_event=said.ts_event,
        ts_init=said.ts_init,
        feature_ts=said.feature_ts,
        latency_ns=said.latency_ns,
        split=said.split,
        leaving=said.leaving,
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
    """An order's event; of a fill, a record of its own kind.

    Parameters
    ----------
    begin : dict
        The record's ``run_id``, ``seq`` and ``ts_ns``: when it was heard.
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
    told = isinstance(event, OrderInitialized)
    return OrderRecord(
        **common,
        event=type(event).__name__.removeprefix("Order").upper(),
        order_type=order_type_to_str(event.order_type) if told else "",
        side=order_side_to_str(event.side) if told else "",
        quantity=str(event.quantity) if told else "",
        tags=tuple(event.tags or ()) if told else (),
        reason=getattr(event, "reason", None) or "",  # rejected, denied and cancels rejected
    )


def playback_record(playback: Playback, begin: dict[str, Any]) -> PlaybackRecord:
    """What a replay says of itself."""
    return PlaybackRecord(
        **begin,
        shift_ns=playback.shift_ns,
        source=playback.source,
        sha256=playback.sha256,
        events=playback.events,
        ended=playback.ended,
    )
