"""The scores of a price model's evaluation, and its tables as HTML."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from nautilus_torchserve.reporting.fragments import DASH, Cell, change, moment, number, share, share_span, span, table

MODEL = "model"
"""Key of the model among the scores; all others are baselines."""
LESS_IS_BETTER = ("rmse_bps", "mae_bps")

Scores = Mapping[str, Mapping[str, Any]]

bps = partial(number, digits=3)
bps_gain = partial(change, digits=4)
nats = partial(number, digits=4)
nats_gain = partial(change, digits=4)


def points(value: float | None) -> str:
    """Return the difference of two shares in percentage points."""
    return change(None if value is None else 100 * value, 2)


GainFormat = tuple[str, str, Callable[[float | None], str], str]
"""Name of a score, key of its gain, how the gain is written, its unit."""
GAINS: dict[str, GainFormat] = {
    "rmse": ("RMSE (bps)", "gain_bps", bps_gain, ""),
    "mae": ("MAE (bps)", "gain_bps", bps_gain, ""),
    "direction": ("Directional accuracy", "gain", points, " pp"),
}


def best(scores: Scores, key: str, among_baselines: bool = False) -> list[str]:
    """Return the names with the best score `key`: several where they are equal, none where no score is known."""
    values = {
        name: score[key]
        for name, score in scores.items()
        if score[key] is not None and not (among_baselines and name == MODEL)
    }
    if not values:
        return []
    first = min(values.values()) if key in LESS_IS_BETTER else max(values.values())
    return [name for name, value in values.items() if value == first]


def error_gain(scores: Scores, key: str) -> tuple[str, float] | None:
    """Return the best baseline and how much smaller the model's error `key` is; None where a score is unknown."""
    names = best(scores, key, among_baselines=True)
    if not names or scores[MODEL][key] is None:
        return None
    return names[0], scores[names[0]][key] - scores[MODEL][key]


def scores_table(scores: Scores, confidence: float) -> str:
    """Return the scores of model and baselines on the test windows of all folds; the best ones are marked."""
    marked = {key: best(scores, key) for key in ("rmse_bps", "mae_bps", "directional_accuracy")}

    def cell(name: str, key: str, text: str, below: str = "") -> Cell:
        notes = [note for note in ("best" if name in marked[key] else "", below) if note]
        return (text, ", ".join(notes)) if notes else text

    rows = []
    for name, score in scores.items():
        right, interval = score["directional_accuracy"], score["directional_interval"]
        rows.append(
            (
                name,
                cell(name, "rmse_bps", bps(score["rmse_bps"])),
                cell(name, "mae_bps", bps(score["mae_bps"])),
                cell(name, "directional_accuracy", share(right), "" if right is None else share_span(interval)),
            )
        )
    return table(
        "Pooled test windows of all folds. Errors are of the forecast return: lower is better. Below the accuracy: its "
        f"{confidence:.0%} interval.",
        ("Forecast", "RMSE (bps)", "MAE (bps)", "Directional accuracy"),
        rows,
    )


def gain_rows(gains: Mapping[str, Any], formats: Mapping[str, GainFormat]) -> list[tuple[Cell, ...]]:
    """Return the rows of gains over the best baseline of each score, with their intervals and verdicts."""
    return [
        (
            (name, f"vs. {gains[key]['best_baseline'] or DASH}"),
            (write(gains[key][value]) + unit, span(gains[key]["interval"], write, unit)),
            reading(gains[key]["interval"]),
        )
        for key, (name, value, write, unit) in formats.items()
    ]


def gains_table(gains: Mapping[str, Any], likelihood: Mapping[str, Any], bootstrap: Mapping[str, Any]) -> str:
    """Return the model's gains over the best baseline of each score, with their intervals and verdicts."""
    rows = gain_rows(gains, GAINS)
    rows.append(
        (
            ("Log likelihood (nats per bar)", f"vs. {nats(likelihood['constant'])} of a constant Student t"),
            (nats_gain(likelihood["gain"]), span(likelihood["interval"], nats_gain)),
            reading(likelihood["interval"]),
        )
    )
    return table(
        "Gain over the best baseline of each score: higher is better. Below each gain: its "
        f"{bootstrap['confidence']:.0%} block-bootstrap interval, {bootstrap['resamples']:,} resamples, blocks of "
        f"{bootstrap['block_rows']:,} windows.",
        ("Score", "Gain", "Verdict"),
        rows,
        texts=(2,),
    )


def reading(interval: Sequence[float | None] | None) -> str:
    """Return the verdict on a gain by its interval."""
    if interval is None:
        return DASH
    low, high = interval
    if low is None or high is None:
        return DASH
    return "better" if low > 0 else "worse" if high < 0 else "not significant"


def folds_table(folds: Sequence[Mapping[str, Any]], confidence: float) -> str:
    """Return the sizes of each fold and the model's scores there."""
    rows = []
    for fold in folds:
        model = fold["scores"]["model"]
        rows.append(
            (
                str(fold["number"]),
                (moment(fold["test_from"]), f"to {moment(fold['test_to'])}"),
                f"{fold['train_windows']:,}",
                f"{fold['validation_windows']:,}",
                f"{fold['test_windows']:,}",
                f"{fold['best_epoch']} of {fold['epochs']}",
                (bps(model["rmse_bps"]), _against_best(fold["scores"], "rmse_bps")),
                (bps(model["mae_bps"]), _against_best(fold["scores"], "mae_bps")),
                (share(model["directional_accuracy"]), share_span(model["directional_interval"])),
            )
        )
    return table(
        f"Each fold is trained on the data before its test period. Below an error: the gain over the fold's best "
        f"baseline; below the accuracy: its {confidence:.0%} interval.",
        (
            "Fold",
            "Test period",
            "Training windows",
            "Validation windows",
            "Test windows",
            "Best epoch",
            "RMSE (bps)",
            "MAE (bps)",
            "Directional accuracy",
        ),
        rows,
        texts=(1,),
    )


def fold_scores_table(folds: Sequence[Mapping[str, Any]]) -> str:
    """Return every score of every fold."""
    rows = [
        (
            (name, f"fold {fold['number']}"),
            bps(score["rmse_bps"]),
            bps(score["mae_bps"]),
            (share(score["directional_accuracy"]), share_span(score["directional_interval"])),
        )
        for fold in folds
        for name, score in fold["scores"].items()
    ]
    return table(
        "Scores of the forecasts by fold; below the accuracy: its interval.",
        ("Forecast in fold", "RMSE (bps)", "MAE (bps)", "Directional accuracy"),
        rows,
    )


def reliability_table(curves: Mapping[str, Sequence[Mapping[str, Any]]], caption: str, unit: str) -> str:
    """Return the numbers of `drawing.reliability_figure`, of several curves each with its name; `unit` is counted."""
    rows: list[tuple[Cell, ...]] = []
    for name, bins in curves.items():
        for row in bins:
            limits = f"{number(row['above'])} to {number(row['to'])}"
            counted = (f"{row['count']:,}", share(row["confidence"]), share(row["right"]))
            rows.append(((limits, name) if len(curves) > 1 else limits, *counted))
    return table(caption, ("Probability", unit.capitalize(), "Predicted", "Observed"), rows)


def scale_table(levels: Sequence[Mapping[str, Any]]) -> str:
    """Return the coverage of central intervals, and how far it is from their level."""
    rows = [
        (
            share(row["level"], 0),
            share(row["covered"]),
            points(None if row["covered"] is None else row["covered"] - row["level"]),
        )
        for row in levels
    ]
    return table("Coverage of the forecasts' central intervals.", ("Interval", "Coverage", "Difference (pp)"), rows)


def columns_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the permutation importance of each column."""
    return table(
        "Increase in loss and error when a column is permuted.",
        ("Column", "Loss (nats)", "RMSE (bps)"),
        [(row["column"], change(row["nll_rise"], 5), change(row["rmse_rise_bps"], 4)) for row in rows],
    )


def steps_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the permutation importance of each span of time steps."""
    return table(
        "Increase in loss when bars of the window are permuted.",
        ("Bars", "Loss (nats)"),
        [(row["steps"], change(row["nll_rise"], 5)) for row in rows],
    )


def history_table(histories: Sequence[Mapping[str, Any]]) -> str:
    """Return both losses after each epoch, one column per fold."""
    losses = [list(zip(history["validation_loss"], history["train_loss"], strict=True)) for history in histories]
    rows = [
        (
            str(epoch + 1),
            *(
                (number(fold[epoch][0], 5), f"training {number(fold[epoch][1], 5)}") if epoch < len(fold) else DASH
                for fold in losses
            ),
        )
        for epoch in range(max(map(len, losses), default=0))
    ]
    return table(
        "Validation loss by epoch, below it the training loss; a dash where the fold's training had stopped.",
        ("Epoch", *(f"Fold {history['fold']}" for history in histories)),
        rows,
    )


def _against_best(scores: Scores, key: str) -> str:
    gain = error_gain(scores, key)
    return DASH if gain is None else f"{bps_gain(gain[1])} vs. {gain[0]}"
