"""From two runs, bars and headlines to an ensemble's run folder."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_defs.news_pool import OUTPUTS, NewsPoolConfig, combine
from model_defs.return_network import ReturnNetwork
from nautilus_torchserve.code_version import git_commit
from nautilus_torchserve.features.news_window import NewsWindowConfig
from nautilus_torchserve.inference.model_files import BadArchive, build_network, members, read_description
from nautilus_torchserve.inference.row_model import load_network
from nautilus_torchserve.inference.text_model import TextModel
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.price_sketch import fit_record
from nautilus_torchserve.training.ensemble.dataset import NewsDataset, NewsPart, news_dataset
from nautilus_torchserve.training.ensemble.evaluate import evaluate_pool
from nautilus_torchserve.training.ensemble.fit import fit_pool
from nautilus_torchserve.training.price.records import answers
from nautilus_torchserve.training.runs.folder import (
    MEMBERS,
    refuse_other_than_run,
    replace_run,
    working_folder,
    write_run,
)
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.errors import BadText

TOLERANCE = 1e-4
"""Of golden outputs on another device or library version, relative; absolute below 1."""
GOLDEN_WINDOWS = 8
_TEXTS = 64
"""Texts that are scored together."""


class BadMember(UserError, ValueError):
    """A run folder that cannot be a member of an ensemble; names it."""


@dataclass(frozen=True)
class EnsembleResult:
    """What a fit gave."""

    folder: Path
    """The run folder."""
    description: dict[str, Any]
    """``model.json``."""
    evaluation: dict[str, Any]
    """``evaluation.json``."""


def train_ensemble(
    bars: Bars,
    headlines: Sequence[Headline],
    price_run: Path,
    sentiment_run: Path,
    out: Path,
    news: NewsWindowConfig = NewsWindowConfig(),  # noqa: B008
    seed: int = 1,
) -> EnsembleResult:
    """Fit the pool's weights and put ``out`` there, both members inside.

    Weights come from the first half of the bars that the price model's fit has not seen; the other half judges them.

    Parameters
    ----------
    bars : Bars
        Checked; of the interval that the price model was trained on, and reaching beyond what it was fitted on.
    headlines : sequence of Headline
        By time of receipt.
    price_run, sentiment_run : Path
        Run folders.
    out : Path
        The run folder; an earlier run there is replaced.

    Raises
    ------
    BadMember
        A run folder is missing, incomplete, or of another model.
    BadData
        Too few bars or headlines.
    BadRunFolder
        ``out`` holds something that is not a run.
    """
    out = out.resolve()
    refuse_other_than_run(out)
    price, sentiment = _member(price_run, "price"), _member(sentiment_run, "sentiment")
    network = load_network(price_run, price, torch.device("cpu"))
    assert isinstance(network, ReturnNetwork)
    reader = TextModel(sentiment_run, torch.device("cpu"))
    dataset = news_dataset(bars, headlines, price, news, lambda texts: _scores(reader, texts))
    pool = fit_pool(dataset.fit, answers(network, dataset.fit.rows), bars.interval_ns)
    judged = answers(network, dataset.test.rows)
    window = price["feature_schema"]["window"]
    evaluation = evaluate_pool(dataset.test, judged, pool, window, seed)
    description = _describe(bars, headlines, price, sentiment, dataset, pool, news, evaluation, seed)
    working = working_folder(out)
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    for name, run in zip(MEMBERS, (price_run, sentiment_run), strict=True):
        for path in members(run):
            (working / name / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / path, working / name / path)
    golden, asked = _golden(dataset.test, judged, pool)
    write_run(working, description, evaluation, None, golden, asked, TOLERANCE)
    replace_run(working, out)
    return EnsembleResult(out, description, evaluation)


_NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "price": {
        "bars": ("interval_ns", "max_gap_ns", "indicators"),
        "label": ("horizon_bars",),
        "training": ("last_ts_event",),
        "metrics": ("edge",),
    },
    "sentiment": {"training": ()},
}
"""What a member's description must say."""


def _member(run: Path, model: str) -> dict[str, Any]:
    try:
        members(run)
        description = read_description(run)
    except BadArchive as error:
        raise BadMember(f"{run}: a {model} model's run folder expected: {error}") from None
    if description.get("model") != model:
        raise BadMember(f"{run}: a run of {model!r} expected, was one of {description.get('model')!r}")
    for section, fields in _NEEDED[model].items():
        values = description.get(section)
        if not isinstance(values, dict) or not values.keys() >= set(fields):
            needed = f"{section} with {', '.join(fields)}" if fields else section
            raise BadMember(f"{run}: expected {needed} in its model.json, got {values!r:.60}")
    return description


def _scores(reader: TextModel, texts: Sequence[str]) -> NDArray[np.float64]:
    """Scores of texts, NaN for those that the model refuses."""
    found = np.full(len(texts), np.nan)
    for at in range(0, len(texts), _TEXTS):
        part = texts[at : at + _TEXTS]
        try:
            found[at : at + len(part)] = reader.compute(reader.read(part))[:, 0]
        except BadText:
            for place, text in enumerate(part, at):
                try:
                    found[place] = reader.compute(reader.read([text]))[0, 0]
                except BadText:
                    continue
    return found


def _describe(
    bars: Bars,
    headlines: Sequence[Headline],
    price: dict[str, Any],
    sentiment: dict[str, Any],
    dataset: NewsDataset,
    pool: NewsPoolConfig,
    news: NewsWindowConfig,
    evaluation: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    network = {"module": "model_defs.news_pool", "config": asdict(pool)}
    build_network({"network": network})  # refuses what no worker could load
    read = "".join(f"{each.ts_init} {each.text}\n" for each in headlines)
    return {
        "model": "ensemble",
        "network": network,
        "members": list(MEMBERS),
        **{name: price[name] for name in ("feature_schema", "bars", "label")},
        "news": asdict(news),
        "training": {
            **price["training"],
            "headlines": len(headlines),
            "headlines_sha256": hashlib.sha256(read.encode()).hexdigest(),
            "headlines_refused": dataset.refused,
            "weights_source": bars.source,
            "weights_sha256": bars.sha256,
            "weights_read": asdict(bars.read),
            "weights_notes": list(bars.notes),
            "weights_windows": int((dataset.fit.counts > 0).sum()),
            "last_ts_event": max(dataset.last_ts_event, price["training"]["last_ts_event"]),
            "sentiment": sentiment["training"],
        },
        "fits": [*price.get("fits", [price["training"]]), _pool_record(bars, price, dataset)],
        "metrics": {**price["metrics"], "price_edge": price["metrics"]["edge"], **evaluation},
        "seed": seed,
        "git_commit": git_commit(),
        "torch": torch.__version__,
    }


def _pool_record(bars: Bars, price: dict[str, Any], dataset: NewsDataset) -> dict[str, Any]:
    """What the fit of the weights saw, from the first bar of its first window on."""
    first = int(np.searchsorted(bars.ts_event, dataset.fit.ts_event[0])) - price["feature_schema"]["window"] + 1
    return fit_record(bars, int(bars.ts_event[first]), dataset.last_ts_event)


def _golden(
    part: NewsPart, answered: NDArray[np.float32], pool: NewsPoolConfig
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[Any]]]:
    """A few windows, with and without news, and what the ensemble answers to them."""
    chosen = np.unique(np.linspace(0, len(part) - 1, GOLDEN_WINDOWS).astype(np.int64))
    first = np.cumsum(part.counts) - part.counts
    told = np.concatenate([np.arange(first[at], first[at] + part.counts[at]) for at in chosen])
    counts, ages = part.counts[chosen], part.ages_s[told]
    answer, scores, age, count = map(torch.from_numpy, (answered[chosen], part.scores[told], ages, counts))
    table = combine(answer, scores, age, count, pool).numpy()
    texts = np.array([part.texts[at] for at in told], dtype=np.str_)
    asked = {"rows": part.rows[chosen], "texts": texts, "ages_s": ages, "counts": counts}
    return dict(zip(OUTPUTS, table.T, strict=True)), asked
