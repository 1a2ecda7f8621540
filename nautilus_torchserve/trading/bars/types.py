"""Bar intervals as NautilusTrader names them: ``1-MINUTE``."""

from nautilus_trader.model.data import BarSpecification, BarType
from nautilus_trader.model.enums import AggregationSource, PriceType, bar_aggregation_from_str
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.market import read_options as intervals
from nautilus_torchserve.market.read_options import UNITS_NS, BadInterval
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.trading.checks import BadSetting


def parse_interval(text: str) -> int:
    """Return the nanoseconds of ``5-MINUTE`` and the like; SECOND, MINUTE, HOUR, DAY.

    Raises
    ------
    BadSetting
        Another form, or a step that does not divide the next larger unit, which NautilusTrader does not support.
    """
    try:
        interval_ns = intervals.parse_interval(text)
    except BadInterval as error:
        raise BadSetting(str(error)) from None
    step, _, unit = text.strip().upper().partition("-")
    try:
        BarSpecification(int(step), bar_aggregation_from_str(unit), PriceType.LAST)
    except ValueError as error:
        raise BadSetting(f"expected bars that NautilusTrader supports, got {text!r}: {error}") from None
    return interval_ns


def bar_type(instrument_id: InstrumentId, interval_ns: int) -> BarType:
    """Return the type of external bars of an interval.

    Raises
    ------
    BadData
        NautilusTrader has no name for such bars.
    """
    for unit, unit_ns in reversed(UNITS_NS.items()):
        if interval_ns % unit_ns == 0:
            try:
                specification = BarSpecification(interval_ns // unit_ns, bar_aggregation_from_str(unit), PriceType.LAST)
            except ValueError:
                continue
            return BarType(instrument_id, specification, AggregationSource.EXTERNAL)
    raise BadData(
        f"{instrument_id}: expected bars of an interval that NautilusTrader supports (1-MINUTE, 4-HOUR, 1-DAY), "
        f"got {interval_ns / 1e9:g} s"
    )
