"""The evaluation and the description of a trained sentiment model."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from model_defs.sentiment_transformer import SentimentTransformer
from nautilus_torchserve.features.text import TEXT_SCHEMA, script_of
from nautilus_torchserve.inference.text_model import TOKENIZER
from nautilus_torchserve.models.table import SENTIMENT
from nautilus_torchserve.scores.classification import label_scores
from nautilus_torchserve.training.fit.loop import History
from nautilus_torchserve.training.runs.result import describe_run
from nautilus_torchserve.training.runs.tracking import flatten
from nautilus_torchserve.training.sentiment.backbone import Backbone
from nautilus_torchserve.training.sentiment.batches import TokenizedPart
from nautilus_torchserve.training.sentiment.data import SentimentData
from nautilus_torchserve.training.sentiment.evaluate import (
    MODEL,
    class_facts,
    evaluate,
    lexicon_predictions,
    misclassified_sentences,
    reliability,
)
from nautilus_torchserve.training.sentiment.fit import log_loss
from nautilus_torchserve.training.sentiment.news_corpus import CLASSES, Sentence
from nautilus_torchserve.training.sentiment.options import SentimentTraining

WORD_LIST, HEAD_ALONE = "word list", "head on the frozen encoder"
_LEAST_SCRIPT_SHARE = 0.01
"""Smallest share of the training part's texts with letters: a script that has less was not learned."""


@dataclass(frozen=True, eq=False)
class ScoredSentences:
    """Sentences with the predictions of the finished model and of simpler ones."""

    sentences: tuple[Sentence, ...]
    part: TokenizedPart
    """The sentences as tokens."""
    logits: NDArray[np.float64]
    """The model's logits [n, 3], before its temperature."""
    head_alone: NDArray[np.int64]
    """Classes predicted by the head on the encoder as it was [n]."""

    def probabilities(self, temperature: float) -> NDArray[np.float64]:
        """Return the model's probabilities [n, 3] at a temperature."""
        return np.asarray(softmax(self.logits / temperature, axis=1), np.float64)

    def predictions(self) -> dict[str, NDArray[np.int64]]:
        """Return the classes that each predicts, the model first."""
        return {
            MODEL: self.logits.argmax(axis=1),
            HEAD_ALONE: self.head_alone,
            WORD_LIST: lexicon_predictions([sentence.text for sentence in self.sentences]),
        }


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A user's labelled file that the finished model is scored on."""

    source: str
    scored: ScoredSentences
    left_out: int
    """Sentences of the benchmark that the model was fitted on or stopped by."""


def record(
    data: SentimentData,
    backbone: Backbone,
    training: SentimentTraining,
    network: SentimentTransformer,
    history: History,
    held_out: ScoredSentences,
    benchmarks: Sequence[Benchmark],
) -> dict[str, Any]:
    """Return ``evaluation.json``: what `reporting.evaluation.sentiment_page` shows, in plain JSON types."""
    labels, temperature = held_out.part.labels, network.temperature.item()
    probabilities = held_out.probabilities(temperature)
    return {
        "title": f"Sentiment on {backbone.name}",
        "classes": list(CLASSES),
        **evaluate(held_out.sentences, labels, held_out.predictions(), training.fit.seed),
        "calibration": {
            "temperature": temperature,
            "before": _calibration(held_out, 1.0),
            "after": _calibration(held_out, temperature),
        },
        "wrong": misclassified_sentences(held_out.sentences, labels, probabilities),
        "benchmarks": [_benchmark(benchmark, temperature) for benchmark in benchmarks],
        "history": {
            "train_loss": history.train_loss,
            "validation_loss": history.validation_loss,
            "best_epoch": history.best_epoch,
        },
        "data": {
            "sources": list(data.sources),
            "sha256": data.sha256,
            "parts": [
                {"part": name, "sentences": len(part), "classes": _class_counts(part), "topics": _topics(part)}
                for name, part in _parts(data).items()
            ],
            "repeated": data.repeated,
            "relabelled": data.relabelled,
        },
        "settings": {name: str(value) for name, value in flatten(training.to_dict()).items()},
        "model_facts": {
            "Encoder": backbone.name,
            "Weights SHA-256": backbone.sha256,
            "Parameters": f"{sum(weight.numel() for weight in network.parameters()):,}",
            "Maximum tokens": f"{backbone.max_tokens}",
            "Temperature": f"{temperature:.3f}",
        },
    }


def describe(
    data: SentimentData,
    backbone: Backbone,
    training: SentimentTraining,
    network: SentimentTransformer,
    evaluation: Mapping[str, Any],
) -> dict[str, Any]:
    """Return ``model.json``, the description of the served model."""
    after = evaluation["calibration"]["after"]
    held_out = {**evaluation["scores"][MODEL], "ece": after["ece"], "log_loss": after["log_loss"]}
    return describe_run(
        SENTIMENT.name,
        training.fit.seed,
        network={
            "module": SentimentTransformer.__module__,
            "config": {
                "backbone": backbone.config,
                "max_tokens": backbone.max_tokens,
                "dropout": training.fit.dropout,
            },
        },
        feature_schema=TEXT_SCHEMA.to_dict(),
        files=[TOKENIZER],
        scripts=scripts(sentence.text for sentence in data.train),
        unknown_token=backbone.unknown_token,
        temperature=network.temperature.item(),
        label={"classes": list(CLASSES)},
        training={
            "source": ", ".join(data.sources),
            "sha256": data.sha256,
            "sentences": sum(map(len, _parts(data).values())),
            **{f"{name.replace('-', '_')}_sentences": len(part) for name, part in _parts(data).items()},
            "backbone": backbone.name,
            "backbone_sha256": backbone.sha256,
        },
        metrics={
            "held_out": held_out,
            **{name: evaluation[name] for name in ("per_class", "gains", "beats_baselines", "edge", "benchmarks")},
        },
    )


def scripts(texts: Iterable[str]) -> list[str]:
    """Return the scripts that enough of the texts use to be learned, sorted."""
    counts = Counter(script for text in texts if (script := script_of(text)) is not None)
    least = _LEAST_SCRIPT_SHARE * counts.total()
    return sorted(script for script, count in counts.items() if count >= least)


def _benchmark(benchmark: Benchmark, temperature: float) -> dict[str, Any]:
    scored = benchmark.scored
    labels, predictions = scored.part.labels, scored.predictions()
    return {
        "source": benchmark.source,
        "sentences": len(scored.sentences),
        "left_out": benchmark.left_out,
        "cut": scored.part.cut,
        "scores": {name: label_scores(labels, classes, len(CLASSES)) for name, classes in predictions.items()},
        **class_facts(labels, predictions[MODEL]),
        "ece": reliability(scored.probabilities(temperature), labels)["ece"],
    }


def _calibration(scored: ScoredSentences, temperature: float) -> dict[str, Any]:
    calibration = reliability(scored.probabilities(temperature), scored.part.labels)
    return {**calibration, "log_loss": log_loss(scored.logits, scored.part.labels, temperature)}


def _parts(data: SentimentData) -> dict[str, tuple[Sentence, ...]]:
    return {"train": data.train, "validation": data.validation, "held-out": data.held_out}


def _class_counts(sentences: Sequence[Sentence]) -> dict[str, int]:
    counts = Counter(sentence.label for sentence in sentences)
    return {name: counts[name] for name in CLASSES}


def _topics(sentences: Sequence[Sentence]) -> int:
    return len({sentence.topic for sentence in sentences if sentence.topic})
