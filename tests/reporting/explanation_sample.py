"""Explanations as models give them, small enough to be read."""

from typing import Any

import numpy as np

from nautilus_torchserve.reporting.backtest.trade_log import PastTrade, TradeLog


def _ends(output: str, value: float, baseline_value: float, complete: bool = True) -> dict[str, Any]:
    return {
        "output": output,
        "value": value,
        "baseline_value": baseline_value,
        "completeness_error": 1e-5 if complete else 0.2,
        "completeness_allowed": 1e-3,
        "complete": complete,
        "steps": 32,
    }


def features(complete: bool = True) -> dict[str, Any]:
    rows = [("return_bps", "bps", -2.5, -0.01), ("flow_imbalance", "1", 0.8, 0.3), ("relative_gap", "1", 0.2, -0.04)]
    return {
        **_ends("buy", 0.6, 0.35, complete),
        "baseline": "every feature at its mean in the fit",
        "features": [
            {"name": name, "unit": unit, "value": value, "baseline": 0.0, "attribution": part}
            for name, unit, value, part in rows
        ],
    }


def window(steps: int = 20) -> dict[str, Any]:
    """All of it from the volume of the bars 5 to 14 before the newest: 0.5 bps each; the newest low takes 1 off."""
    attributions = np.zeros((steps, 5))
    attributions[steps - 15 : steps - 5, 4] = 0.5
    attributions[-1, 2] = -1.0
    prices = np.linspace(100, 101, steps)
    return {
        **_ends("return_bps", 3.5, -0.5),
        "baseline": "a window in which nothing happened",
        "columns": ["open", "high", "low", "close", "volume"],
        "window": np.column_stack([prices] * 4 + [np.ones(steps)]).tolist(),
        "attributions": attributions.tolist(),
    }


def sentence() -> dict[str, Any]:
    text = "Unhurt <b> profit & more"
    cuts = [(0, 2, -0.1), (2, 6, -0.3), (7, 8, 0.0), (8, 9, 0.0), (9, 10, 0.0), (11, 17, 0.5), (18, 19, 0.0)]
    cuts.append((20, 24, 0.1))
    return {
        **_ends("score", 0.4, 0.2),
        "baseline": "words that say nothing",
        "text": text,
        "truncated": False,
        "chunks": [{"tokens": 10, "weight": 1.0}],
        "tokens": [
            {"text": text[start:end], "start": start, "end": end, "attribution": part} for start, end, part in cuts
        ],
    }


def pooled(news: bool = True) -> dict[str, Any]:
    bars = {**window(), "weight": 0.8 if news else 1.0}
    headline = {**sentence(), "age_s": 60.0, "weight": 1.0, "attribution": 0.2}
    part = {**_ends("", 0.4, 0.2), "weight": 1.5, "baseline": "words that say nothing", "texts": [headline]}
    return {
        **_ends("log_odds_up", 1.0, -3.2),
        "price": bars,
        "news": part if news else None,
        "fallback": "" if news else "no news: the price model's forecast alone",
    }


def past_trade(number: int, pnl: float, **changed: Any) -> PastTrade:
    held = {
        "number": number,
        "side": "BUY",
        "quantity": 0.1,
        "ts_opened": 1_714_521_600_000_000_000,
        "ts_closed": 1_714_521_660_000_000_000,
        "price_opened": 100.5,
        "price_closed": 101.5,
        "pnl": pnl,
        "feature_ts": 1_714_521_599_000_000_000,
        "outputs": {"buy": 0.6, "sell": 0.1, "hold": 0.3},
        "row": np.array([0.1, -2.0, 1 / 3, number], np.float32),
    }
    return PastTrade(**{**held, **changed})


def log_of(*trades: PastTrade) -> TradeLog:
    return TradeLog("BTCUSDT.SIM", "USDT", "tick", "1.0", "ab" * 32, "mar:tick.mar", "rows", trades)


def explained_trade(number: int = 2) -> dict[str, Any]:
    trade = {name: value for name, value in vars(past_trade(number, 1.5)).items() if name != "row"}
    return {
        "instrument_id": "BTCUSDT.SIM",
        "model": "tick",
        "version": "1.0",
        "archive_digest": "ab" * 32,
        "currency": "USDT",
        "trade": trade,
        "explanation": features(),
    }
