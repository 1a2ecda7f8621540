"""Bar intervals as NautilusTrader names them."""

import pytest
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.trading.bars.types import bar_type, parse_interval
from nautilus_torchserve.trading.checks import BadSetting

SECOND, MINUTE, HOUR, DAY = 10**9, 60 * 10**9, 3600 * 10**9, 86_400 * 10**9
BTC = InstrumentId.from_str("BTC-PERP.DERIBIT")
KNOWN = [
    ("1-SECOND", SECOND),
    ("30-SECOND", 30 * SECOND),
    ("1-MINUTE", MINUTE),
    ("15-MINUTE", 15 * MINUTE),
    ("1-HOUR", HOUR),
    ("4-HOUR", 4 * HOUR),
    ("1-DAY", DAY),
]


@pytest.mark.parametrize(("text", "interval_ns"), KNOWN)
def test_a_name_is_an_interval_and_back(text: str, interval_ns: int) -> None:
    assert parse_interval(text) == parse_interval(text.lower()) == interval_ns
    assert str(bar_type(BTC, interval_ns)) == f"BTC-PERP.DERIBIT-{text}-LAST-EXTERNAL"


@pytest.mark.parametrize("text", ["", "1", "MINUTE", "0-MINUTE", "-1-MINUTE", "1-WEEK", "100-TICK", "1.5-HOUR"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match=f"expected bars such as 1-MINUTE, 4-HOUR or 1-DAY, got '{text}'"):
        parse_interval(text)


@pytest.mark.parametrize("text", ["60-MINUTE", "7-MINUTE", "5-HOUR", "2-DAY"])
def test_a_step_that_nautilus_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match=f"expected bars that .*, got '{text}': .*[Ss]tep"):
        parse_interval(text)


@pytest.mark.parametrize("interval_ns", [7 * MINUTE, 1_500_000_000, 2 * DAY])
def test_bars_that_nautilus_has_no_name_for_are_refused(interval_ns: int) -> None:
    with pytest.raises(BadData, match=f"BTC-PERP.DERIBIT: expected bars of an interval .* got {interval_ns / 1e9:g} s"):
        bar_type(BTC, interval_ns)
