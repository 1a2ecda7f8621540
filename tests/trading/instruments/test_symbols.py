"""Symbols are read where one reading exists, and refused where several do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.trading.instruments.symbols import COINS, QUOTES, STABLECOINS, read_pair


@pytest.mark.parametrize(
    ("symbol", "pair"),
    [
        *[("BTCUSDT", ("BTC", "USDT")), ("ETHBTC", ("ETH", "BTC")), ("BTCFDUSD", ("BTC", "FDUSD"))],
        *[("DOTUSD", ("DOT", "USD")), ("BNBUSD", ("BNB", "USD")), ("SHIBUSD", ("SHIB", "USD"))],
        *[("XBTUSD", ("BTC", "USD")), ("dotusd", ("DOT", "USD")), ("shibUSDT", ("SHIB", "USDT"))],
        *[("BTC-USD", ("BTC", "USD")), ("BTC_USDT", ("BTC", "USDT")), ("EUR/USD", ("EUR", "USD"))],
        *[("EURUSD", ("EUR", "USD")), ("USDJPY", ("USD", "JPY")), ("XAUUSD", ("XAU", "USD"))],
        *[("SIMUSD", ("SIM", "USD")), ("WIFUSDT", ("WIF", "USDT")), ("1000SHIBUSDT", ("1000SHIB", "USDT"))],
        *[("AAPL", None), ("ESM4", None), ("BTC-PERP", None), ("BTC-USDT-SWAP", None), ("BTCUSDT_240628", None)],
        *[("USDT", None), ("", None), ("SBNB", None), ("BTC-28JUN24", None)],
    ],
)
def test_a_symbol_is_base_and_quote_or_no_pair(symbol: str, pair: tuple[str, str] | None) -> None:
    assert read_pair(symbol) == pair


@pytest.mark.parametrize("symbol", ["USDTUSD", "FOOTUSD", "XYZBUSD", "KRW-BTC", "USDT_BTC"])
def test_two_readings_are_refused_with_the_option_that_decides(symbol: str) -> None:
    with pytest.raises(BadData, match=rf"{symbol}: expected a symbol with one reading, got .* or .*; --currency"):
        read_pair(symbol)


@pytest.mark.parametrize(
    ("symbol", "pair"),
    [
        ("KRW-BTC", ("BTC", "KRW")),
        ("BTC-ETH", ("ETH", "BTC")),
        ("USDT-XRP", ("XRP", "USDT")),
        ("KRW-1INCH", ("1INCH", "KRW")),
    ],
)
def test_venues_that_name_the_quote_first_are_read_so(symbol: str, pair: tuple[str, str]) -> None:
    assert read_pair(symbol, "UPBIT") == read_pair(symbol, "upbit") == pair


@pytest.mark.parametrize("quote", ["USDT", "USD", "USDC"])
def test_coins_are_read_in_every_notation(quote: str) -> None:
    for base in COINS - set(STABLECOINS) - {"XBT", "XDG"}:
        plain, *separated = [f"{base}{separator}{quote}" for separator in ("", "-", "_", "/")]
        assert {read_pair(each) for each in [*separated, *map(str.lower, separated)]} == {(base, quote)}
        if quote == "USD" and base.endswith("B") and base[:-1] in COINS:  # ARB/USD, or AR/BUSD
            with pytest.raises(BadData, match=f"{base[:-1]}/BUSD or {base}/USD"):
                read_pair(plain)
        else:
            assert {read_pair(plain), read_pair(plain.lower())} == {(base, quote)}


@given(st.text(alphabet="ABDEFSTUX1-_/", max_size=12))
def test_a_pair_spells_the_symbol_that_it_was_read_from(symbol: str) -> None:
    try:
        pair = read_pair(symbol)
    except BadData:
        return

    if pair is not None:
        assert pair.quote in QUOTES
        assert symbol.replace("XBT", "BTC").strip("-_/") in [pair.base + each + pair.quote for each in ("", *"-_/")]
