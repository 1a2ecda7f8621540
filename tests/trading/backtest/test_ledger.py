"""Profit and loss against the formulas that venues publish, in fractions."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import pytest
from contracts import CONTRACTS
from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.currencies import BTC, JPY, USD
from nautilus_trader.model.enums import LiquiditySide, OrderSide, OrderType
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import (
    AccountId,
    ClientOrderId,
    PositionId,
    StrategyId,
    TradeId,
    TraderId,
    VenueOrderId,
)
from nautilus_trader.model.instruments import CryptoPerpetual, Instrument
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider

from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.trading.backtest.ledger import Ledger, account_currency
from nautilus_torchserve.trading.instruments.currencies import precise_currencies, with_registered_currencies


class Deal(NamedTuple):
    """One fill: signed size and price in the instrument's steps, and whether a resting order was met."""

    size: int
    price: int
    maker: bool


deal = st.builds(Deal, st.integers(-40, 40).filter(bool), st.integers(2_000, 90_000), st.booleans())
deals = st.lists(deal, min_size=1, max_size=40)
kinds = st.sampled_from(list(CONTRACTS))


def booked(instrument: Instrument, some: Sequence[Deal]) -> Ledger:
    ledger = Ledger(instrument)
    for number, deal in enumerate(some):
        ledger.add(filled(instrument, deal, number))
    return ledger


def filled(instrument: Instrument, deal: Deal, number: int) -> OrderFilled:
    """A fill whose commission is rounded as the engine rounds it."""
    price, quantity = price_of(instrument, deal), quantity_of(instrument, deal)
    rate = instrument.maker_fee if deal.maker else instrument.taker_fee
    charged = value(instrument, price, quantity) * Fraction(rate)
    return OrderFilled(
        TraderId("T-1"), StrategyId("S-1"), instrument.id, ClientOrderId(f"O-{number}"), VenueOrderId(f"V-{number}"),
        AccountId("VENUE-1"), TradeId(f"{number}"), PositionId("P-1"),
        OrderSide.BUY if deal.size > 0 else OrderSide.SELL, OrderType.MARKET,
        Quantity(float(quantity), instrument.size_precision),
        Price(float(price), instrument.price_precision), instrument.quote_currency,
        Money(float(charged), account_currency(instrument)), LiquiditySide.MAKER if deal.maker else LiquiditySide.TAKER,
        UUID4(), number, number,
    )  # fmt: skip


def price_of(instrument: Instrument, deal: Deal) -> Fraction:
    return deal.price * Fraction(instrument.price_increment.as_decimal())


def quantity_of(instrument: Instrument, deal: Deal) -> Fraction:
    return abs(deal.size) * Fraction(instrument.size_increment.as_decimal())


def value(instrument: Instrument, price: Fraction, quantity: Fraction) -> Fraction:
    """BitMEX: size * multiplier / price; CME, Deribit, spot: size * multiplier * price."""
    held = quantity * Fraction(instrument.multiplier.as_decimal())
    return held / price if instrument.is_inverse else held * price


@given(kinds, deals)
def test_gain_is_what_was_paid_and_received_and_what_is_held(kind: str, some: list[Deal]) -> None:
    instrument = CONTRACTS[kind]
    sign = -1 if instrument.is_inverse else 1  # buying an inverse contract sells its base currency
    paid, fees, held = Fraction(0), Fraction(0), Fraction(0)
    for deal in some:
        price, quantity = price_of(instrument, deal), quantity_of(instrument, deal)
        side = 1 if deal.size > 0 else -1
        paid += side * sign * value(instrument, price, quantity)
        rate = instrument.maker_fee if deal.maker else instrument.taker_fee
        fees += value(instrument, price, quantity) * Fraction(rate)
        held += side * quantity
    last = price_of(instrument, some[-1])
    worth = sign * value(instrument, last, held)

    ledger = booked(instrument, some)

    assert float(ledger.gain) == pytest.approx(float(worth - paid - fees), abs=1e-8, rel=1e-15)
    assert float(sum(fill.fee for fill in ledger.fills)) == pytest.approx(float(fees), abs=1e-8, rel=1e-15)
    assert Fraction(ledger.position) == held
    higher = last * 2
    assert ledger.gain_near(float(higher)) == pytest.approx(
        float(sign * value(instrument, higher, held) - paid - fees), rel=1e-9, abs=1e-8
    )


@settings(max_examples=50)
@given(kinds, deals)
def test_a_closed_position_gains_by_its_average_prices(kind: str, some: list[Deal]) -> None:
    """BitMEX: contracts * multiplier * (1 / average entry - 1 / average exit), averages weighted by value."""
    instrument = CONTRACTS[kind]
    multiplier = Fraction(instrument.multiplier.as_decimal())

    ledger = booked(instrument, some)

    for trip in ledger.round_trips:
        entry, exit_ = Fraction(trip.price_opened), Fraction(trip.price_closed)
        side = 1 if trip.side == "BUY" else -1
        held = Fraction(trip.value_opened) * (entry if instrument.is_inverse else 1 / entry) / multiplier
        moved = 1 / entry - 1 / exit_ if instrument.is_inverse else exit_ - entry
        expected = side * held * multiplier * moved - Fraction(trip.fees)
        assert float(trip.pnl) == pytest.approx(float(expected), abs=1e-8, rel=1e-15)
        assert 0 < trip.quantity <= float(held) * (1 + 1e-12)
    flat = sum(trip.pnl for trip in ledger.round_trips)
    if not ledger.position:
        assert float(flat) == pytest.approx(float(ledger.gain), abs=1e-8, rel=1e-15)


@pytest.mark.parametrize(
    ("kind", "some", "pnl"),
    [
        # BitMEX: 1,000 contracts bought at 10,000 and sold at 12,500: 1,000 * (1 / 10,000 - 1 / 12,500) XBT
        ("inverse perpetual", [Deal(1000, 20_000, True), Deal(-1000, 25_000, True)], 0.02 - (0.1 + 0.08) * 1e-4),
        # BitMEX ETHUSD: 10 contracts of 0.000001 XBT a USD, 1,800 to 1,900 USD
        ("quanto perpetual", [Deal(10, 3_600, True), Deal(-10, 3_800, True)], 1e-3 - 0.037 * 1e-4),
        # CME E-mini S&P 500: a point is 50 USD
        ("future", [Deal(-2, 20_000, True), Deal(2, 19_960, True)], 2 * 50 * 10 - (500_000 + 499_000) * 1e-4),
        ("FX pair", [Deal(1, 150_000, True), Deal(-1, 149_000, True)], -1 - 299 * 1e-4),
    ],
)
def test_the_examples_of_the_venues_come_out(kind: str, some: list[Deal], pnl: float) -> None:
    (trip,) = booked(CONTRACTS[kind], some).round_trips

    assert float(trip.pnl) == pytest.approx(pnl, abs=1e-8)


def test_a_fee_that_is_no_share_of_the_value_is_taken_as_the_engine_charged_it() -> None:
    instrument = CONTRACTS["future"]
    event = filled(instrument, Deal(2, 20_000, False), 0)
    per_contract = OrderFilled.from_dict({**OrderFilled.to_dict(event), "commission": "4.50 USD"})
    ledger = Ledger(instrument)

    ledger.add(per_contract)

    assert ledger.fills[0].fee == 4.5


@pytest.mark.parametrize(
    ("kind", "code"),
    [("linear perpetual", "USDT"), ("inverse perpetual", "BTC"), ("quanto perpetual", "BTC"), ("FX pair", "JPY")],
)
def test_accounts_are_in_settlement_currency(kind: str, code: str) -> None:
    assert account_currency(CONTRACTS[kind]).code == code


def test_an_inverse_contract_settled_in_a_third_currency_is_refused() -> None:
    with pytest.raises(BadData, match=r"ETH/USD.BITMEX: expected an inverse contract settled .* ETH, got BTC: define"):
        Ledger(TestInstrumentProvider.ethusd_bitmex())


def test_money_is_not_rounded_while_a_backtest_runs_and_as_before_afterwards() -> None:
    instrument = CONTRACTS["FX pair"]
    before = {code.code: type(code).from_str(code.code).precision for code in (JPY, USD, BTC)}

    with precise_currencies([instrument], Decimal(10_000)):
        precise = with_registered_currencies(instrument)
        assert str(Money.from_str("0.0075 JPY")).startswith("0.0075")
        assert float(Money(0.0075, precise.quote_currency)) == 0.0075

    assert {code: type(JPY).from_str(code).precision for code in before} == before == {"JPY": 0, "USD": 2, "BTC": 8}
    assert str(Money(0.0075, instrument.quote_currency)) == "0 JPY"
    assert type(precise).to_dict(precise) == type(instrument).to_dict(instrument)
    assert not isinstance(precise, CryptoPerpetual)
