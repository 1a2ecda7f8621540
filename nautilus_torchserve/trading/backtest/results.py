"""Results of a backtest: predictions, fills, and the account by exact arithmetic of the fills."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any, Generic, NamedTuple

import numpy as np
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.reporting.backtest.trade_log import PastTrade
from nautilus_torchserve.scores.account import (
    MIN_DAYS,
    AccountHistory,
    Statistics,
    TradingCalendar,
    return_statistics,
    trade_statistics,
    widest,
)
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.attribution import TradeAttribution
from nautilus_torchserve.trading.backtest.carry import Charge, Kind, Schedule
from nautilus_torchserve.trading.backtest.equity import MarkedMarket, calendar_of, equity_pieces, sum_up
from nautilus_torchserve.trading.backtest.holdout import SampleKind, worst
from nautilus_torchserve.trading.backtest.ledger import Ledger, RoundTrip
from nautilus_torchserve.trading.backtest.market import D, InstrumentData, Market
from nautilus_torchserve.trading.backtest.prepared import RequestStats
from nautilus_torchserve.trading.backtest.recorder import Recorder, Ruin
from nautilus_torchserve.trading.instruments.resolve import Definition
from nautilus_torchserve.trading.news.headline import NewsCounts

_COUNTS = ("orders", "refused_orders", "positions", "failed", "refused", "not_arrived")


@dataclass(frozen=True, eq=False)
class TradingResult:
    """Predictions, and what was traded on them. Times are simulated Unix ns unless they say otherwise."""

    predictions: pd.DataFrame
    """``ts_event``, ``ts_init`` (arrival), ``latency_ns`` (measured), the position in its instrument's ``data`` of the
    event each is about (``trade`` or ``bar``), and a float32 column for each output; in order of arrival."""
    fills: pd.DataFrame
    """``ts_ns``, ``side`` ("BUY" or "SELL"), ``price``, ``quantity``, ``fee``."""
    account: AccountHistory
    """The account, marked to the last price at every event, less fees."""
    equity: pd.DataFrame
    """``ts_ns``, ``equity``, ``drawdown``: that account thinned for a figure; the first row is the start."""
    statistics: Mapping[str, Statistics]
    """Group -> name -> value, all after fees; NaN where there is none."""
    statistics_basis: Mapping[str, str]
    """Group -> what its values are computed from."""
    orders: int
    """Orders submitted."""
    refused_orders: int
    """Orders that the engine denied or the venue rejected."""
    last_refused_order: str
    """Why the last of those was refused; empty without any."""
    positions: int
    """Positions held, each counted once it is closed."""
    failed: int
    """Events that got no response."""
    refused: int
    """Events whose features the model refused: it responded, but without a prediction."""
    not_arrived: int
    """Responses due only after the last event, which never took effect."""
    past_trades: tuple[PastTrade, ...]
    """Closed positions, each with the prediction it was opened on."""
    ruin: Ruin | None
    """When the account's equity fell to zero or below; None where it never did."""


@dataclass(frozen=True, eq=False)
class InstrumentResult(TradingResult, Generic[D]):
    """One instrument's part of a run; ``account`` is the account as if this instrument alone were traded."""

    data: D
    """Events that the model was evaluated on."""
    definition: Definition
    """Definition of the instrument."""
    warm: int
    """Events before them that filled the first window."""
    sample_note: str
    """Evaluated events, and the reason."""
    in_sample: SampleKind
    """Whether the model was fitted on some of them."""
    held: int
    """Orders that were sent while the market was closed, and waited for its open."""
    news: NewsCounts | None
    """Counts of the headlines about it; None where the model reads none."""
    quotes: Quotes | None
    """The venue's quotes that orders met; None: they met implied ones."""
    without_volume: int
    """Events that end a window without any volume; the model got no request for them."""
    carry: Schedule | None
    """What its position was charged with; None: neither funding nor interest."""
    charges: tuple[Charge, ...]
    """What it was charged, in order of time."""


@dataclass(frozen=True, eq=False)
class BacktestResult(TradingResult):
    """Result of one backtest over all of its instruments; tables of several instruments are not sorted by time."""

    instruments: tuple[InstrumentResult[Any], ...]
    """In the order of the data."""
    sample_note: str
    """Evaluated events, and the reason."""
    in_sample: SampleKind
    """Whether the model was fitted on some of them."""
    metadata: ModelMetadata
    """The model's metadata."""
    currency: str
    """The accounts' currency: what the instruments are settled in."""
    balance: float
    """Total equity of the accounts at the end."""
    last_error: str
    """Error of the last failed request."""
    last_refusal: str
    """Why the last row was refused."""
    gave_up: bool
    """Whether requests ended after too many failures in a row: the rest had no predictions."""
    elapsed_s: float
    """Wall time of the run."""

    @property
    def events_per_s(self) -> float:
        """Evaluated events per second of wall time, requests included."""
        return sum(len(instrument.data) for instrument in self.instruments) / self.elapsed_s


class _Account(NamedTuple):
    """An account at the end of a run, and its history."""

    history: AccountHistory
    equity: pd.DataFrame
    """``ts_ns``, ``equity``, ``drawdown``."""
    statistics: Mapping[str, Statistics]
    basis: Mapping[str, str]

    def fields(self) -> dict[str, Any]:
        """Return the fields of a `TradingResult` that are about the account."""
        return {
            "account": self.history,
            "equity": self.equity,
            "statistics": self.statistics,
            "statistics_basis": self.basis,
        }


def collect(
    market: Market[Any],
    recorder: Recorder,
    engine: BacktestEngine,
    elapsed_s: float,
    reasons: TradeAttribution,
    stats: RequestStats,
    held: Mapping[InstrumentId, int],
    carry: Mapping[InstrumentId, Schedule],
) -> BacktestResult:
    """Read the results out of an engine that has run.

    Parameters
    ----------
    held : mapping
        Orders of each instrument that waited for its market's open.
    carry : mapping
        What the positions of some instruments were charged with.
    """
    instruments = tuple(
        _instrument_result(market, part, recorder, engine, reasons, stats, held, carry) for part in market.parts
    )
    ledgers = [recorder.ledgers[instrument.id] for instrument in market.instruments]
    if len(instruments) == 1:
        total = {field.name: getattr(instruments[0], field.name) for field in fields(TradingResult)}
    else:
        markets = [_marked_market(market, part, ledger) for part, ledger in zip(market.parts, ledgers, strict=True)]
        venues = {instrument.id.venue for instrument in market.instruments}
        calendar = widest(map(calendar_of, market.instruments))
        total = _total(instruments, _account_of(ledgers, markets, recorder.balance * len(venues), calendar, carry))
    return BacktestResult(
        **total,
        instruments=instruments,
        sample_note=" ".join(dict.fromkeys(instrument.sample_note for instrument in instruments)),
        in_sample=worst(instrument.in_sample for instrument in instruments),
        metadata=market.metadata,
        currency=ledgers[0].contract.currency,
        balance=total["account"].end,
        last_error=stats.last_error,
        last_refusal=stats.last_refusal,
        gave_up=stats.gave_up,
        elapsed_s=elapsed_s,
    )


def _total(parts: Sequence[InstrumentResult[Any]], account: _Account) -> dict[str, Any]:
    """Return the fields of a `TradingResult` over several instruments."""
    return {
        "predictions": pd.concat([part.predictions for part in parts], ignore_index=True),
        "fills": pd.concat([part.fills for part in parts], ignore_index=True),
        **account.fields(),
        "last_refused_order": next(filter(None, (part.last_refused_order for part in reversed(parts))), ""),
        "past_trades": tuple(trade for part in parts for trade in part.past_trades),
        "ruin": min((part.ruin for part in parts if part.ruin is not None), default=None),
        **{name: sum(getattr(part, name) for part in parts) for name in _COUNTS},
    }


def _instrument_result(
    market: Market[Any],
    part: InstrumentData[Any],
    recorder: Recorder,
    engine: BacktestEngine,
    reasons: TradeAttribution,
    stats: RequestStats,
    held: Mapping[InstrumentId, int],
    carry: Mapping[InstrumentId, Schedule],
) -> InstrumentResult[Any]:
    instrument_id = part.instrument.id
    log, ledger = recorder.predictions[instrument_id], recorder.ledgers[instrument_id]
    predictions, refusals = log.table(), recorder.refusals_of(instrument_id)
    predictions.insert(3, market.noun, log.numbers() - part.warm)
    marked = _marked_market(market, part, ledger)
    account = _account_of([ledger], [marked], recorder.balance, calendar_of(part.instrument), carry)
    return InstrumentResult(
        data=part.data,
        definition=part.definition,
        warm=part.warm,
        sample_note=part.sample.note,
        in_sample=part.sample.in_sample,
        held=held[instrument_id],
        news=stats.news[instrument_id],
        quotes=part.quotes,
        without_volume=part.without_volume,
        carry=carry.get(instrument_id),
        charges=tuple(ledger.charges),
        predictions=predictions,
        fills=fill_table(ledger),
        **account.fields(),
        orders=engine.cache.orders_total_count(instrument_id=instrument_id),
        refused_orders=len(refusals),
        last_refused_order=refusals[-1] if refusals else "",
        positions=len(ledger.round_trips),
        failed=stats.failed[instrument_id],
        refused=stats.refused[instrument_id],
        not_arrived=stats.not_arrived[instrument_id],
        past_trades=reasons.past_trades(ledger.round_trips),
        ruin=recorder.ruins.get(instrument_id.venue),
    )


def fill_table(ledger: Ledger) -> pd.DataFrame:
    """Return every fill of an instrument, in order of time."""
    fills = ledger.fills
    return pd.DataFrame(
        {
            "ts_ns": np.array([fill.ts_ns for fill in fills], dtype=np.int64),
            "side": [fill.side for fill in fills],
            **{
                name: np.array([float(getattr(fill, name)) for fill in fills], dtype=np.float64)
                for name in ("price", "quantity", "fee")
            },
        }
    )


def _marked_market(market: Market[Any], part: InstrumentData[Any], ledger: Ledger) -> MarkedMarket:
    """Return an instrument's ledger and the prices that it is valued at."""
    precision = part.data.instrument.price_precision
    ts_ns, price = market.marks(part.data)
    return MarkedMarket(
        ts_ns=ts_ns,
        prices=lambda start, stop: price[start:stop] / 10.0**precision,
        contract=ledger.contract,
        fills=ledger.fills,
        last_price=Decimal(int(price[-1])).scaleb(-precision),
        charges=ledger.charges,
    )


def _account_of(
    ledgers: Sequence[Ledger],
    markets: Sequence[MarkedMarket],
    start: Decimal,
    calendar: TradingCalendar,
    carry: Mapping[InstrumentId, Schedule],
) -> _Account:
    """Return the account that some instruments were traded on.

    Parameters
    ----------
    start : Decimal
        Its balance before the first event.
    """
    end = start + sum(
        (ledger.gain_at(market.last_price) for ledger, market in zip(ledgers, markets, strict=True)), Decimal(0)
    )
    span_ns = min(int(market.ts_ns[0]) for market in markets), max(int(market.ts_ns[-1]) for market in markets)
    fees = sum((fill.fee for ledger in ledgers for fill in ledger.fills), Decimal(0))
    history, equity = sum_up(equity_pieces(markets, start), start, end, fees, span_ns, calendar)
    history = replace(history, funding=_cost("funding", ledgers, carry), borrow=_cost("borrow", ledgers, carry))
    trips = sorted((trip for ledger in ledgers for trip in ledger.round_trips), key=lambda trip: trip.ts_closed)
    return _Account(history, equity, *_statistics(history, trips, ledgers[0].contract.currency))


def _cost(kind: Kind, ledgers: Sequence[Ledger], carry: Mapping[InstrumentId, Schedule]) -> float | None:
    """Return what was paid in funding or in interest; None where no instrument is charged with it."""
    if not any(carry[ledger.instrument_id].kind == kind for ledger in ledgers if ledger.instrument_id in carry):
        return None
    charges = (charge for ledger in ledgers for charge in ledger.charges if charge.kind == kind)
    return float(sum((charge.cost for charge in charges), Decimal(0)))


def _statistics(
    history: AccountHistory, trips: Sequence[RoundTrip], currency: str
) -> tuple[dict[str, Statistics], dict[str, str]]:
    calendar, days = history.calendar, len(history.day_equity)
    costs = {name.capitalize(): getattr(history, name) for name in ("funding", "borrow")}
    costs = {name: cost for name, cost in costs.items() if cost is not None}
    after = " and ".join(["fees", *map(str.lower, costs)])
    without = f", without {' and '.join(map(str.lower, costs))}" if costs else ""
    account, returns, trades = f"PnL ({currency})", "Returns", "Trades"
    made = np.array([float(trip.pnl) for trip in trips])
    shares = np.array([float(trip.pnl / trip.value_opened) for trip in trips])
    statistics: dict[str, Statistics] = {
        account: {
            "PnL (total)": history.pnl,
            "PnL% (total)": 100 * history.pnl / history.start,
            "Fees": history.fees,
            **costs,
            "Max Drawdown": history.max_drawdown,
            "Max Drawdown%": 100 * history.max_drawdown_share,
        },
        returns: return_statistics(history),
        trades: trade_statistics(made, shares),
    }
    few = (
        f"not enough days for ratios (at least {MIN_DAYS})"
        if days < MIN_DAYS
        else (f"annualised by {calendar.days_a_year} days, no risk-free rate")
    )
    basis = {
        account: f"The account marked to market at every event, after {after}.",
        returns: f"Daily returns of that account on {_counted(days, 'trading day')}, with trades or without "
        f"({calendar.name}); {few}.",
        trades: f"{_counted(len(trips), 'closed position')}, after the fees of opening and closing{without}; returns "
        "on the value opened.",
    }
    return statistics, basis


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
