"""Bar intervals as NautilusTrader names them: ``1-MINUTE``."""

from nautilus_trader.model.data import BarSpecification, BarType
from nautilus_trader.model.enums import (
    AggregationSource,
    BarAggregation,
    PriceType,
    bar_aggregation_from_str,
    bar_aggregation_to_str,
)
from nautilus_trader.model.identifiers import InstrumentId

from market.trades import BadData
from strategies.checks import BadSetting

UNITS_NS = {
    BarAggregation.DAY: 86_400 * 10**9,
    BarAggregation.HOUR: 3_600 * 10**9,
    BarAggregation.MINUTE: 60 * 10**9,
    BarAggregation.SECOND: 10**9,
}
"""Aggregations of a fixed length, and that length."""


def parse_interval(text: str) -> int:
    """Nanoseconds of ``5-MINUTE`` and the like; SECOND, MINUTE, HOUR, DAY.

    Raises
    ------
    BadSetting
        Another form, or a step that does not divide the next larger unit.
    """
    step, _, unit = text.strip().upper().partition("-")
    names = [bar_aggregation_to_str(aggregation) for aggregation in UNITS_NS]
    if unit not in names or not (step.isascii() and step.isdecimal()) or not int(step):
        raise BadSetting(f"bars such as 1-MINUTE, 4-HOUR or 1-DAY expected, was {text!r}")
    aggregation = bar_aggregation_from_str(unit)
    try:
        return BarSpecification(int(step), aggregation, PriceType.LAST).get_interval_ns()
    except ValueError as error:
        raise BadSetting(f"bars that NautilusTrader knows expected, was {text!r}: {error}") from None


def bar_type(instrument_id: InstrumentId, interval_ns: int) -> BarType:
    """The type of bars of ``interval_ns`` that come from outside.

    Raises
    ------
    BadData
        NautilusTrader has no name for such bars.
    """
    for aggregation, unit_ns in UNITS_NS.items():
        if interval_ns % unit_ns == 0:
            try:
                specification = BarSpecification(interval_ns // unit_ns, aggregation, PriceType.LAST)
            except ValueError:
                continue
            return BarType(instrument_id, specification, AggregationSource.EXTERNAL)
    raise BadData(
        f"{instrument_id}: bars of an interval that NautilusTrader knows (1-MINUTE, 4-HOUR, 1-DAY) expected, "
        f"was {interval_ns / 1e9:g} s"
    )
