"""A price model's evaluation as a training run makes it: three folds of simulated minute bars."""

import math
from typing import Any

import numpy as np

MINUTE = 60_000_000_000
START = 1_704_067_200_000_000_000
FOLDS, EPOCHS, KEPT = 3, (14, 9, 11), (9, 4, 6)
COLUMNS = ("close", "volume", "realised_volatility_24", "high", "low", "rsi_14", "atr_14", "open", "ma_ratio_12_48")
STEPS = ("last bar", "2-4 back", "5-12 back", "13-30 back", "31-60 back")


def evaluation() -> dict[str, Any]:
    """A fresh copy; always the same numbers."""
    rng = np.random.default_rng(7)
    return {
        "title": "Price LSTM on SIMUSD.SIM",
        "network": "price_lstm",
        "edge": "No edge shown: the model does not beat every baseline beyond chance (RMSE gain over no change "
        "+0.0121 bps, 95% interval -0.0040 to +0.0288; MAE gain over linear -0.0037 bps).",
        "beats_baselines": False,
        "scores": _scores(rng, 12_384),
        "gains": {
            "rmse": {"best_baseline": "no change", "gain_bps": 0.01213, "interval": [-0.00402, 0.02881]},
            "mae": {"best_baseline": "linear", "gain_bps": -0.00372, "interval": [-0.00655, -0.00091]},
            "direction": {"best_baseline": "a coin", "gain": 0.01624, "interval": [0.00713, 0.02531]},
        },
        "log_likelihood": {"model": 7.04517, "constant": 6.98231, "gain": 0.06286, "interval": [0.05124, 0.07459]},
        "calibration": {"sign": _sign_bins(), "ece": 0.00874, "scale": _levels()},
        "folds": [_fold(rng, number) for number in range(1, FOLDS + 1)],
        "importance": [
            {"column": column, "nll_rise": 0.0413 * 0.45**place - 0.0002, "rmse_rise_bps": 0.0519 * 0.4**place - 0.0004}
            for place, column in enumerate(COLUMNS)
        ],
        "importance_steps": [
            {"steps": steps, "nll_rise": 0.0352 * 0.5**place - 0.003} for place, steps in enumerate(STEPS)
        ],
        "history": [
            {
                "fold": number,
                "train_loss": [1.62 - 0.05 * epoch / (epoch + 2) - 0.002 * epoch for epoch in range(epochs)],
                "validation_loss": [
                    1.6 + 0.004 * number - 0.03 * epoch / (epoch + 1) + 0.0006 * max(epoch - kept + 1, 0) ** 1.5
                    for epoch in range(epochs)
                ],
            }
            for number, (epochs, kept) in enumerate(zip(EPOCHS, KEPT, strict=True), start=1)
        ],
        "data": {
            "source": "bars/SIMUSD-1m-2024-01.csv",
            "sha256": "5e" * 32,
            "simulated": True,
            "instrument_id": "SIMUSD.SIM",
            "bars": 30_240,
            "interval": "1 min",
            "from": START,
            "to": START + 30_240 * MINUTE,
            "findings": [
                "2 gaps of more than 1 min, the longest 17 min from 2024-01-09 03:11 UTC.",
                "41 bars without volume.",
            ],
            "windows": 29_871,
            "left_out": 361,
        },
        "bootstrap": {"confidence": 0.95, "block_rows": 120, "resamples": 2_000},
        "settings": {"Epochs": "at most 60, patience 5", "Batch": "256 windows", "Learning rate": "0.001", "Seed": "7"},
        "model_facts": {"Parameters": "206,978", "Window": "60 bars of 5 columns", "PyTorch": "2.13.0"},
    }


def _scores(rng: np.random.Generator, windows: int) -> dict[str, dict[str, Any]]:
    half = 0.98 / math.sqrt(windows)
    rows = {
        "model": (5.2312, 3.4471, 0.5162),
        "last return": (7.4126, 5.0244, 0.4913),
        "linear": (5.2467, 3.4434, 0.5087),
    }
    scores: dict[str, dict[str, Any]] = {}
    for name, (rmse, mae, right) in rows.items():
        right = right + rng.normal(0, half / 3)
        scores[name] = {
            "rmse_bps": rmse + rng.normal(0, 0.01),
            "mae_bps": mae + rng.normal(0, 0.01),
            "directional_accuracy": right,
            "directional_interval": [right - half, right + half],
        }
    still = {"rmse_bps": 5.2433, "mae_bps": 3.4502, "directional_accuracy": None, "directional_interval": None}
    return {"model": scores.pop("model"), "no change": still, **scores}


def _fold(rng: np.random.Generator, number: int) -> dict[str, Any]:
    start = START + (16_000 + 4_700 * number) * MINUTE
    return {
        "number": number,
        "train_windows": 11_800 + 4_128 * number,
        "validation_windows": 2_064 + number,
        "test_windows": 4_128,
        "test_from": start,
        "test_to": start + 4_188 * MINUTE,
        "best_epoch": KEPT[number - 1],
        "epochs": EPOCHS[number - 1],
        "scores": _scores(rng, 4_128),
    }


def _sign_bins() -> list[dict[str, Any]]:
    counts = (7_412, 3_120, 1_207, 480, 131, 22, 0)
    return [
        {
            "above": 0.5 + 0.01 * place,
            "to": 0.51 + 0.01 * place,
            "count": count,
            "confidence": 0.5043 + 0.01 * place if count else None,
            "right": 0.506 + 0.013 * place - 0.004 * (place % 2) if count else None,
        }
        for place, count in enumerate(counts)
    ]


def _levels() -> list[dict[str, Any]]:
    covered = {0.1: 0.1042, 0.25: 0.2561, 0.5: 0.5093, 0.75: 0.7548, 0.9: 0.8967, 0.95: 0.9452, 0.99: 0.9871}
    return [{"level": level, "covered": share} for level, share in covered.items()]
