"""Why an order of a recorded run and that of its backtest differ: proven by the records, or not given."""

from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.audit.records import ANSWERED, DecisionRecord
from nautilus_torchserve.market.trades.quotes import implied_quotes
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.live.parity.recorded_run import RecordedRun
from nautilus_torchserve.trading.live.parity.sent_orders import Key, SentOrder, keyed_decisions, sent_orders

_OK = "OK"
_IN_FLIGHT, _TOO_OLD, _COOLDOWN = "an order is in flight", "older than max_age_ns", "within cooldown_ns"
"""How strategies begin to say why they do nothing."""


class Market:
    """The quotes and trades that the backtest saw, in the recorded run's time.

    Parameters
    ----------
    trades : Trades
        As recorded.
    shift_ns : int
        What is added to their times.
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
        """When, within these times, an order of this side would have been filled at a price; None: never.

        One tick worse than the quote, or than the trade just before its quote: for that moment the trade is the market.
        """
        first = max(int(np.searchsorted(self._ts, since_ns, "right")) - 1, 0)
        stop = int(np.searchsorted(self._ts, until_ns, "right"))
        steps = int(price / self._unit)
        quotes, worse = (self._ask, self._tick) if side == "BUY" else (self._bid, -self._tick)
        reason = np.flatnonzero((quotes[first:stop] + worse == steps) | (self._last[first:stop] + worse == steps))
        return int(self._ts[first + reason[-1]]) if len(reason) else None

    def meets(self, side: str, price: Decimal, bid: str, ask: str) -> bool:
        """Whether an order of this side would have been filled at a price by these quotes."""
        if not (bid and ask):
            return False
        worse = self._tick * self._unit
        return price == (Decimal(ask) + worse if side == "BUY" else Decimal(bid) - worse)


@dataclass(frozen=True, eq=False)
class _Side:
    """One of the two runs."""

    run: RecordedRun
    decisions: dict[Key, DecisionRecord] = field(init=False)
    orders: dict[Key, SentOrder] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decisions", keyed_decisions(self.run))
        object.__setattr__(self, "orders", sent_orders(self.run))

    def before(self, decision: DecisionRecord) -> SentOrder | None:
        """The same strategy's last order before a decision."""
        reason = None
        for each in self.orders.values():
            if each.key.strategy_id == decision.strategy_id and each.order_id != decision.client_order_id:
                reason = each if each.ts_ns <= decision.ts_ns else reason
        return reason


class Reasons:
    """Explains differences, to be asked in the order in which they came about.

    Parameters
    ----------
    live, backtest : RecordedRun
        In the same time.
    market : Market
        What the data say.
    """

    def __init__(self, live: RecordedRun, backtest: RecordedRun, market: Market) -> None:
        self._live, self._backtest = _Side(live), _Side(backtest)
        self._market = market
        self._first: dict[str, str] = {}  # strategy -> its first difference

    def why(self, key: Key) -> str:
        """Why the orders of this key differ; empty where the records do not say."""
        mine, other = self._live.orders.get(key), self._backtest.orders.get(key)
        live, replayed = self._live.decisions.get(key), self._backtest.decisions.get(key)
        if mine is not None and other is not None and (mine.side, mine.quantity) == (other.side, other.quantity):
            reason = self._ended_otherwise(mine, other)
        elif live is not None and live.status != _OK:
            reason = self._no_answer(live)
        elif live is None and replayed is not None:
            reason = self._not_listening(replayed)
        elif live is None or replayed is None:
            reason = ""
        else:
            reason = self._decided_otherwise(live, replayed)
        reason = reason or self._follow_up(key, live, replayed)
        self._first.setdefault(key.strategy_id, f"that of {_whose(key)}")
        return reason

    def _ended_otherwise(self, mine: SentOrder, other: SentOrder) -> str:
        if mine.ended in ("DENIED", "REJECTED", "CANCELED", "EXPIRED"):
            return f"{mine.ended} in the live run{f': {mine.reason}' if mine.reason else ''}"
        if mine.ended in ("INITIALIZED", "SUBMITTED", "ACCEPTED"):
            return f"still {mine.ended} at the end of the log"
        if mine.price is None or other.price is None or mine.filled != other.filled:
            return ""
        since_ns = min(mine.ts_ns, other.ts_ns)
        late = self._market.was_at(mine.side, mine.price, since_ns, mine.closed_ns)
        if late is not None and mine.closed_ns > other.closed_ns:
            after_ms = (mine.closed_ns - other.closed_ns) / 1e6
            return f"filled {after_ms:.3f} ms later than in the backtest, at the market of {late}"
        live, replayed = self._live.decisions.get(mine.key), self._backtest.decisions.get(mine.key)
        if live is None or replayed is None or (live.bid, live.ask) == (replayed.bid, replayed.ask):
            return ""
        if not self._market.meets(mine.side, mine.price, live.bid, live.ask):
            return ""
        return (
            f"the live run decided at bid {live.bid}, ask {live.ask}, "
            f"the backtest at bid {replayed.bid}, ask {replayed.ask}: "
            "data and answer of nearly one time were handled in the other order"
        )

    def _no_answer(self, live: DecisionRecord) -> str:
        about = [each for each in self._live.run.requests if each.ts_event == live.ts_event and each.fate != ANSWERED]
        fate = "".join(f"; question {each.question} {each.fate}{_because(each.error)}" for each in about[:1])
        return f"on a prediction that was {live.status}, which a backtest has not ({live.why}){fate}"

    def _not_listening(self, replayed: DecisionRecord) -> str:
        received = [each for each in self._live.decisions.values() if each.strategy_id == replayed.strategy_id]
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
        """An earlier difference left the strategy in another state."""
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


def _whose(key: Key) -> str:
    return f"question {key.question}" if key.model else "an order without a prediction"


def _because(error: str) -> str:
    return f" ({error})" if error else ""
