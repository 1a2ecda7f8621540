"""Explains the predictions that trades were opened on, by the model that made them."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nautilus_torchserve.reporting.backtest.data import ReportData
from nautilus_torchserve.reporting.backtest.trade_log import PastTrade, TradeLog
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.serving.client.client import Inputs, connect
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.errors import RequestError
from nautilus_torchserve.wire.news_windows import NewsWindow


class OtherArchive(UserError):
    """Another archive responds than the one whose prediction was traded on."""


def explain_trade(
    log: TradeLog, trade: PastTrade, url: str | None = None, token: str | None = None, any_version: bool = False
) -> dict[str, Any]:
    """Explain the prediction that a position was opened on.

    Parameters
    ----------
    url : str, optional
        Inference port or archive; default: that of the backtest.
    token : str, optional
        TorchServe's inference token.
    any_version : bool
        Explain with whichever version responds, rather than the archive that predicted then.

    Returns
    -------
    dict
        Plain JSON types: ``instrument_id``, ``model``, ``version``, ``archive_digest``, ``currency``, ``trade`` (what
        `PastTrade` holds, without its row) and ``explanation``.

    Raises
    ------
    OtherArchive
        Its digest is not the trade's, and not any version will do.
    RequestError, UnreadableArchive
        The model cannot be reached, or does not explain.
    """
    with connect(url or log.url, log.model, None if any_version else log.version, token=token) as client:
        if not any_version:
            _refuse_other(log, client.metadata.archive_digest)  # before it computes in vain
        explained = client.explain(_inputs(log, trade))
    if not any_version:
        _refuse_other(log, explained.digest)
    return {
        "instrument_id": log.instrument_id,
        "model": log.model,
        "version": explained.version,
        "archive_digest": explained.digest,
        "currency": log.currency,
        "trade": {name: value for name, value in vars(trade).items() if name != "row"},
        "explanation": explained.explanations[0],
    }


def with_explanation(settings: RunSettings, data: ReportData) -> ReportData:
    """Return the report with its most profitable trade explained, by the model at the URL of the run."""
    return data if data.log is None else replace(data, explained=explain_best(settings, data.log))


def explain_best(settings: RunSettings, log: TradeLog) -> Mapping[str, Any] | str:
    """Return the explanation of a run's most profitable trade, or a sentence that says why there is none."""
    trade = log.best()
    if trade is None:
        return "No position was closed, so there is no trade to explain."
    try:
        return explain_trade(log, trade, token=os.environ.get(settings.token_env))
    except (RequestError, UnreadableArchive, OtherArchive) as error:
        return f"Trade {trade.number} could not be explained: {type(error).__name__}: {error}"


def _inputs(log: TradeLog, trade: PastTrade) -> Inputs:
    if log.inputs == "windows and texts":
        return [NewsWindow(trade.row, trade.texts, trade.ages_s)]
    return trade.row[np.newaxis]


def _refuse_other(log: TradeLog, digest: str) -> None:
    if digest != log.archive_digest:
        raise OtherArchive(
            f"expected archive {log.archive_digest[:12]}, whose prediction was traded on, got {digest[:12]}"
        )
