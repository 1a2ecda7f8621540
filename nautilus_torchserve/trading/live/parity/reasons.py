"""Reasons why an order of a recorded run and that of its backtest differ: proven by the records, or not given."""

from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.audit.records import ANSWERED, DecisionRecord
from nautilus_torchserve.market.trades.trades import Trades, implied_quotes
from nautilus_torchserve.trading.live.parity.recorded_run import RecordedRun
from nautilus_torchserve.trading.live.parity.sent_orders import Key, SentOrder, keyed_decisions, sent_orders

_OK = "OK"
_IN_FLIGHT, _TOO_OLD, _COOLDOWN = "an order is in flight", "older than max_age_ns", "within cooldown_ns"
"""Beginnings of strategies' reasons for doing nothing."""


class Market:
    """The quotes and trades that the backtest saw, in the recorded run's time.

    Parameters
    ----------
    trades : Trades
        The trades as recorded.
    shift_ns : int
        Shift that is added to their times.
    tick : int
        The instrument's, in steps of 10**-price_precision.
    """

    def __init__(self, trades: Trades, shift_ns: int, tick: int = 1) -> None:
        self._ts: NDArray[np.int64] = trades.ts_init + shift_ns
        self._bid, self._ask = implied_quotes(trades, tick)
        self._last = trades.price
        self._unit = Decimal(1).scaleb(-trades.instrument.price_precision)
        self._tick = tick

    def was_at(self, side: str, price: Decimal, since_ns: int, until_ns: int) -> int | None:
        """Return when, within these times, an order of this side would have been filled at a price; None: never.

        One tick worse than the quote, or than the trade just before its quote: for that moment the trade is the market.
        """
        first = max(int(np.searchsorted(self._ts, since_ns, "right")) - 1, 0)
        stop = int(np.searchsorted(self._ts, until_ns, "right"))
        steps = int(price / self._unit)
        quotes, worse = (self._ask, self._tick) if side == "BUY" else (self._bid, -self._tick)
        matches = np.flatnonzero((quotes[first:stop] + worse == steps) | (self._last[first:stop] + worse == steps))
        return int(self._ts[first + matches[-1]]) if len(matches) else None

    def meets(self, side: str, price: Decimal, bid: str, ask: str) -> bool:
        """Return whether an order of this side would have been filled at a price by these quotes."""
        if not (bid and ask):
            return False
        worse = self._tick * self._unit
        return price == (Decimal(ask) + worse if side == "BUY" else Decimal(bid) - worse)


class _Side:
    """One of the two runs."""

    def __init__(self, run: RecordedRun) -> None:
        self.run, self.decisions, self.orders = run, keyed_decisions(run), sent_orders(run)

    def before(self, decision: DecisionRecord) -> SentOrder | None:
        """Return the same strategy's last order before a decision."""
        last = None
        for order in self.orders.values():
            if order.key.strategy_id == decision.strategy_id and order.order_id != decision.client_order_id:
                last = order if order.ts_ns <= decision.ts_ns else last
        return last


class Reasons:
    """Explains differences, which have to be given in order of time.

    Parameters
    ----------
    live, backtest : RecordedRun
        In the same time.
    market : Market
        The quotes and trades of the data.
    """

    def __init__(self, live: RecordedRun, backtest: RecordedRun, market: Market) -> None:
        self._live, self._backtest = _Side(live), _Side(backtest)
        self._market = market
        self._first: dict[str, str] = {}  # strategy -> its first difference

    def why(self, key: Key) -> str:
        """Return why the orders of this key differ; empty where the records do not show it."""
        live_order, backtest_order = self._live.orders.get(key), self._backtest.orders.get(key)
        live, replayed = self._live.decisions.get(key), self._backtest.decisions.get(key)
        if (
            live_order is not None
            and backtest_order is not None
            and (live_order.side, live_order.quantity) == (backtest_order.side, backtest_order.quantity)
        ):
            reason = self._ended_otherwise(live_order, backtest_order)
        elif live is not None and live.status != _OK:
            reason = self._no_answer(live)
        elif live is None and replayed is not None:
            reason = self._not_listening(replayed)
        elif live is None or replayed is None:
            reason = ""
        else:
            reason = self._decided_otherwise(live, replayed)
        reason = reason or self._follow_up(key, live, replayed)
        self._first.setdefault(key.strategy_id, f"that of {_label(key)}")
        return reason

    def _ended_otherwise(self, live_order: SentOrder, backtest_order: SentOrder) -> str:
        if live_order.ended in ("DENIED", "REJECTED", "CANCELED", "EXPIRED"):
            return f"{live_order.ended} in the live run{f': {live_order.reason}' if live_order.reason else ''}"
        if live_order.ended in ("INITIALIZED", "SUBMITTED", "ACCEPTED"):
            return f"still {live_order.ended} at the end of the log"
        if live_order.price is None or backtest_order.price is None or live_order.filled != backtest_order.filled:
            return ""
        since_ns = min(live_order.ts_ns, backtest_order.ts_ns)
        late = self._market.was_at(live_order.side, live_order.price, since_ns, live_order.closed_ns)
        if late is not None and live_order.closed_ns > backtest_order.closed_ns:
            after_ms = (live_order.closed_ns - backtest_order.closed_ns) / 1e6
            return f"filled {after_ms:.3f} ms later than in the backtest, at the market of {late}"
        live, replayed = self._live.decisions.get(live_order.key), self._backtest.decisions.get(live_order.key)
        if live is None or replayed is None or (live.bid, live.ask) == (replayed.bid, replayed.ask):
            return ""
        if not self._market.meets(live_order.side, live_order.price, live.bid, live.ask):
            return ""
        return (
            f"the live run decided at bid {live.bid}, ask {live.ask}, "
            f"the backtest at bid {replayed.bid}, ask {replayed.ask}: "
            "data and answer of nearly one time were handled in the other order"
        )

    def _no_answer(self, live: DecisionRecord) -> str:
        requests = (request for request in self._live.run.requests if request.ts_event == live.ts_event)
        unanswered = next((request for request in requests if request.fate != ANSWERED), None)
        fate = ""
        if unanswered is not None:
            fate = f"; question {unanswered.question} {unanswered.fate}{_because(unanswered.error)}"
        return f"on a prediction that was {live.status}, which a backtest has not ({live.why}){fate}"

    def _not_listening(self, replayed: DecisionRecord) -> str:
        received = [live for live in self._live.decisions.values() if live.strategy_id == replayed.strategy_id]
        if not received or received[0].ts_ns > replayed.ts_ns:
            return "the live strategy had not started to listen"
        return "the live strategy had stopped" if received[-1].ts_ns < replayed.ts_ns else ""

    def _decided_otherwise(self, live: DecisionRecord, replayed: DecisionRecord) -> str:
        if dict(live.outputs) != dict(replayed.outputs):
            return "the model's answer is another one now"
        before = self._live.before(live)
        if before is not None and before.closed_ns > live.ts_ns and replayed.why != live.why:
            wait_ms = (live.ts_ns - before.ts_ns) / 1e6
            return f"order {before.order_id}, sent {wait_ms:.3f} ms before, was still in flight in the live run"
        ages = f"at an age of {live.age_ns / 1e6:.3f} ms live, {replayed.age_ns / 1e6:.3f} ms in the backtest"
        for refused, allowed in ((live, replayed), (replayed, live)):
            if refused.why == _TOO_OLD != allowed.why and refused.age_ns > allowed.age_ns:
                return f"max_age_ns lies between: {ages}"
        return self._around_cooldown(live, replayed)

    def _around_cooldown(self, live: DecisionRecord, replayed: DecisionRecord) -> str:
        live_before, replayed_before = self._live.before(live), self._backtest.before(replayed)
        if live_before is None or replayed_before is None or live_before.key != replayed_before.key:
            return ""
        live_ns, backtest_ns = live.ts_ns - live_before.ts_ns, replayed.ts_ns - replayed_before.ts_ns
        for refused, allowed, shorter in (
            (live, replayed, live_ns < backtest_ns),
            (replayed, live, backtest_ns < live_ns),
        ):
            if refused.why.startswith(_COOLDOWN) and not allowed.why.startswith(_COOLDOWN) and shorter:
                return (
                    f"cooldown_ns lies between: {live_ns / 1e6:.3f} ms after the last order live, "
                    f"{backtest_ns / 1e6:.3f} ms in the backtest"
                )
        return ""

    def _follow_up(self, key: Key, live: DecisionRecord | None, replayed: DecisionRecord | None) -> str:
        """Return the reason where an earlier difference left the strategy in another state."""
        first = self._first.get(key.strategy_id)
        if first is None:
            return ""
        if live is None or replayed is None:
            return f"follows from an earlier difference, {first}" if not key.model else ""
        if live.position != replayed.position:
            state = f"the position was {live.position} live, {replayed.position} in the backtest"
            return f"follows from an earlier difference, {first}: {state}"
        live_before, replayed_before = self._live.before(live), self._backtest.before(replayed)
        if (live_before and live_before.key) != (replayed_before and replayed_before.key):
            return f"follows from an earlier difference, {first}: the last order was another one"
        return ""


def _label(key: Key) -> str:
    return f"question {key.question}" if key.model else "an order without a prediction"


def _because(error: str) -> str:
    return f" ({error})" if error else ""
