"""Evaluation of a sentiment model against baselines, on sentences that nothing was fitted on.

The list was put together for this project. The best known one, Loughran and McDonald's (2011), is free for
research only and is not in here. Three rules make it fairer than counting: a negation turns the words that follow it,
a movement of a burden (costs, debt, losses) counts the other way round, and words are recognised in their inflections.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.scores.classification import (
    accuracy,
    calibration,
    class_scores,
    confusion_matrix,
    label_scores,
    macro_f1,
)
from nautilus_torchserve.training.fit.bootstrap import CONFIDENCE, RESAMPLES, interval, is_gain, is_loss
from nautilus_torchserve.training.sentiment.news_corpus import CLASSES, Sentence

MODEL = "model"
"""Name of the model among the predictions; all others are baselines."""
BINS = 10
"""Number of equally wide bins of confidence, from a third to 1: the likeliest of three classes has no less."""
_EDGES = np.linspace(1 / len(CLASSES), 1.0, BINS + 1)
_SCORES = ("accuracy", "macro_f1")
_DECIMALS = 3
"""Decimals of gains in sentences: 0.1 points."""


def evaluate(
    sentences: Sequence[Sentence], labels: NDArray[np.int64], predictions: Mapping[str, NDArray[np.int64]], seed: int
) -> dict[str, Any]:
    """Score the model and the baselines on the same sentences.

    Sentences of one subtopic resemble each other, so that intervals come from resampling whole subtopics
    (the cluster bootstrap of Davison & Hinkley 1997, 3.8); a sentence without topic is one of its own.

    Parameters
    ----------
    labels : int64 [n]
        Places in `CLASSES`.
    predictions : mapping
        `MODEL` and each baseline -> its predicted classes, int64 [n].
    seed : int
        Of the resampling.

    Returns
    -------
    dict
        Plain JSON types: ``scores``, ``gains``, ``per_class``, ``confusion``, ``by_topic``, ``by_style``,
        ``bootstrap``, ``beats_baselines`` (accuracy and macro-F1 above every baseline's, beyond chance), ``edge``
        (that as a sentence).
    """
    clusters = _clusters(sentences)
    drawn = _resamples(int(clusters.max()) + 1, seed)
    resampled = {name: _resampled(clusters, labels, predicted, drawn) for name, predicted in predictions.items()}
    scored = {
        name: {
            **label_scores(labels, predicted, len(CLASSES)),
            **{f"{score}_interval": interval(resampled[name][score]) for score in _SCORES},
        }
        for name, predicted in predictions.items()
    }
    gains = {score: _gain(score, scored, resampled) for score in _SCORES}
    beats = beats_baselines(gains)
    return {
        "scores": scored,
        "gains": gains,
        **class_facts(labels, predictions[MODEL]),
        "by_topic": _by([sentence.topic.partition("/")[0] for sentence in sentences], labels, predictions),
        "by_style": _by([sentence.style for sentence in sentences], labels, predictions),
        "bootstrap": {"confidence": CONFIDENCE, "resamples": RESAMPLES, "groups": int(clusters.max()) + 1},
        "beats_baselines": beats,
        "edge": _edge_sentence(gains, beats),
    }


def beats_baselines(gains: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether every score beats every baseline beyond chance, at the printed precision."""
    return all(is_gain(gain["interval"], _DECIMALS) for gain in gains.values())


def class_facts(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> dict[str, Any]:
    """Return ``confusion`` (rows: labels, columns: predictions) and ``per_class`` scores; None where undefined."""
    table = confusion_matrix(labels, predicted, len(CLASSES))
    return {"confusion": table.tolist(), "per_class": class_scores(table).rows(CLASSES)}


def reliability(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Return the reliability of the predicted class' probability.

    Returns
    -------
    dict
        ``ece``, the expected calibration error (Guo et al. 2017, eq. 3), and ``bins``: rows of ``above``, ``to``,
        ``count``, ``confidence`` and ``right``, those that hold something.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = calibration(confidence, right, _EDGES)
    return {"ece": bins.ece, "bins": bins.rows()}


def misclassified_sentences(
    sentences: Sequence[Sentence], labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Return the misclassified sentences, the most confident mistakes first."""
    predicted = probabilities.argmax(axis=1)
    places = np.flatnonzero(predicted != labels)
    order = places[np.argsort(-probabilities.max(axis=1)[places], kind="stable")]
    return [
        {
            "text": sentences[at].text,
            "topic": sentences[at].topic,
            "style": sentences[at].style,
            "label": CLASSES[labels[at]],
            "predicted": CLASSES[predicted[at]],
            "probabilities": dict(zip(CLASSES, probabilities[at].tolist(), strict=True)),
        }
        for at in order
    ]


def _clusters(sentences: Sequence[Sentence]) -> NDArray[np.int64]:
    """Return the cluster of each sentence, int64 [n], from 0."""
    places: dict[str, int] = {}
    names = [sentence.topic or f"sentence {number}" for number, sentence in enumerate(sentences)]
    return np.array([places.setdefault(name, len(places)) for name in names], np.int64)


def _resamples(clusters: int, seed: int) -> NDArray[np.int64]:
    """Return how often each cluster is drawn, int64 [resamples, clusters]."""
    return np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), size=RESAMPLES)


def _resampled(
    clusters: NDArray[np.int64], labels: NDArray[np.int64], predicted: NDArray[np.int64], drawn: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Return each score on each resample [resamples]."""
    size = len(CLASSES)
    cells = np.bincount((clusters * size + labels) * size + predicted, minlength=drawn.shape[1] * size**2)
    tables = np.tensordot(drawn, cells.reshape(-1, size, size), axes=1)
    return {"accuracy": accuracy(tables), "macro_f1": macro_f1(tables)}


def _gain(
    score: str, scored: Mapping[str, Mapping[str, Any]], resampled: Mapping[str, Mapping[str, NDArray[np.float64]]]
) -> dict[str, Any]:
    """Return how much the model's score exceeds the best baseline's, both on the same resamples."""
    best = max((name for name in scored if name != MODEL), key=lambda name: scored[name][score])
    return {
        "best_baseline": best,
        "gain": scored[MODEL][score] - scored[best][score],
        "interval": interval(resampled[MODEL][score] - resampled[best][score]),
    }


def _by(
    names: Sequence[str], labels: NDArray[np.int64], predictions: Mapping[str, NDArray[np.int64]]
) -> list[dict[str, Any]]:
    """Return the accuracy in each group, the model's weakest first."""
    rows = []
    for name in sorted(set(names)):
        chosen = np.array(names) == name
        rows.append(
            {
                "name": name or "without",
                "sentences": int(chosen.sum()),
                "accuracy": {
                    source: float((predicted == labels)[chosen].mean()) for source, predicted in predictions.items()
                },
            }
        )
    return sorted(rows, key=lambda row: row["accuracy"][MODEL])


def _edge_sentence(gains: Mapping[str, Mapping[str, Any]], beats: bool) -> str:
    numbers = "; ".join(
        f"{name} {100 * gain['gain']:+.1f} points on {gain['best_baseline']}, {CONFIDENCE:.0%} interval "
        f"{100 * gain['interval'][0]:+.1f} to {100 * gain['interval'][1]:+.1f}"
        for name, gain in (("accuracy", gains["accuracy"]), ("macro-F1", gains["macro_f1"]))
    )
    if beats:
        return f"The model reads the held-out sentences better than every baseline ({numbers})."
    if all(is_loss(gain["interval"], _DECIMALS) for gain in gains.values()):
        return f"The model reads the held-out sentences worse than a simple baseline ({numbers})."
    return f"The model is not shown to read the held-out sentences better than every baseline ({numbers})."


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GOOD = _words(
    """
    able accelerate acclaim accretive achieve advance advantage approval approve attractive award beat benefit best
    better boom boost breakthrough brisk bullish buoyant buyback cheer clear clinch comfortable confident cure
    delight dividend ease effective efficient encourage enthusiastic exceed excellent exclusive expand favorable
    favourable gain generous glad good great green grow growth happy healthy high hire improve improvement
    innovative jump leap lift long love lucrative milestone moon optimism optimistic outperform outstrip overtake
    pleased popular positive premium profit profitable progress promising prosper raise rally rebound record recover
    recovery relief renew resilient resolve reward robust save secure settle solid stable strength strengthen strong
    succeed success successful superior surge surpass tailwind thrive top triumph turnaround upbeat upgrade upside
    upturn victory vindicate welcome win winner
    """
)
BAD = _words(
    """
    abandon accident accuse adverse afraid allege antitrust arrest attack bad bankrupt bankruptcy bearish blame
    bleak block boycott breach bribe burden catastrophe caution cease close closure collapse complaint concern
    contaminate crash crime crisis criticise curb damage danger dead default deficit delay delist deny deteriorate
    deterioration difficult dilute dilution disappoint disappointment discount dismal dispute disruption distress
    doubt downbeat downgrade downside downturn drag dump embezzle erode error evacuate exploit fail failure fault
    fear fine fire flaw fraud freeze furlough glut guilty hack halt harm hawkish headwind hurt idle illegal impair
    impairment inadequate insolvency insolvent investigate investigation jeopardise lag lawsuit layoff liquidate
    liquidation lose loss mislead miss misstate outage overhang oversupply panic penalty pessimistic plague poor
    probe problem protest punish quit recall recession red reject resign restate risk sanction scandal scrap sell
    sell-off selloff setback severe shortage shortfall shutdown slack slowdown sluggish soft stagnate steal stolen
    stoppage strike struggle sue suffer suspend suspension terminate theft threat threaten tough trouble uncertain
    underperform unpaid unprofitable violate violation warn warning weak weaken weakness worry worse worst
    write-down writedown writeoff wrong
    """
)
UP = _words(
    """
    add ascend climb double higher increase more rise risen rocket rose skyrocket soar spike triple up widen
    """
)
DOWN = _words(
    """
    contract cut decline decrease dip dive down drop erase fall fallen fell halve less low lower narrow plummet
    plunge reduce retreat sank shed shrank shrink shrunk sink slid slide slip slow slump sunk tank tumble
    """
)
BURDENS = _words(
    """
    backlog bankruptcy churn claim complaint cost debt default deficit delinquency emission expense fee impairment
    inflation interest jobless leverage loss outage provision rent shortage spread tariff tax unemployment yield
    """
)
NEGATIONS = _words("not no never without neither nor hardly cannot unlikely fail lack avoid nothing none")
_WORD = re.compile(r"[a-z]+(?:['\N{RIGHT SINGLE QUOTATION MARK}-][a-z]+)*")
_ENDINGS = ("", "s", "es", "d", "ed", "ing", "ly", "er", "ers", "ment", "n")
_NEGATED = 4
"""Words that a negation reaches."""
_NEAR = 5
"""Words between a movement and the burden that moves."""
_LEAST_STEM = 3


def lexicon_predictions(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the class that the words of each text add up to, as its place in `CLASSES` [n]."""
    return np.array([int(np.sign(lexicon_score(text))) + CLASSES.index("neutral") for text in texts], np.int64)


def lexicon_score(text: str) -> int:
    """Return the number of good words less bad ones, with negations and burdens turned round."""
    words = [_stems(word) for word in _WORD.findall(text.lower())]
    return sum(_polarity(words, place) for place in range(len(words)))


def _polarity(words: Sequence[frozenset[str]], place: int) -> int:
    """Return what one word adds to the score: -1, 0 or 1."""
    word = words[place]
    moved = bool(word & UP) - bool(word & DOWN)
    if moved:
        near = words[max(place - _NEAR, 0) : place + _NEAR + 1]
        value = -moved if any(stems & BURDENS for stems in near) else moved
    elif word & BURDENS:
        value = 0 if _moves(words, place) else -int(bool(word & BAD))
    else:
        value = bool(word & GOOD) - bool(word & BAD)
    before = words[max(place - _NEGATED, 0) : place]
    return -value if any(stems & NEGATIONS for stems in before) else value


def _moves(words: Sequence[frozenset[str]], place: int) -> bool:
    """Return whether a burden's movement is given beside it, and outweighs the burden itself."""
    return any(stems & (UP | DOWN) for stems in words[max(place - _NEAR, 0) : place + _NEAR + 1])


def _stems(word: str) -> frozenset[str]:
    """Return the stems a word may be inflected from, and itself: ``slipped`` of ``slip``, ``rising`` of ``rise``."""
    if word.endswith(("n't", "n\N{RIGHT SINGLE QUOTATION MARK}t")):
        return frozenset(("not",))
    stems = {word}
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if (ending and stem == word) or len(stem) < _LEAST_STEM:
            continue
        stems |= {stem, stem + "e"}
        if stem[-1] == stem[-2]:
            stems.add(stem[:-1])
        if stem[-1] == "i":
            stems.add(stem[:-1] + "y")
    return frozenset(stems)
