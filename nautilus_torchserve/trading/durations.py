"""Durations as text: ``500us``, ``1ms``, ``2h``, and as NautilusTrader names them: ``4-HOUR``."""

import re

from nautilus_torchserve.trading.checks import BadSetting

UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}
_NAMED = {"SECOND": "s", "MINUTE": "m", "HOUR": "h", "DAY": "d"}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)")


def parse_duration(text: str) -> int:
    """Return the nanoseconds of ``1.5ms`` and the like; units ns, us, ms, s, m, h, d, or -SECOND to -DAY.

    Raises
    ------
    BadSetting
        Another form, or less than a nanosecond.
    """
    number, dash, name = text.strip().upper().partition("-")
    match = _PATTERN.fullmatch(f"{number}{_NAMED.get(name)}" if dash else text.strip())
    if match is None:
        raise BadSetting(f"expected a duration such as 500us, 1ms, 2s or 4-HOUR, got {text!r}")
    duration_ns = round(float(match[1]) * UNITS_NS[match[2]])
    if duration_ns < 1:
        raise BadSetting(f"expected a duration above 0, got {text!r}")
    return duration_ns


def parse_seconds(given: str | float) -> float:
    """Return the seconds of a duration, or of a plain number of seconds."""
    plain = re.fullmatch(r"\d+(\.\d+)?", str(given))
    return float(given) if plain else parse_duration(str(given)) / 1e9


def parse_latency(text: str) -> int:
    """Return the nanoseconds of a latency, as `parse_duration`, or ``0``.

    Raises
    ------
    BadSetting
        Another form.
    """
    return 0 if text.strip() == "0" else parse_duration(text)


def format_duration(duration_ns: int) -> str:
    """Return the inverse of `parse_duration`, in the largest unit up to seconds that keeps the number at least 1."""
    unit = next((name for name in ("s", "ms", "us") if duration_ns >= UNITS_NS[name]), "ns")
    return f"{duration_ns / UNITS_NS[unit]:.12g}{unit}"
