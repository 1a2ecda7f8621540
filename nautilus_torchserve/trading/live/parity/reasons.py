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
        found = np.flatnonzero((quotes[first:stop] + worse == steps) | (self._last[first:stop] + worse == steps))
        return int(self._ts[first + found[-1]]) if len(found) else None

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
        found = None
        for each in self.orders.values():
            if each.key.strategy_id == decision.strategy_id and each.order_id != decision.client_order_id:
                found = each if each.ts_ns <= decision.ts_ns else found
        return found


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
        said, done = self._live.decisions.get(key), self._backtest.decisions.get(key)
        if mine is not None and other is not None and (mine.side, mine.quantity) == (other.side, other.quantity):
            found = self._ended_otherwise(mine, other)
        elif said is not None and said.status != _OK:
            found = self._no_answer(said)
        elif said is None and done is not None:
            found = self._not_listening(done)
        elif said is None or done is None:
            found = ""
        else:
            found = self._decided_otherwise(said, done)
        found = found or self._follow_up(key, said, done)
        self._first.setdefault(key.strategy_id, f"that of {_whose(key)}")
        return found

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
        said, done = self._live.decisions.get(mine.key), self._backtest.decisions.get(mine.key)
        if said is None or done is None or (said.bid, said.ask) == (done.bid, done.ask):
            return ""
        if not self._market.meets(mine.side, mine.price, said.bid, said.ask):
            return ""
        return (
            f"the live run decided at bid {said.bid}, ask {said.ask}, the backtest at bid {done.bid}, ask {done.ask}: "
            "data and answer of nearly one time were handled in the other order"
        )

    def _no_answer(self, said: DecisionRecord) -> str:
        about = [each for each in self._live.run.asked if each.ts_event == said.ts_event and each.fate != ANSWERED]
        fate = "".join(f"; question {each.question} {each.fate}{_because(each.error)}" for each in about[:1])
        return f"on a prediction that was {said.status}, which a backtest has not ({said.why}){fate}"

    def _not_listening(self, done: DecisionRecord) -> str:
        heard = [each for each in self._live.decisions.values() if each.strategy_id == done.strategy_id]
        if not heard or heard[0].ts_ns > done.ts_ns:
            return "the live strategy had not started to listen"
        return "the live strategy had stopped" if heard[-1].ts_ns < done.ts_ns else ""

    def _decided_otherwise(self, said: DecisionRecord, done: DecisionRecord) -> str:
        if dict(said.outputs) != dict(done.outputs):
            return "the model's answer is another one now"
        before = self._live.before(said)
        if before is not None and before.closed_ns > said.ts_ns and done.why != said.why:
            wait_ms = (said.ts_ns - before.ts_ns) / 1e6
            return f"order {before.order_id}, sent {wait_ms:.3f} ms before, was still in flight in the live run"
        ages = f"at an age of {said.age_ns / 1e6:.3f} ms live, {done.age_ns / 1e6:.3f} ms in the backtest"
        for refused, allowed in ((said, done), (done, said)):
            if refused.why == _TOO_OLD != allowed.why and refused.age_ns > allowed.age_ns:
                return f"max_age_ns lies between: {ages}"
        return self._around_cooldown(said, done)

    def _around_cooldown(self, said: DecisionRecord, done: DecisionRecord) -> str:
        ours, theirs = self._live.before(said), self._backtest.before(done)
        if ours is None or theirs is None or ours.key != theirs.key:
            return ""
        live_ns, backtest_ns = said.ts_ns - ours.ts_ns, done.ts_ns - theirs.ts_ns
        for refused, allowed, shorter in ((said, done, live_ns < backtest_ns), (done, said, backtest_ns < live_ns)):
            if refused.why.startswith(_COOLDOWN) and not allowed.why.startswith(_COOLDOWN) and shorter:
                return (
                    f"cooldown_ns lies between: {live_ns / 1e6:.3f} ms after the last order live, "
                    f"{backtest_ns / 1e6:.3f} ms in the backtest"
                )
        return ""

    def _follow_up(self, key: Key, said: DecisionRecord | None, done: DecisionRecord | None) -> str:
        """An earlier difference left the strategy in another state."""
        first = self._first.get(key.strategy_id)
        if first is None:
            return ""
        if said is None or done is None:
            return f"follows from an earlier difference, {first}" if not key.model else ""
        if said.position != done.position:
            state = f"the position was {said.position} live, {done.position} in the backtest"
            return f"follows from an earlier difference, {first}: {state}"
        ours, theirs = self._live.before(said), self._backtest.before(done)
        if (ours and ours.key) != (theirs and theirs.key):
            return f"follows from an earlier difference, {first}: the last order was another one"
        return ""


def _whose(key: Key) -> str:
    return f"question {key.question}" if key.model else "an order without a prediction"


def _because(error: str) -> str:
    return f" ({error})" if error else ""
