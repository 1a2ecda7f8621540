"""A sentiment model's evaluation as a training run makes it: 200 held-out sentences of six topics."""

from itertools import pairwise
from typing import Any

from explanation_sample import sentence

CLASSES = ("negative", "neutral", "positive")


def evaluation() -> dict[str, Any]:
    """A fresh copy; always the same numbers."""
    return {
        "title": "Sentiment on all-MiniLM-L6-v2",
        "classes": list(CLASSES),
        "scores": {
            "model": _score(0.785, 0.7861),
            "head on the frozen encoder": _score(0.645, 0.6412),
            "word list": _score(0.57, 0.5723),
        },
        "gains": {
            "accuracy": {"best_baseline": "head on the frozen encoder", "gain": 0.14, "interval": [0.0612, 0.2187]},
            "macro_f1": {"best_baseline": "head on the frozen encoder", "gain": 0.1449, "interval": [0.0653, 0.2215]},
        },
        "confusion": [[56, 7, 5], [6, 50, 10], [4, 11, 51]],
        "per_class": [
            {"class": "negative", "support": 68, "precision": 0.8485, "recall": 0.8235, "f1": 0.8358},
            {"class": "neutral", "support": 66, "precision": 0.7353, "recall": 0.7576, "f1": 0.7463},
            {"class": "positive", "support": 66, "precision": 0.7727, "recall": 0.7729, "f1": 0.7728},
        ],
        "by_topic": [_group(name, 30 + place, 0.6 + 0.05 * place) for place, name in enumerate("abcdef")],
        "by_style": [_group(name, 60 + place, 0.7 + 0.03 * place) for place, name in enumerate(("social", "wire"))],
        "bootstrap": {"confidence": 0.95, "resamples": 2000, "groups": 18},
        "beats_baselines": True,
        "edge": "The model reads the held-out sentences better than every baseline (accuracy +14.0 points).",
        "calibration": {
            "temperature": 1.374,
            "before": {"ece": 0.0914, "log_loss": 0.6123, "bins": _bins(0.07)},
            "after": {"ece": 0.0325, "log_loss": 0.5527, "bins": _bins(0.02)},
        },
        "explained": sentence(),
        "wrong": [_mistake(place) for place in range(43)],
        "benchmarks": [_benchmark("mine/first.csv", 0.801), _benchmark("mine/second.txt", 0.755)],
        "history": {
            "train_loss": [0.84, 0.61, 0.47, 0.385],
            "validation_loss": [0.661, 0.587, 0.553, 0.571],
            "best_epoch": 3,
        },
        "data": {
            "sources": ["corpus/news", "mine/own.txt"],
            "sha256": "5e" * 32,
            "parts": [
                _part("train", 1_602, 90),
                _part("validation", 189, 11),
                _part("held-out", 201, 18),
            ],
            "repeated": 17,
            "relabelled": 4,
        },
        "settings": {"fit.epochs": "6", "fit.seed": "1", "device": "cpu"},
        "model_facts": {"Encoder": "all-MiniLM-L6-v2", "Parameters": "22,565,251"},
    }


def _score(accuracy: float, macro_f1: float) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "accuracy_interval": [accuracy - 0.061, accuracy + 0.052],
        "macro_f1_interval": [macro_f1 - 0.0633, macro_f1 + 0.0544],
    }


def _group(name: str, sentences: int, right: float) -> dict[str, Any]:
    shares = {"model": right, "head on the frozen encoder": right - 0.121, "word list": right - 0.183}
    return {"name": name, "sentences": sentences, "accuracy": shares}


def _bins(off: float) -> list[dict[str, Any]]:
    edges = [(1 + 2 * at / 10) / 3 for at in range(11)]
    return [
        {"above": low, "to": high, "count": 8 + 3 * at, "confidence": (low + high) / 2, "right": (low + high) / 2 - off}
        for at, (low, high) in enumerate(pairwise(edges))
    ]


def _mistake(place: int) -> dict[str, Any]:
    label, predicted, third = (CLASSES[(place + at) % 3] for at in range(3))
    sure = 0.97 - 0.012 * place
    return {
        "text": f"Sentence number {place} of the held-out part",
        "topic": "analysts/price_targets" if place % 2 else "",
        "style": "wire",
        "label": label,
        "predicted": predicted,
        "probabilities": {predicted: sure, label: 0.7 * (1 - sure), third: 0.3 * (1 - sure)},
    }


def _benchmark(source: str, accuracy: float) -> dict[str, Any]:
    return {
        "source": source,
        "sentences": 340,
        "left_out": 12,
        "cut": 3,
        "scores": {
            "model": {"accuracy": accuracy, "macro_f1": accuracy - 0.013},
            "head on the frozen encoder": {"accuracy": accuracy - 0.1, "macro_f1": accuracy - 0.121},
            "word list": {"accuracy": accuracy - 0.2, "macro_f1": accuracy - 0.219},
        },
        "confusion": [[90, 10, 4], [15, 95, 9], [5, 12, 100]],
        "per_class": [
            {"class": name, "support": 104 + 7 * at, "precision": 0.811, "recall": 0.865, "f1": 0.84 - 0.01 * at}
            for at, name in enumerate(CLASSES)
        ],
        "ece": 0.0411,
    }


def _part(name: str, sentences: int, topics: int) -> dict[str, Any]:
    each = sentences // 3
    return {
        "part": name,
        "sentences": sentences,
        "classes": {"negative": each, "neutral": each - 5, "positive": sentences - 2 * each + 5},
        "topics": topics,
    }
