"""The evaluation page of a price model: ``index.html``, which needs no other file, and ``evaluation.json``."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import orjson

from nautilus_torchserve.reporting.evaluation.price_figures import figures
from nautilus_torchserve.reporting.evaluation.price_tables import (
    GAINS,
    bps,
    columns_table,
    fold_scores_table,
    folds_table,
    gains_table,
    history_table,
    nats,
    nats_gain,
    reliability_table,
    scale_table,
    scores_table,
    steps_table,
)
from nautilus_torchserve.reporting.explanation.figure import Figures, explanation_picture
from nautilus_torchserve.reporting.fragments import (
    DASH,
    banner,
    calibration_caption,
    caption_line,
    card,
    chart,
    chart_section,
    columns,
    details,
    empty_note,
    label_table,
    moment,
    note_list,
    number,
    pair,
    section,
    share,
    span,
    verdict,
)
from nautilus_torchserve.reporting.frame import render_page, write_page

EVALUATION = "evaluation.json"
_DOT = " \N{MIDDLE DOT} "
_SIMULATED = (
    "These bars were generated, not recorded from an exchange. The results demonstrate the pipeline, not the model's "
    "skill on a real market."
)


def write_evaluation(evaluation: Mapping[str, Any], folder: Path) -> Path:
    """Write the page and the same numbers as JSON into `folder`, which is made if missing.

    Each file is written beside its place and moved there once both are complete.

    Parameters
    ----------
    evaluation : mapping
        Plain JSON types, None where a number cannot be computed:

        ``title``, ``network``, ``edge`` (sentences), ``beats_baselines`` (bool)
        ``scores``
            ``model`` and each baseline -> ``rmse_bps``, ``mae_bps``, ``directional_accuracy`` (share),
            ``directional_interval`` ([low, high]); all folds' test windows together.
        ``gains``
            ``rmse`` and ``mae`` -> ``best_baseline``, ``gain_bps``, ``interval``;
            ``direction`` -> ``best_baseline``, ``gain`` (share), ``interval``. Positive is better.
        ``log_likelihood``
            ``model``, ``constant`` (one Student t for all bars), ``gain``, ``interval``; nats per bar.
        ``calibration``
            ``sign``: rows of ``above``, ``to``, ``count``, ``confidence``, ``right``; ``ece``;
            ``scale``: rows of ``level`` and ``covered`` (shares).
        ``folds``
            Rows of ``number``, ``train_windows``, ``validation_windows``, ``test_windows``, ``test_from`` and
            ``test_to`` (ns), ``best_epoch`` (from 1), ``epochs``, ``scores`` (as above).
        ``importance``, ``importance_steps``
            Rows of ``column``, ``nll_rise``, ``rmse_rise_bps``, descending; rows of ``steps``, ``nll_rise``.
        ``explained``
            ``ts_event`` (ns) and ``explanation`` of one forecast, see
            `inference.models.price.explain_window`.
        ``history``
            Rows of ``fold``, ``train_loss`` and ``validation_loss`` (one number an epoch).
        ``data``
            ``source``, ``sha256``, ``simulated``, ``instrument_id``, ``bars``, ``interval``, ``from`` and ``to``
            (ns), ``findings`` (sentences), ``windows``, ``left_out``.
        ``bootstrap``
            ``confidence``, ``block_rows``, ``resamples``.
        ``settings``, ``model_facts``
            Labels and their texts.

    Returns
    -------
    Path
        The page.
    """
    numbers = orjson.dumps(evaluation, option=orjson.OPT_INDENT_2)
    return write_page(folder, render(evaluation), {EVALUATION: numbers})


def render(evaluation: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    drawn = figures(evaluation)
    explained, pictures = _explained(evaluation.get("explained"))
    folds, confidence = evaluation["folds"], evaluation["bootstrap"]["confidence"]
    simulated = evaluation["data"]["simulated"]
    return render_page(
        title=evaluation["title"],
        lead=_lead(evaluation),
        notices=evaluation_verdict(evaluation, ", in a simulated market" if simulated else "")
        + (banner("SIMULATED MARKET.", _SIMULATED) if simulated else ""),
        cards=_key_figures(evaluation),
        sections=[
            section(
                "Comparison with the baselines",
                columns(
                    scores_table(evaluation["scores"], confidence),
                    gains_table(evaluation["gains"], evaluation["log_likelihood"], evaluation["bootstrap"]),
                ),
            ),
            _by_fold(confidence, drawn),
            section(
                "Folds",
                folds_table(folds, confidence) + details("Scores of every forecast by fold", fold_scores_table(folds))
                if folds
                else empty_note("There were no folds."),
            ),
            _calibration(evaluation["calibration"], drawn),
            section("Feature importance", _importance(evaluation, drawn)),
            section("Explanation of one forecast", explained),
            section("Learning curves", _history(evaluation, drawn)),
            section("Data", _data(evaluation["data"])),
            section(
                "Model and configuration",
                columns(
                    label_table("Model", {"Network": evaluation["network"], **evaluation["model_facts"]}),
                    label_table("Settings", evaluation["settings"]),
                ),
            ),
        ],
        figures={**drawn, **pictures},
    )


def evaluation_verdict(evaluation: Mapping[str, Any], note: str = "") -> str:
    """Return the box that says whether the model beats every baseline."""
    beats = evaluation["beats_baselines"]
    headline = "Better than every baseline" if beats else "Not shown to be better than the baselines"
    return verdict(headline + note, evaluation["edge"], good=beats)


def _lead(evaluation: Mapping[str, Any]) -> str:
    data = evaluation["data"]
    return _DOT.join(
        (
            evaluation["network"],
            data["instrument_id"],
            f"{data['bars']:,} bars of {data['interval']}",
            f"{moment(data['from'])} to {moment(data['to'])}",
        )
    )


def _key_figures(evaluation: Mapping[str, Any]) -> list[str]:
    model, likelihood = evaluation["scores"]["model"], evaluation["log_likelihood"]
    folds, data, calibration = evaluation["folds"], evaluation["data"], evaluation["calibration"]
    return [
        card("RMSE (bps)", bps(model["rmse_bps"]), *_gain_asides(evaluation, "rmse")),
        card("MAE (bps)", bps(model["mae_bps"]), *_gain_asides(evaluation, "mae")),
        card("Directional accuracy", share(model["directional_accuracy"]), *_gain_asides(evaluation, "direction")),
        card(
            "Log likelihood (nats)",
            nats(likelihood["model"]),
            f"{nats_gain(likelihood['gain'])} vs. a constant",
            f"({span(likelihood['interval'], nats_gain)})",
        ),
        card(
            "Calibration error",
            number(calibration["ece"], 4),
            "of the sign probability",
            *(
                f"{share(row['level'], 0)} interval: {share(row['covered'], 1)}"
                for row in sorted(calibration["scale"], key=lambda row: abs(row["level"] - 0.9))[:1]
            ),
        ),
        card(
            "Test windows",
            f"{sum(fold['test_windows'] for fold in folds):,}",
            "in 1 fold" if len(folds) == 1 else f"in {len(folds)} folds",
            f"of {data['windows']:,} windows",
        ),
    ]


def _gain_asides(evaluation: Mapping[str, Any], key: str) -> tuple[str, str]:
    gain = evaluation["gains"][key]
    _, value, write, unit = GAINS[key]
    return f"{write(gain[value])}{unit} vs. {gain['best_baseline'] or DASH}", f"({span(gain['interval'], write, unit)})"


def _by_fold(confidence: float, drawn: Container[str]) -> str:
    return pair(
        chart_section(
            "Directional accuracy by fold",
            drawn,
            "direction",
            "No direction was forecast.",
            f"Share of the test windows whose return had the forecast sign, the model's with its {confidence:.0%} "
            "interval. Where it includes the dotted line, the model may be no better than a coin flip.",
        ),
        chart_section(
            "Error reduction by fold",
            drawn,
            "gains",
            "There is no fold in which both the model and a baseline have a score.",
            "Reduction of the model's error against each fold's best baseline; a negative value is an increase.",
        ),
    )


def _calibration(calibration: Mapping[str, Any], drawn: Container[str]) -> str:
    text = "Forecasts binned by the probability of the predicted sign."
    return pair(
        chart_section(
            "Sign calibration",
            drawn,
            "sign",
            "No sign was forecast, so its probability cannot be checked.",
            calibration_caption(calibration["ece"]),
            "tall",
            reliability_table({"model": calibration["sign"]}, text, "forecasts"),
        ),
        chart_section(
            "Scale calibration",
            drawn,
            "scale",
            "No interval was compared with the returns.",
            "Share of the returns inside the forecasts' central intervals. Above the dotted line the forecast scale is "
            "too wide, below it too narrow.",
            "tall",
            scale_table(calibration["scale"]),
        ),
    )


def _importance(evaluation: Mapping[str, Any], drawn: Container[str]) -> str:
    parts = (
        ("columns", "By column: increase in loss when the column is permuted across windows.", columns_table),
        ("steps", "By time: increase in loss when these bars of the window are permuted.", steps_table),
    )
    rows = {"columns": evaluation["importance"], "steps": evaluation["importance_steps"]}
    charts = [
        chart(name, text) + details("Show as table", write(rows[name])) for name, text, write in parts if name in drawn
    ]
    if not charts:
        return empty_note("No permutation importance was computed.")
    return caption_line("Permutation importance on the last fold's test windows.") + columns(*charts)


def _explained(explained: Mapping[str, Any] | None) -> tuple[str, Figures]:
    """Return one explained forecast; evaluations written by earlier versions have none."""
    if explained is None:
        return empty_note("No forecast was explained."), {}
    picture, figures = explanation_picture(explained["explanation"])
    made = f"made on {moment(explained['ts_event'])}"
    return caption_line(f"The most confident forecast among the last fold's test windows, {made}.") + picture, figures


def _history(evaluation: Mapping[str, Any], drawn: Container[str]) -> str:
    epochs = {fold["number"]: f"epoch {fold['best_epoch']} of {fold['epochs']}" for fold in evaluation["folds"]}
    charts = [
        chart(name, f"Fold {fold}: {epochs.get(fold, DASH)} was kept.", "small")
        for fold in (history["fold"] for history in evaluation["history"])
        if (name := f"history-{fold}") in drawn
    ]
    if not charts:
        return empty_note("No epoch was recorded.")
    return columns(*charts) + details("Show as table", history_table(evaluation["history"]))


def _data(data: Mapping[str, Any]) -> str:
    rows = {
        "Source": data["source"],
        "SHA-256": data["sha256"],
        "Instrument": data["instrument_id"],
        "Market": "simulated" if data["simulated"] else "recorded",
    }
    extent = {
        "Period": f"{moment(data['from'])} to {moment(data['to'])}",
        "Bars": f"{data['bars']:,} of {data['interval']}",
        "Windows": f"{data['windows']:,}",
        "Windows excluded": f"{data['left_out']:,}",
    }
    findings = note_list(data["findings"], "Findings of the data checks")
    return columns(label_table("Bars", rows), label_table("Extent", extent)) + (
        findings or empty_note("The data checks reported no findings.")
    )
