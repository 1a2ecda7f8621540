"""Checks of settings, with one form of error message."""

from decimal import Decimal
from operator import gt, lt

from nautilus_trader.model.instruments import Instrument

from nautilus_torchserve.user_error import InvalidArgument


class BadSetting(InvalidArgument):
    """An invalid setting."""


def expect(condition: bool, message: str) -> None:
    """Raise `BadSetting` unless the condition holds.

    Parameters
    ----------
    message : str
        The expectation and the value: ``"window of at least 1 trade, got 0"``.
    """
    if not condition:
        raise BadSetting(f"expected {message}")


def check_size(size: Decimal, instrument: Instrument) -> None:
    """Refuse a trade size that a venue would not take, or that would have to be rounded.

    Raises
    ------
    BadSetting
    """
    step = instrument.size_increment.as_decimal()
    if size % step:
        raise BadSetting(
            f"expected a trade_size in steps of {step} for {instrument.id}, got {size}; --size sets it, --lot-size the "
            "step; in the file of a live run [strategy] trade_size and [market] lot_size"
        )
    for limit, is_beyond in ((instrument.min_quantity, lt), (instrument.max_quantity, gt)):
        if limit is not None and is_beyond(size, limit.as_decimal()):
            least_or_most = "at least" if is_beyond is lt else "at most"
            raise BadSetting(
                f"expected a trade_size of {least_or_most} {limit} for {instrument.id}, as it is defined, got {size}; "
                "--size sets it, or [strategy] trade_size in the file of a live run"
            )
