"""Funding and the interest on short positions, against venues' formulas in exact decimals."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from bar_support import market
from contracts import CONTRACTS
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_exact_accounts import BALANCE, QUOTES, SECOND, START, ScriptedStrategy, quotes_of
from test_ledger import Deal, filled, price_of, quantity_of, value

from nautilus_torchserve.cli.sweep_console import result_table
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.carry import Marks, Schedule, ScheduledCharge, schedules
from nautilus_torchserve.trading.backtest.engine import built, run_config
from nautilus_torchserve.trading.backtest.ledger import Ledger, account_currency
from nautilus_torchserve.trading.backtest.recorder import Recorder
from nautilus_torchserve.trading.backtest.report import report_data, summary
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.user_error import UserError

HOUR = 3_600 * SECOND

deals = st.lists(
    st.builds(Deal, st.integers(-40, 40).filter(bool), st.integers(2_000, 90_000), st.booleans()),
    min_size=1,
    max_size=8,
)
due_terms = st.lists(
    st.tuples(st.integers(-1, 9), st.sampled_from(["funding", "borrow"]), st.integers(-99, 99), st.integers(1, 99_999)),
    max_size=8,
)


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(CONTRACTS)), deals, due_terms)
def test_charges_are_rate_times_value_of_what_was_held_before(
    kind: str, some: Sequence[Deal], terms: Sequence[tuple[int, str, int, int]]
) -> None:
    """A fill at the time of a charge is not charged yet; each deal is filled at its number's nanosecond."""
    instrument, ledger = CONTRACTS[kind], Ledger(CONTRACTS[kind])
    dues = sorted(
        ScheduledCharge(
            ts_ns, due_kind, Decimal(rate if due_kind == "funding" else abs(rate)) / 10_000, Decimal(price) / 2
        )  # type: ignore[arg-type]
        for ts_ns, due_kind, rate, price in terms
    )
    ledger.dues.extend(dues)
    for number, deal in enumerate(some):
        ledger.add(filled(instrument, deal, number))
    ledger.accrue(10)

    expected = Fraction(0)
    for due in dues:
        held = sum(
            (
                quantity_of(instrument, deal) * (1 if deal.size > 0 else -1)
                for number, deal in enumerate(some)
                if number < due.ts_ns
            ),
            Fraction(0),
        )
        worth = value(instrument, Fraction(due.price), abs(held))
        sign = (held > 0) - (held < 0)
        expected += Fraction(due.rate) * worth * (sign if due.kind == "funding" else sign < 0)
    plain = Ledger(instrument)
    for number, deal in enumerate(some):
        plain.add(filled(instrument, deal, number))
    price = Decimal(str(float(price_of(instrument, some[-1]))))
    assert abs(Fraction(ledger.charged) - expected) <= Fraction(1, 10**30)
    assert abs(Fraction(plain.gain_at(price)) - Fraction(ledger.gain_at(price)) - expected) <= Fraction(1, 10**30)
    assert ledger.gain == plain.gain
    assert ledger.gain_near(float(price)) == pytest.approx(float(ledger.gain_at(price)), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("kind", ["linear perpetual", "inverse perpetual"])
def test_engine_account_is_charged_as_the_ledger_is(kind: str) -> None:
    """Every second a rate, over positions that are opened by one fill each, turned and closed; the rest is money."""
    instrument = CONTRACTS[kind]
    sizes = [size for _ in range(QUOTES // 6) for size in (3, -1, -2, -3, 1, 2)]
    dues = [
        ScheduledCharge(START + number * SECOND + 1, "funding", Decimal(number - 40) / 10_000, Decimal(15_000 + number))
        for number in range(QUOTES - 1)
    ]

    with built(run_config([instrument], None, [], [], BALANCE, has_carry=True), [instrument]) as (_, engine):
        recorder = Recorder(engine.kernel.msgbus, [instrument], [], BALANCE)
        recorder.charge(engine.kernel.msgbus, {instrument.id: Schedule("funding", dues, ())})
        engine.add_strategy(ScriptedStrategy(instrument, sizes))
        engine.add_data(quotes_of(instrument, 1, 1000))
        engine.run()
        (account,) = engine.cache.accounts()
        balance = account.balance_total(account_currency(instrument)).as_decimal()

    ledger = recorder.ledgers[instrument.id]
    assert ledger.position == 0
    assert len(ledger.charges) > QUOTES / 2
    assert abs(ledger.charged) > Decimal("1e-7")
    assert float(balance - BALANCE) == pytest.approx(float(ledger.gain - ledger.charged), abs=1e-8)


def test_backtest_is_charged_with_the_rates_of_its_file(bar_settings: BarBacktestSettings, tmp_path: Path) -> None:
    """By hand: position of the fills before each time, times the close of the last bar until then, times the rate."""
    bars = market()
    first_ns, step_ns = int(bars.ts_event[0]), 7 * 60 * SECOND
    rates = {first_ns + number * step_ns + 2: Decimal(number % 5 - 1) / 1_000 for number in range(37)}
    path = tmp_path / "SIMUSD.csv"
    path.write_text("time,rate\n" + "".join(f"{ts_ns},{rate}\n" for ts_ns, rate in rates.items()))
    trading = replace(bar_settings, cost_bps=0.0)
    settings = replace(trading, funding=path)

    plain, charged = run_backtest([bars], replace(trading, mode="prefetch")), run_backtest([bars], settings)

    assert charged.fills.equals(plain.fills)
    data = charged.instruments[0].data
    expected = Decimal(0)
    for ts_ns, rate in rates.items():
        held = sum(
            (
                Decimal(str(fill.quantity)) * (1 if fill.side == "BUY" else -1)
                for fill in plain.fills.itertuples()
                if fill.ts_ns < ts_ns
            ),
            Decimal(0),
        )
        close = Decimal(int(data.close[data.ts_event <= ts_ns][-1])) / 100 if held else Decimal(0)
        expected += rate * held * close
    assert charged.account.funding == pytest.approx(float(expected), abs=1e-9)
    assert abs(expected) > Decimal("0.01")
    assert charged.account.borrow is None
    assert charged.account.pnl == pytest.approx(plain.account.pnl - float(expected), abs=1e-9)
    assert charged.equity["equity"].iloc[-1] == pytest.approx(charged.balance, abs=1e-9)
    report = summary(settings, charged)
    assert (report["funding"], report["borrow"]) == (charged.account.funding, None)
    assert "funding" in result_table(report).columns[0].cells
    page = report_data(settings, charged, charged.instruments[0])
    assert page.statistics["PnL (USD)"]["Funding"] == charged.account.funding
    assert any("times of SIMUSD.csv" in note for note in page.notes)
    unfunded = report_data(trading, plain, plain.instruments[0])
    assert any("Funding of the perpetual is not charged" in note for note in unfunded.notes)


def test_shorts_pay_interest_each_hour(bar_settings: BarBacktestSettings) -> None:
    bars = market()
    trading = replace(bar_settings, cost_bps=0.0, borrow="0.25", mode="prefetch")

    charged = run_backtest([bars], trading)

    shorts = charged.instruments[0].charges
    assert shorts
    assert all(charge.ts_ns % HOUR == 0 and charge.position < 0 < charge.cost for charge in shorts)
    worth = [-charge.position * charge.price * Decimal("0.25") / 8_760 for charge in shorts]
    assert charged.account.borrow == pytest.approx(float(sum(worth)), abs=1e-12)


def marks(kind: str, hours: int = 24) -> Marks:
    """An instrument at a price of 100 for so many hours from 2024 on."""
    times = START + HOUR * np.arange(hours + 1, dtype=np.int64)
    instrument = CONTRACTS[kind]
    return Marks(instrument, instrument.id.value, times, np.full(len(times), 1_000), 1, ReadOptions())


def hours(*numbers: int) -> str:
    """A file of rates at so many hours after the start of the run."""
    return "time,rate\n" + "".join(f"{START + number * HOUR},0.0001\n" for number in numbers)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (hours(0, 8, 16, 24), 0),
        (hours(-8, 0, 8, 24, 32), 1),
        (hours(8, 16), 1),
        (hours(0, 8), 2),
        (hours(-16, -8, 0, 24, 32), 2),
        (f"calc_time,funding_interval_hours,last_funding_rate\n{START // 10**6 + 3},4,0.0001\n", 5),
    ],
)
def test_funding_times_without_a_rate_are_counted(text: str, missing: int, tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(text)

    (schedule,) = schedules(path, None, [marks("linear perpetual")]).values()

    counted = [note for note in schedule.notes if note.startswith("FUNDING IS MISSING")]
    assert bool(counted) == bool(missing)
    assert all(f"at {missing} funding times" in note for note in counted)


@pytest.mark.parametrize(
    ("kinds", "funding", "borrow", "message"),
    [
        (["linear perpetual"], hours(-80, -72, -64), None, "expected funding times between 2024-01-01T00:00:00Z and"),
        (["linear perpetual"], "time,rate\n1,0.0001\n", None, "expected Unix "),
        (["linear perpetual"], f"time,rate\n{START},0.5\n", None, "are they percentages"),
        (["linear perpetual"], f"time,rate\n{START},x\n", None, "line 2, column 'rate': expected a number, got 'x'"),
        (["linear perpetual"], f"time,rate\n{START},0.1\n{START},0.2\n", None, "expected one rate at 2024-01-01"),
        (["linear perpetual"], f"time,rate,symbol\n{START},0,OTHER\n", None, "the file names another instrument"),
        (["linear perpetual", "quanto perpetual"], hours(0, 8), None, "a column symbol"),
        (["equity"], hours(0, 8), None, "expected a perpetual for --funding, got ACME.VENUE of type Equity"),
        (["inverse perpetual"], None, "0.01", "for --borrow, got"),
        (["equity"], None, "3%", "expected a file of borrow rates"),
        (["equity"], None, "-0.01", "expected annual borrow rates of 0 to 10"),
        (["equity"], None, hours(1, 2), "expected an annual rate in force at 2024-01-01T00:00:00Z"),
    ],
)
def test_rates_that_do_not_fit_the_run_are_refused(
    kinds: Sequence[str], funding: str | None, borrow: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(funding or borrow or "")
    is_file = borrow is not None and "\n" in borrow

    with pytest.raises(UserError) as refused:
        schedules(None if funding is None else path, str(path) if is_file else borrow, [marks(kind) for kind in kinds])

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_days_of_an_equity_are_charged_at_the_rate_in_force(tmp_path: Path) -> None:
    path = tmp_path / "borrow.csv"
    path.write_text("time;annual_rate\n2023-12-01T00:00:00Z;0,73\n2024-01-02T12:00:00Z;0,365\n")

    (schedule,) = schedules(None, str(path), [marks("equity", 60)]).values()

    assert [(due.ts_ns - START) // HOUR for due in schedule.dues] == [0, 24, 48]
    assert [due.rate for due in schedule.dues] == [Decimal("0.002"), Decimal("0.002"), Decimal("0.001")]


def test_the_last_rate_quoted_before_its_funding_time_is_charged(tmp_path: Path) -> None:
    """Tardis: a row for each change of a ticker, in a file for each day; the one of the next day knows the old rate."""
    header = "exchange,symbol,timestamp,local_timestamp,funding_timestamp,funding_rate,mark_price\n"
    due = START // 1_000 + 8 * HOUR // 1_000
    rows = [(due - 9, due, "0.0003"), (due - 3, due, "0.0001"), (due + 1, due, "0.9"), (due + 2, "", "0.0004")]
    for day, some in enumerate((rows[:1], rows[1:])):
        lines = (f"x,{CONTRACTS['linear perpetual'].id.symbol},{at},{at},{to},{rate},1\n" for at, to, rate in some)
        (tmp_path / f"x_derivative_ticker_2024-01-0{day}.csv").write_text(header + "".join(lines))

    (schedule,) = schedules(tmp_path, None, [marks("linear perpetual", 10)]).values()

    assert [(charge.ts_ns // 1_000, charge.rate) for charge in schedule.dues] == [(due, Decimal("0.0001"))]
    assert any("1 of 3 rows lack" in note for note in schedule.notes)
