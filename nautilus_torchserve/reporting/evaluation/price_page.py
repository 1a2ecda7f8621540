"""The evaluation page of a price model: ``index.html``, which needs no other file, and ``evaluation.json``."""

from collections.abc import Container, Mapping
from html import escape
from pathlib import Path
from typing import Any

from nautilus_torchserve.reporting.evaluation.page import verdict, write_page
from nautilus_torchserve.reporting.evaluation.price_figures import figures
from nautilus_torchserve.reporting.evaluation.price_tables import (
    DASH,
    GAINS,
    bps,
    columns_table,
    fold_scores_table,
    folds_table,
    gains_table,
    history_table,
    nats,
    nats_gain,
    scale_table,
    scores_table,
    sign_table,
    steps_table,
)
from nautilus_torchserve.reporting.explanation.figure import Figures, explanation_picture
from nautilus_torchserve.reporting.fragments import (
    card,
    chart,
    details,
    label_table,
    moment,
    note_list,
    number,
    share,
    span,
    words,
)
from nautilus_torchserve.reporting.frame import filled, framed

_DOT = " \N{MIDDLE DOT} "
_SIMULATED = (
    '<p class="banner loud" role="note"><strong>SIMULATED MARKET.</strong> These bars were generated, not recorded '
    "from an exchange. The results demonstrate the pipeline, not the model's skill on a real market.</p>"
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
    return write_page(evaluation, render(evaluation), folder)


def render(evaluation: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    drawn = figures(evaluation)
    explained, pictures = _explained(evaluation.get("explained"))
    folds, confidence = evaluation["folds"], evaluation["bootstrap"]["confidence"]
    body = filled(
        "evaluation_page.html",
        title=escape(evaluation["title"]),
        lead=escape(_lead(evaluation)),
        verdict=verdict(evaluation, ", in a simulated market" if evaluation["data"]["simulated"] else ""),
        banner=_SIMULATED if evaluation["data"]["simulated"] else "",
        key_figures=_key_figures(evaluation),
        scores='<div class="columns">'
        f"<div>{scores_table(evaluation['scores'], confidence)}</div>"
        f"<div>{gains_table(evaluation['gains'], evaluation['log_likelihood'], evaluation['bootstrap'])}</div></div>",
        direction=_direction(confidence, "direction" in drawn),
        gains=_gains("gains" in drawn),
        folds=folds_table(folds, confidence) + details("Scores of every forecast by fold", fold_scores_table(folds))
        if folds
        else words("There were no folds."),
        sign=_sign(evaluation["calibration"], "sign" in drawn),
        scale=_scale(evaluation["calibration"], "scale" in drawn),
        importance=_importance(evaluation, drawn),
        explained=explained,
        history=_history(evaluation, drawn),
        data=_data(evaluation["data"]),
        inputs=_inputs(evaluation),
    )
    return framed(evaluation["title"], body, {**drawn, **pictures})


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


def _key_figures(evaluation: Mapping[str, Any]) -> str:
    model, likelihood = evaluation["scores"]["model"], evaluation["log_likelihood"]
    folds, data, calibration = evaluation["folds"], evaluation["data"], evaluation["calibration"]
    cards = [
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
    return "\n".join(cards)


def _gain_asides(evaluation: Mapping[str, Any], key: str) -> tuple[str, str]:
    gain = evaluation["gains"][key]
    _, value, write, unit = GAINS[key]
    return f"{write(gain[value])}{unit} vs. {gain['best_baseline'] or DASH}", f"({span(gain['interval'], write, unit)})"


def _direction(confidence: float, drawn: bool) -> str:
    if not drawn:
        return words("No direction was forecast.")
    caption = (
        f"Share of the test windows whose return had the sign that was forecast, the model's with its {confidence:.0%} "
        "interval. Where it includes the dotted line, the model may be no better than a coin."
    )
    return chart("direction", caption)


def _gains(drawn: bool) -> str:
    if not drawn:
        return words("There is no fold in which both the model and a baseline have a score.")
    return chart(
        "gains", "Reduction of the model's error against each fold's best baseline; a negative value is an increase."
    )


def _sign(calibration: Mapping[str, Any], drawn: bool) -> str:
    if not drawn:
        return words("No sign was forecast, so its probability cannot be checked.")
    caption = f"Expected calibration error {number(calibration['ece'], 4)}. The dotted line marks perfect calibration."
    return chart("sign", caption, "tall") + details("Show as table", sign_table(calibration["sign"]))


def _scale(calibration: Mapping[str, Any], drawn: bool) -> str:
    if not drawn:
        return words("No interval was compared with the returns.")
    caption = (
        "Share of the returns inside the forecasts' central intervals. Above the dotted line the forecast scale is too "
        "wide, below it too narrow."
    )
    return chart("scale", caption, "tall") + details("Show as table", scale_table(calibration["scale"]))


def _importance(evaluation: Mapping[str, Any], drawn: Container[str]) -> str:
    parts = (
        ("columns", "By column: increase in loss when the column is permuted across windows.", columns_table),
        ("steps", "By time: increase in loss when these bars of the window are permuted.", steps_table),
    )
    rows = {"columns": evaluation["importance"], "steps": evaluation["importance_steps"]}
    shown = "".join(
        f"<div>{chart(name, caption)}{details('Show as table', write(rows[name]))}</div>"
        for name, caption, write in parts
        if name in drawn
    )
    if not shown:
        return words("No permutation importance was computed.")
    caption = "Permutation importance on the last fold's test windows."
    return f'<p class="caption">{escape(caption)}</p><div class="columns">{shown}</div>'


def _explained(explained: Mapping[str, Any] | None) -> tuple[str, Figures]:
    """Return one explained forecast; evaluations written by earlier versions have none."""
    if explained is None:
        return words("No forecast was explained."), {}
    picture, figures = explanation_picture(explained["explanation"], "explanation")
    return (
        f'<p class="caption">The most confident forecast among the last fold\'s test windows, made on '
        f"{moment(explained['ts_event'])}.</p>{picture}",
        figures,
    )


def _history(evaluation: Mapping[str, Any], drawn: Container[str]) -> str:
    epochs = {fold["number"]: f"epoch {fold['best_epoch']} of {fold['epochs']}" for fold in evaluation["folds"]}
    charts = "".join(
        f"<div>{chart(name, f'Fold {fold}: {epochs.get(fold, DASH)} was kept.', 'small')}</div>"
        for fold in (history["fold"] for history in evaluation["history"])
        if (name := f"history-{fold}") in drawn
    )
    if not charts:
        return words("No epoch was recorded.")
    table = details("Show as table", history_table(evaluation["history"]))
    return f'<div class="columns">{charts}</div>{table}'


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
    tables = label_table("Bars", rows) + label_table("Extent", extent)
    findings = data["findings"]
    checks = (
        note_list(findings, "Findings of the data checks")
        if findings
        else words("The data checks reported no findings.")
    )
    return f'<div class="columns">{tables}</div>{checks}'


def _inputs(evaluation: Mapping[str, Any]) -> str:
    model = {"Network": evaluation["network"], **evaluation["model_facts"]}
    settings = label_table("Settings", evaluation["settings"]) if evaluation["settings"] else ""
    return f'<div class="columns">{label_table("Model", model)}{settings}</div>'
