"""An instrument is what a catalog, a file, the table or options say, and nothing is made up."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from definition_support import DEFINED, future, trades_at
from hypothesis import given
from hypothesis import strategies as st
from nautilus_trader.model.instruments import CryptoFuture, Instrument
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from nautilus_torchserve.market.bars.simulator import simulate_bars
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.conform import check_ticks, conform, off_tick
from nautilus_torchserve.trading.instruments.contract_table import by_name, known_names
from nautilus_torchserve.trading.instruments.drafts import of_contract
from nautilus_torchserve.trading.instruments.instruments import trade_ticks
from nautilus_torchserve.trading.instruments.options import InstrumentOptions
from nautilus_torchserve.trading.instruments.resolve import resolve, resolve_all
from nautilus_torchserve.trading.instruments.stored import read_catalog, to_values

NOTHING = InstrumentOptions()
BY_KIND = pytest.mark.parametrize("kind", DEFINED)


def trades_of(instrument: Instrument) -> Any:
    """Trades that the definition fits."""
    symbol, _, venue = instrument.id.value.rpartition(".")
    tick, price = instrument.price_increment.as_decimal(), Decimal(1) if "EUR" in symbol else Decimal(100)
    return trades_at([str(price + tick * steps) for steps in (0, 1, 3, 2)], symbol, venue)


def test_a_catalog_whose_definitions_cannot_be_read_is_refused(tmp_path: Path) -> None:
    ParquetDataCatalog(tmp_path).write_data([DEFINED["future"]])
    (stored,) = tmp_path.glob("data/*/*/*.parquet")
    for table in (pq.read_table(stored).replace_schema_metadata(None), pa.table({"id": ["ESH5.GLBX"]})):
        pq.write_table(table, stored)
        with pytest.raises(BadData, match="expected instruments as NautilusTrader writes them"):
            read_catalog(tmp_path)


@BY_KIND
def test_a_catalogs_definition_is_used_as_it_is(kind: str, tmp_path: Path) -> None:
    defined = DEFINED[kind]
    data = trades_of(defined)
    catalog = ParquetDataCatalog(tmp_path)
    catalog.write_data([defined])
    catalog.write_data(trade_ticks(conform(data, defined)))

    definition = resolve(load(tmp_path, 0, 1), NOTHING)

    assert type(definition.instrument) is type(defined)
    assert to_values(definition.instrument) == to_values(defined)
    assert set(definition.origins.values()) == {f"catalog {tmp_path.name}"}


@BY_KIND
def test_nautilus_json_is_used_as_it_is_whatever_the_numbers_are_written_as(kind: str, tmp_path: Path) -> None:
    defined, path = DEFINED[kind], tmp_path / "instrument.json"
    values = to_values(defined)
    numbers = {name: float(values[name]) for name in ("margin_init", "taker_fee", "maker_fee")}
    known = {name: value for name, value in values.items() if value is not None and name not in ("ts_event", "ts_init")}
    path.write_text(json.dumps({**known, **numbers}))

    definition = resolve(trades_of(defined), InstrumentOptions(instrument_definition=(str(path),)))

    resolved = to_values(definition.instrument)
    for name, value in values.items():
        same = Decimal(resolved[name]) == Decimal(value) if name in numbers else resolved[name] == value
        assert same, name


@pytest.mark.parametrize("name", known_names())
def test_every_contract_of_the_table_can_be_traded(name: str) -> None:
    contract = by_name(name)
    assert contract is not None
    data = trades_at([str(tick) for tick in (contract.ticks or (Decimal("0.1"),))[:1] * 3], *name.rpartition(".")[::2])
    data = replace(data, instrument=replace(data.instrument, symbol=name.split(".")[0], venue="X"))

    instrument = of_contract(data, contract).instrument

    assert instrument.multiplier.as_decimal() == contract.multiplier
    assert instrument.is_inverse == contract.inverse
    assert instrument.get_cost_currency().code == contract.settlement
    check_ticks(data, instrument)


@pytest.mark.parametrize(
    ("symbol", "venue", "expected_values"),
    [
        ("XBTUSD", "BITMEX", ("CryptoPerpetual, inverse", "0.5", "1", "quoted in USD, settled in BTC")),
        ("ETHUSD", "BITMEX", ("CryptoPerpetual, quanto", "0.05", "0.000001", "quoted in USD, settled in BTC")),
        ("BTC-PERPETUAL", "DERIBIT", ("CryptoPerpetual, inverse", "0.5", "1", "quoted in USD, settled in BTC")),
        ("BTCUSD", "BYBIT", ("CryptoPerpetual, inverse", "0.1", "1", "quoted in USD, settled in BTC")),
        ("PI_XBTUSD", "CRYPTOFACILITIES", ("CryptoPerpetual, inverse", "0.1", "1", "quoted in USD, settled in BTC")),
        ("BTC-USDT-SWAP", "OKEX-SWAP", ("CryptoPerpetual, linear", "0.1", "0.01", "quoted in USDT, settled in USDT")),
        ("BTCUSD_PERP", "BINANCE", ("CryptoPerpetual, inverse", "0.1", "100", "quoted in USD, settled in BTC")),
        ("ETHUSD_PERP", "BINANCE-DELIVERY", ("CryptoPerpetual, inverse", "0.1", "10", "quoted in USD, settled in ETH")),
        ("BTCUSDT-PERP", "BINANCE", ("CryptoPerpetual, linear", "0.1", "1", "quoted in USDT, settled in USDT")),
        ("BTCUSDT_240628", "BINANCE", ("CryptoFuture, linear", "0.1", "1", "quoted in USDT, settled in USDT")),
        ("BTCUSDT", "BYBIT", ("CryptoPerpetual, linear", "0.1", "1", "quoted in USDT, settled in USDT")),
        ("BTC-USD", "COINBASE", ("CurrencyPair, linear", "0.1", "1", "quoted in USD, settled in USD")),
        ("XBT/EUR", "KRAKEN", ("CurrencyPair, linear", "0.1", "1", "quoted in EUR, settled in EUR")),
        ("BTC-USDT", "OKX", ("CurrencyPair, linear", "0.1", "1", "quoted in USDT, settled in USDT")),
        ("BTCUSDT", "bybit-spot", ("CurrencyPair, linear", "0.1", "1", "quoted in USDT, settled in USDT")),
        ("BTCUSDT-SPOT", "BYBIT", ("CurrencyPair, linear", "0.1", "1", "quoted in USDT, settled in USDT")),
        ("EURUSD", "IDEALPRO", ("CurrencyPair, linear", "0.1", "1", "quoted in USD, settled in USD")),
        ("ESM4", "CME", ("FuturesContract, linear", "0.25", "50", "quoted in USD, settled in USD")),
        ("NQ.c.0", "GLBX", ("FuturesContract, linear", "0.25", "20", "quoted in USD, settled in USD")),
    ],
)
def test_contracts_are_derived_from_symbols_as_venues_publish_them(
    symbol: str, venue: str, expected_values: tuple[str, ...]
) -> None:
    definition = resolve(trades_at(["100", "100.5", "99"], symbol, venue), NOTHING)

    values, is_assumed = definition.values(), "a perpetual is assumed" in definition.origins["type"]
    assert is_assumed == ((symbol, venue) == ("BTCUSDT", "BYBIT"))  # spot or perpetual: nothing says
    assert (values["type"], values["tick_size"], values["multiplier"], values["currency"]) == expected_values


@pytest.mark.parametrize(
    ("symbol", "venue", "reason"),
    [
        ("AAPL", "NASDAQ", "trades shares, whose currency the data do not say"),
        ("AAPL", "FILE", "its symbol does not say what it is quoted in"),
        ("ESM4", "FILE", "its symbol does not say"),
        ("XYZM4", "CME", "trades futures, whose multiplier and tick the data do not say"),
        ("LTCUSD", "BITMEX", "sizes at BITMEX may be contracts"),
        ("BTC-27DEC24", "DERIBIT", "sizes at DERIBIT may be contracts"),
        ("SOL-USDT-SWAP", "OKEX-SWAP", "sizes at OKEX-SWAP may be contracts"),
        ("BTC-PERP", "FILE", "its symbol does not say"),
        ("FOOTUSD", "KRAKEN", "expected a symbol with one reading, got FOO/TUSD or FOOT/USD"),
        ("BTCUSDÖ", "X", "expected a symbol of ASCII letters"),
        ("BTCUSD", "VÖNUE", "expected a venue of ASCII letters"),
    ],
)
def test_unknown_instruments_name_the_missing_option(symbol: str, venue: str, reason: str) -> None:
    with pytest.raises(BadData, match=reason) as refused:
        resolve(trades_at(["100", "101"], symbol, venue), NOTHING)

    assert "--" in str(refused.value) or "ASCII" in str(refused.value)


def options(**given: str | bool) -> InstrumentOptions:
    texts = {"currency", "instrument_definition", "inverse"}
    return InstrumentOptions(**{name: value if name in texts else Decimal(value) for name, value in given.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("symbol", "given", "sizes", "expected_values"),
    [
        ("AAPL", {"currency": "USD"}, ["100"], ("Equity, linear", "0.01", "1", "1", "USD")),
        ("AAPL", {"currency": "USD"}, ["0.5"], ("Cfd, linear", "0.01", "0.1", "1", "USD")),
        ("AAPL", {"currency": "USD", "lot_size": "100"}, ["100"], ("Equity, linear", "0.01", "1", "1", "USD")),
        (
            "ESM4",
            {"currency": "USD", "multiplier": "50", "tick_size": "0.25"},
            ["2"],
            ("FuturesContract, linear", "0.25", "1", "50", "USD"),
        ),
        ("ESM4", {"instrument_definition": ("ES",)}, ["2"], ("FuturesContract, linear", "0.25", "1", "50", "USD")),
        (
            "SOL-USDT-SWAP",
            {"currency": "USDT", "multiplier": "1", "lot_size": "0.01"},
            ["0.5"],
            ("CryptoPerpetual, linear", "0.01", "0.01", "1", "USDT"),
        ),
        ("LTCUSD", {"inverse": True}, ["10"], ("CryptoPerpetual, inverse", "0.01", "1", "1", "LTC")),
        (
            "BTC-28JUN24",
            {"inverse": True, "currency": "USD"},
            ["10"],
            ("CryptoPerpetual, inverse", "0.01", "1", "1", "BTC"),
        ),
        ("KRW-BTC", {"currency": "KRW"}, ["10"], ("CryptoPerpetual, linear", "0.01", "1", "1", "KRW")),
        ("DOTUSD", {"currency": "TUSD"}, ["10"], ("CryptoPerpetual, linear", "0.01", "1", "1", "TUSD")),
        (
            "BTCUSDT",
            {"tick_size": "0.05", "lot_size": "0.5"},
            ["1"],
            ("CryptoPerpetual, linear", "0.05", "0.5", "1", "USDT"),
        ),
    ],
)
def test_options_define_what_symbols_leave_open(
    symbol: str, given: dict[str, Any], sizes: list[str], expected_values: tuple[str, ...]
) -> None:
    prices = ["100.25", "100.5"] if "tick_size" in given or symbol == "ESM4" else ["100.25", "99.99"]
    data = trades_at(prices, symbol, "FILE", sizes)

    definition = resolve(data, options(**given))

    values = definition.values()
    assert (
        *(values[name] for name in ("type", "tick_size", "lot_size", "multiplier")),
        definition.settlement,
    ) == expected_values
    for name in set(given) & {"tick_size", "lot_size", "multiplier", "currency"}:
        assert definition.origins[name] == f"--{name.replace('_', '-')}"
    conform(data, definition.instrument)


def test_every_property_names_its_source() -> None:
    definition = resolve(trades_at(["1.5"]), options(margin="0.1"), fee_bps=2.0)

    assert {name: field["from"] for name, field in definition.as_dict().items() if name != "engine_id"} == {
        "type": "the symbol; a perpetual is assumed, as neither symbol nor venue says that it is spot",
        "tick_size": "the decimals of the data",
        "lot_size": "the decimals of the data",
        "multiplier": "assumed, as nothing says otherwise",
        "margin": "--margin",
        "currency": "the symbol",
        "fee": "--fee-bps",
    }
    assert definition.instrument.margin_init == Decimal("0.1")
    assert definition.fee_bps == 2.0


def test_a_fee_is_the_options_else_the_definitions_else_the_default(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(to_values(DEFINED["fx"])))
    given = InstrumentOptions(instrument_definition=(str(path),))
    fx, coin = trades_of(DEFINED["fx"]), trades_at(["1.5"])

    assert [resolve(fx, given, fee).fee_bps for fee in (None, 0.0, 3.0)] == [0.2, 0.0, 3.0]
    assert [resolve(coin, NOTHING, fee).fee_bps for fee in (None, 3.0)] == [0.5, 3.0]


def test_definitions_are_matched_by_name_else_by_order(tmp_path: Path) -> None:
    both = [DEFINED["inverse"], DEFINED["future"]]
    path = tmp_path / "two.json"
    path.write_text(json.dumps([to_values(instrument) for instrument in both]))
    named = [trades_of(instrument) for instrument in reversed(both)]
    others = [trades_at(["100.25"], "A", "FILE"), trades_at(["100"], "B", "FILE")]

    by_name_ = resolve_all(named, InstrumentOptions(instrument_definition=(str(path),)))
    by_order = resolve_all(others, InstrumentOptions(instrument_definition=("ES", "YM")))

    assert [definition.instrument.id for definition in by_name_] == [DEFINED["future"].id, DEFINED["inverse"].id]
    assert [definition.values()["multiplier"] for definition in by_order] == ["50", "5"]
    with pytest.raises(BadData, match=r"expected a definition of A.FILE, got those of XBTUSD.BITMEX, ESH5.GLBX"):
        resolve(others[0], InstrumentOptions(instrument_definition=(str(path),)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "expected NautilusTrader's JSON of an instrument, got "),
        ("[]", "expected at least 1 instrument, got an empty list"),
        ("3", 'instrument 1: expected an object with "type" of .*, got .int'),
        ('{"type": "OptionContract"}', "got 'OptionContract'"),
        ('{"type": "Equity"}', 'expected an "id" like BTCUSDT.BINANCE, got None'),
        ('{"type": "Equity", "id": "AAPL.XNAS"}', "expected a Equity with 'raw_symbol', got none"),
        ({"price_increment": "abc"}, "price_increment: expected a number, got 'abc'"),
        ({"price_increment": "-1"}, "not a positive real"),
        ({"price_increment": "1e30"}, "expected a Equity as NautilusTrader writes it"),
        ({"price_precision": 40}, "expected a Equity as NautilusTrader writes it"),
        ({"lot_size": True}, "lot_size: expected a number, got True"),
        ({"currency": 7}, "expected a Equity as NautilusTrader writes it"),
    ],
)
def test_invalid_definition_is_refused_with_its_file(content: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content if isinstance(content, str) else json.dumps({**to_values(DEFINED["equity"]), **content}))

    with pytest.raises(BadData, match=reason) as refused:
        resolve(trades_at(["100"], "AAPL", "XNAS"), InstrumentOptions(instrument_definition=(str(path),)))

    assert "bad.json" in str(refused.value)


def test_an_unknown_contract_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadData, match=r"XX: expected a JSON file, a catalog, or a known contract \(XBTUSD.BITMEX, "):
        resolve(trades_at(["100"]), InstrumentOptions(instrument_definition=("XX",)))


@pytest.mark.parametrize(
    "given",
    [
        {"tick_size": "0"},
        {"tick_size": "nan"},
        {"lot_size": "-1"},
        {"multiplier": "Infinity"},
        {"margin": "2"},
        {"tick_size": "1e-20"},
        {"currency": "usd"},
        {"currency": ""},
    ],
)
def test_options_that_no_instrument_has_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match=r"expected a .*, got "):
        options(**given)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"currency": "EUR"}, "expected --currency USD, as it is defined, got EUR"),
        ({"inverse": True}, "expected no --inverse, as it is defined as a linear FuturesContract"),
        ({"lot_size": "0.5"}, "expected a whole --lot-size for a FuturesContract, got 0.5"),
    ],
)
def test_options_that_contradict_a_definition_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadSetting, match=reason):
        resolve(trades_at(["100"], "ESM4", "CME"), options(**given))


def test_data_beyond_a_contracts_life_are_refused(tmp_path: Path) -> None:
    data = trades_of(DEFINED["future"])
    path = tmp_path / "x.json"
    path.write_text(json.dumps(to_values(future(expiration_ns=int(data.ts_event[-1])))))

    with pytest.raises(BadData, match=r"made.csv: expected data within the life of ESH5.GLBX, 1970-01-01 .* got 2023"):
        resolve(data, InstrumentOptions(instrument_definition=(str(path),)))


def test_the_expiry_of_a_quarterly_is_in_its_name() -> None:
    instrument = resolve(trades_at(["61000.1"], "BTCUSDT_240628", "BINANCE"), NOTHING).instrument

    assert isinstance(instrument, CryptoFuture)
    assert instrument.expiration_ns == 1_719_561_600 * 10**9  # 2024-06-28 8:00 UTC


@given(
    price=st.lists(st.integers(1, 10**9), min_size=1, max_size=8),
    precision=st.integers(0, 9),
    tick=st.sampled_from(["1", "5", "0.25", "0.5", "0.00005", "0.015625", "0.0000005", "1e-9", "250"]),
)
def test_off_tick_prices_match_exact_decimal_remainders(price: list[int], precision: int, tick: str) -> None:
    off = off_tick(np.array(price, dtype=np.int64), precision, Decimal(tick))

    assert off.tolist() == [Decimal(steps).scaleb(-precision) % Decimal(tick) != 0 for steps in price]


@given(steps=st.lists(st.integers(1, 10**6), min_size=1, max_size=8), kind=st.sampled_from(sorted(DEFINED)))
def test_conforming_data_have_the_same_values_in_the_instruments_decimals(steps: list[int], kind: str) -> None:
    instrument = DEFINED[kind]
    tick = instrument.price_increment.as_decimal()
    data = trades_at([str(tick * step) for step in steps], sizes=[str(step) for step in steps])

    same = conform(data, instrument)

    assert same.instrument.instrument_id == instrument.id.value
    assert (same.instrument.price_precision, same.instrument.size_precision) == (
        instrument.price_precision,
        instrument.size_precision,
    )
    assert [tick.price.as_decimal() for tick in trade_ticks(same)] == [tick * step for step in steps]
    assert [tick.size.as_decimal() for tick in trade_ticks(same)] == steps


def test_data_finer_than_the_definition_are_refused_with_place_and_value() -> None:
    with pytest.raises(BadData, match=r"made.csv: trade 2: .* a multiple of ESH5.GLBX's tick size 0.25, got 100.1 \(1"):
        conform(trades_at(["100.25", "100.1"]), DEFINED["future"])
    with pytest.raises(BadData, match=r"made.csv: size 2: expected at most 0 decimals, .* got 1.5"):
        conform(trades_at(["100.25", "100.5"], sizes=["1", "1.5"]), DEFINED["future"])
    bars = simulate_bars(20)
    with pytest.raises(BadData, match=r"simulated bars .*: open of bar \d+: expected a multiple of .*--tick-size"):
        conform(bars, DEFINED["future"])
