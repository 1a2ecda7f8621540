"""A difference is explained by what the records prove, and by nothing else."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nautilus_torchserve.audit.records import DecisionRecord, FillRecord, OrderRecord
from nautilus_torchserve.market.trades.trades import Instrument, Trades
from nautilus_torchserve.trading.live.parity.parity import OrderParity, compare_orders
from nautilus_torchserve.trading.live.parity.reasons import Market
from nautilus_torchserve.trading.live.parity.recorded_run import RecordedRun

MS = 1_000_000
START = 1_700_000_000_000 * MS
STRATEGY, INSTRUMENT = "TickStrategy-000", "BTCUSDT.BINANCE"
MARKET = Market(
    Trades(
        instrument=Instrument("BTCUSDT", "BINANCE", 2, 3),
        source="made",
        simulated=True,
        ts_event=START + np.arange(4, dtype=np.int64) * 1_000 * MS,
        ts_init=START + np.arange(4, dtype=np.int64) * 1_000 * MS,
        price=np.array([100_00, 100_10, 100_20, 100_30]),
        size=np.ones(4, np.int64),
        side=np.array([1, -1, 1, -1], np.int8),
        trade_id=np.arange(4).astype(str),
    ),
    shift_ns=0,
)


def decided(number: int, at_ms: float, why: str, **changes: Any) -> DecisionRecord:
    """Return a decision on the response to request ``number``, received 5 ms before; by default not to order."""
    ts = START + int(at_ms * MS)
    fields = {
        "run_id": "run",
        "seq": 0,
        "ts_ns": ts,
        "strategy_id": STRATEGY,
        "instrument_id": INSTRUMENT,
        "model": "tick",
        "version": "1.0",
        "digest": "d",
        "status": "OK",
        "outputs": {"buy": 0.5},
        "question": number,
        "ts_event": START + number * MS,
        "ts_init": ts,
        "feature_ts": START + number * MS,
        "latency_ns": 0,
        "split": "",
        "leaving": False,
        "age_ns": 5 * MS,
        "position": "0",
        "side": "",
        "quantity": "0",
        "client_order_id": "",
        "why": why,
        "bid": "100.00",
        "ask": "100.10",
        "last": "100.00",
    }
    return DecisionRecord(**{**fields, **changes})


def run(*decisions: DecisionRecord, price: str = "100.11", fill_ms: float = 1.0) -> RecordedRun:
    """Return a run in which each decision to order was filled."""
    sent, fills = [], []
    for decision in decisions:
        if not decision.side:
            continue
        common = {
            "run_id": "run",
            "seq": 0,
            "strategy_id": STRATEGY,
            "instrument_id": INSTRUMENT,
            "client_order_id": decision.client_order_id,
            "venue_order_id": "",
            "ts_event": decision.ts_ns,
            "side": decision.side,
            "quantity": decision.quantity,
        }
        sent.append(
            OrderRecord(**common, ts_ns=decision.ts_ns, event="INITIALIZED", order_type="MARKET", tags=(), reason="")
        )
        fills.append(
            FillRecord(
                **common,
                ts_ns=decision.ts_ns + int(fill_ms * MS),
                trade_id="T",
                position_id="P",
                price=price,
                fee="0",
                fee_currency="USDT",
                liquidity="TAKER",
            )
        )
    return RecordedRun((), decisions, tuple(sent), tuple(fills), ())


def ordered(number: int, at_ms: float, **changes: Any) -> DecisionRecord:
    """Return a decision to buy."""
    order = {"side": "BUY", "quantity": "0.010", "client_order_id": f"O-{number}"}
    return decided(number, at_ms, "ordered", **{**order, **changes})


def explained(live: RecordedRun, backtest: RecordedRun) -> OrderParity:
    return compare_orders(live, backtest, MARKET)


def test_equal_orders_need_no_reason() -> None:
    parity = explained(run(ordered(1, 10.0)), run(ordered(1, 10.4)))

    assert (parity.equal, parity.differences, parity.most_apart_ns) == (1, (), 400_000)


def test_an_age_around_the_limit_explains_the_refusal() -> None:
    old = decided(1, 10.0, "older than max_age_ns", age_ns=50_001_000)
    young = ordered(1, 10.0, age_ns=49_999_000)

    (of_live,) = explained(run(old), run(young)).differences
    (of_backtest,) = explained(run(young), run(old)).differences
    (not_older,) = explained(run(replace(old, age_ns=1)), run(young)).differences

    assert of_live.explanation == ("max_age_ns lies between: at an age of 50.001 ms live, 49.999 ms in the backtest")
    assert of_backtest.explanation.startswith("max_age_ns lies between: at an age of 49.999 ms live")
    assert not_older.explanation == ""


def test_a_cooldown_that_ended_between_explains_the_wait() -> None:
    first, waits = ordered(1, 10.0), decided(2, 109.9, "within cooldown_ns of the last order")

    (difference,) = explained(run(first, waits), run(first, ordered(2, 110.1))).differences
    later = run(first, replace(waits, ts_ns=START + 111 * MS))
    (reverse,) = explained(later, run(first, ordered(2, 110.1))).differences

    assert difference.explanation == (
        "cooldown_ns lies between: 99.900 ms after the last order live, 100.100 ms in the backtest"
    )
    assert reverse.explanation == ""


def test_predictions_outside_the_strategys_lifetime_are_explained_by_its_start_and_stop() -> None:
    received = decided(5, 50.0, "below min_probability")

    (early,) = explained(run(received), run(ordered(1, 10.0), received)).differences
    (late,) = explained(run(received), run(received, ordered(9, 90.0))).differences
    until = run(received, decided(9, 90.0, "below min_probability"))
    (between,) = explained(until, run(received, ordered(7, 70.0))).differences

    assert early.explanation == "the live strategy had not started to listen"
    assert late.explanation == "the live strategy had stopped"
    assert between.explanation == ""


def test_a_changed_response_is_a_reason_and_a_changed_price_without_a_quote_is_none() -> None:
    (answer,) = explained(
        run(decided(1, 10.0, "below min_probability", outputs={"buy": 0.25})), run(ordered(1, 10.0))
    ).differences
    (price,) = explained(run(ordered(1, 10.0), price="99.00", fill_ms=2.0), run(ordered(1, 10.0))).differences

    assert answer.explanation == "the model's answer is another one now"
    assert price.explanation == ""


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        ("0.010", "follows from an earlier difference, that of question 1: the position was 0.010 live, 0 in the"),
        ("0", "follows from an earlier difference, that of question 1: the last order was another one"),
    ],
)
def test_a_difference_that_follows_from_another_names_it(position: str, reason: str) -> None:
    live = run(ordered(1, 10.0), decided(2, 20.0, "buy: nothing to do", position=position))
    backtest = run(decided(1, 10.0, "older than max_age_ns", age_ns=10 * MS), ordered(2, 20.0))

    first, second = explained(live, backtest).differences

    assert first.explanation.startswith("max_age_ns lies between")
    assert second.explanation.startswith(reason)


def test_a_decision_at_another_quote_explains_another_price() -> None:
    later = ordered(1, 10.0, bid="100.20", ask="100.30")

    (difference,) = explained(run(later, price="100.31", fill_ms=0.0), run(ordered(1, 10.0), fill_ms=0.0)).differences
    other = run(later, price="100.32", fill_ms=0.0)
    (unproven,) = explained(other, run(ordered(1, 10.0), fill_ms=0.0)).differences

    assert unproven.explanation == ""
    assert difference.explanation.startswith(
        "the live run decided at bid 100.20, ask 100.30, the backtest at bid 100.00, "
    )
