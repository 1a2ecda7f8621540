"""User options for the instruments of a run."""

from decimal import Decimal

import msgspec
from nautilus_trader.model.objects import FIXED_PRECISION

from nautilus_torchserve.trading.checks import BadSetting

LARGEST = 10**12
"""Steps and multipliers stay below; NautilusTrader holds values up to some 1e13."""


class InstrumentOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Definitions and single properties of a run's instruments; what is None is looked up or inferred.

    Raises
    ------
    BadSetting
        A value that no instrument can have.
    """

    instrument_definition: tuple[str, ...] = ()
    """JSON files, catalogs, or names of the contract table; see `trading.instruments.resolve`."""
    tick_size: Decimal | None = None
    """Smallest price change."""
    lot_size: Decimal | None = None
    """Smallest order size, and the step of larger ones."""
    multiplier: Decimal | None = None
    """Units of the underlying (of an inverse contract: of the quote currency) in a size of 1."""
    inverse: bool = False
    """Whether profit is paid in the base currency."""
    currency: str | None = None
    """Currency that prices are quoted in."""
    margin: Decimal | None = None
    """Margin of a position as a share of its value: 0.05 is 5%."""

    def __post_init__(self) -> None:
        for name in ("tick_size", "lot_size", "multiplier"):
            value = getattr(self, name)
            if value is not None and not (
                value.is_finite() and 0 < value < LARGEST and decimals(value) <= FIXED_PRECISION
            ):
                raise BadSetting(
                    f"expected a {name} in (0, {LARGEST:g}) of at most {FIXED_PRECISION} decimals, got {value}"
                )
        if self.margin is not None and not (self.margin.is_finite() and 0 <= self.margin <= 1):
            raise BadSetting(f"expected a margin of 0 to 1 (0.05 is 5%), got {self.margin}")
        currency = self.currency
        if currency is not None and not (currency.isascii() and currency.isalnum() and currency == currency.upper()):
            raise BadSetting(f"expected a currency such as USD or USDT, got {currency!r}")


def decimals(value: Decimal) -> int:
    """Return the number of decimals that a finite value needs."""
    return max(0, -int(value.normalize().as_tuple().exponent))
