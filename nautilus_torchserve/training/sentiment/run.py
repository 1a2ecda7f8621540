"""Trains a sentiment model, from labelled sentences to a run folder."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from model_defs.sentiment_transformer import SentimentTransformer
from nautilus_torchserve.inference.explain.integrate import TimeLimit
from nautilus_torchserve.inference.explain.texts import explain_text
from nautilus_torchserve.inference.text_model import COLUMNS, TOKENIZER, TextNetwork
from nautilus_torchserve.models.table import SENTIMENT
from nautilus_torchserve.training.fit.loop import Checkpoints, History, threads
from nautilus_torchserve.training.runs.result import (
    CHECKPOINTS,
    Artifacts,
    TrainingResult,
    check_replaceable,
    golden_places,
    hash_inputs,
    no_artifacts,
    replace_run,
    track_history,
    track_result,
    track_training,
    working_folder,
    write_run,
)
from nautilus_torchserve.training.runs.tracking import TrackedRun
from nautilus_torchserve.training.sentiment.backbone import Backbone, build_network
from nautilus_torchserve.training.sentiment.batches import TokenizedPart, tokenize
from nautilus_torchserve.training.sentiment.data import SentimentData
from nautilus_torchserve.training.sentiment.fit import fit_head, fit_sentiment, logits, mean_states
from nautilus_torchserve.training.sentiment.label_files import load_labelled, source_of
from nautilus_torchserve.training.sentiment.news_corpus import BadCorpus, Sentence
from nautilus_torchserve.training.sentiment.options import SentimentTraining
from nautilus_torchserve.training.sentiment.records import Benchmark, ScoredSentences, describe, record
from nautilus_torchserve.wire.errors import BadText


@dataclass(frozen=True, eq=False)
class _Initial:
    """A network before its fit: the backbone, with a head fitted on it as it is."""

    network: SentimentTransformer
    tokenizer: Tokenizer
    max_tokens: int
    device: torch.device
    train: TokenizedPart
    head: LogisticRegression


def train_sentiment(
    data: SentimentData,
    backbone: Backbone,
    out: Path,
    training: SentimentTraining,
    benchmarks: Sequence[Path] = (),
    on_epoch: Callable[[History], None] = lambda history: None,
    artifacts: Artifacts = no_artifacts,
    label_map: Mapping[str, str] | None = None,
) -> TrainingResult:
    """Fit a sentiment model and write its run folder, or leave everything as it was.

    Everything is written into a hidden folder beside ``out``, which takes its place at the end. After an interruption
    the same call continues after the last epoch there; on a CPU with as many threads the outcome has the same bits. The
    run is tracked in MLflow, an interrupted and resumed one as one run.

    Parameters
    ----------
    data : SentimentData
        See `training.sentiment.data.load_sentiment_data`.
    backbone : Backbone
        See `training.sentiment.backbone.find_backbone`.
    out : Path
        The run folder; an earlier run there is replaced.
    benchmarks : sequence of Path
        Labelled files that the finished model is also scored on, without the sentences that it was fitted on.
    on_epoch : callable
        Called with the history after each epoch.
    artifacts : callable
        Makes what is tracked besides the files of the run folder: a report, an archive.
    label_map : mapping of str to str, optional
        Classes of the benchmarks' own labels, see `training.sentiment.label_files.load_labelled`.

    Raises
    ------
    BadBackbone, BadCorpus
        Weights do not fit; a benchmark cannot be read, or has only sentences that the model is fitted on.
    BadRunFolder
        ``out`` holds something that is not a run.
    TrackingFailed
        The MLflow store cannot be opened, or rejects a value.
    """
    out = out.resolve()
    check_replaceable(out, SENTIMENT)
    labelled = {source_of(path, label_map): load_labelled(path, label_map) for path in benchmarks}
    unseen = {source: data.unseen(sentences) for source, sentences in labelled.items()}
    for source, sentences in unseen.items():
        if not sentences:
            raise BadCorpus(f"{source}: expected sentences that the model is not fitted on, got none")
    inputs = hash_inputs(data.sha256, backbone.sha256, backbone.config, backbone.tokenizer, training.to_dict())
    facts = {
        "data.source": ", ".join(data.sources),
        "data.sha256": data.sha256,
        "backbone": backbone.name,
        "backbone.sha256": backbone.sha256,
    }
    working = working_folder(out)
    with threads(training.threads):
        initial = _begin(data, backbone, training)
        score_held_out = _score_later(initial, data.held_out)
        score_benchmarks = {source: _score_later(initial, sentences) for source, sentences in unseen.items()}
        with track_training(out, SENTIMENT.name, training.to_dict(), facts, inputs) as tracked:
            history = _fit(initial, data, training, Checkpoints(working / CHECKPOINTS, inputs), tracked, on_epoch)
            scored = [
                Benchmark(source, score(), len(labelled[source]) - len(unseen[source]))
                for source, score in score_benchmarks.items()
            ]
            evaluation = record(data, backbone, training, initial.network, history, score_held_out(), scored)
            description = describe(data, backbone, training, initial.network, evaluation)
            _write(working, initial.network.cpu(), backbone, data, description, evaluation)
            shutil.rmtree(working / CHECKPOINTS)  # several times the model's size, and no use to the finished run
            replace_run(working, out)
            result = TrainingResult(out, description, evaluation, (history,), tracked.run_id)
            track_result(tracked, result, _metrics(result), artifacts)
    return result


def _begin(data: SentimentData, backbone: Backbone, training: SentimentTraining) -> _Initial:
    """Load the encoder, and fit a head on it as it is."""
    torch.manual_seed(training.fit.seed)
    network = build_network(backbone, backbone.max_tokens, training.fit.dropout)
    tokenizer, device = Tokenizer.from_str(backbone.tokenizer), torch.device(training.device)
    train = tokenize(tokenizer, data.train, backbone.max_tokens)
    states = mean_states(network, train, device)
    head = fit_head(states, train.labels, training.fit.head_inverse_penalty, training.fit.class_weights)
    return _Initial(network, tokenizer, backbone.max_tokens, device, train, head)


def _score_later(initial: _Initial, sentences: tuple[Sentence, ...]) -> Callable[[], ScoredSentences]:
    """Predict with the head on the encoder as it is; the returned function adds the logits of the finished model."""
    part = tokenize(initial.tokenizer, sentences, initial.max_tokens)
    head_alone = initial.head.predict(mean_states(initial.network, part, initial.device)).astype(np.int64)
    return lambda: ScoredSentences(sentences, part, logits(initial.network, part, initial.device), head_alone)


def _fit(
    initial: _Initial,
    data: SentimentData,
    training: SentimentTraining,
    checkpoints: Checkpoints,
    tracked: TrackedRun,
    on_epoch: Callable[[History], None],
) -> History:
    def track_and_report(history: History) -> None:
        track_history(tracked, history)
        on_epoch(history)

    validation = tokenize(initial.tokenizer, data.validation, initial.max_tokens)
    history = fit_sentiment(
        initial.network,
        initial.head,
        initial.train,
        validation,
        training.fit,
        initial.device,
        checkpoints,
        track_and_report,
    )
    track_history(tracked, history)
    return history


def _write(
    working: Path,
    network: SentimentTransformer,
    backbone: Backbone,
    data: SentimentData,
    description: dict[str, Any],
    evaluation: dict[str, Any],
) -> None:
    """Write the run twice: golden outputs and an explanation are a worker's, which reads a run folder."""
    (working / TOKENIZER).write_text(backbone.tokenizer, encoding="utf-8")
    tolerance = SENTIMENT.golden.tolerance
    write_run(working, description, evaluation, network, {}, {}, tolerance)
    with threads(1):  # as a worker computes
        model = TextNetwork(working, torch.device("cpu"))
        texts = _golden_texts(model, data, backbone.max_tokens)
        outputs = model.compute(model.read(texts))
        evaluation["explained"] = _explained(model, texts[:-1], outputs[:, 0])
    golden = dict(zip(COLUMNS, outputs.T, strict=True))
    write_run(working, description, evaluation, network, golden, {"texts": np.array(texts)}, tolerance)


def _explained(model: TextNetwork, texts: Sequence[str], scores: NDArray[np.float32]) -> dict[str, Any]:
    """Explain the text with the largest absolute score."""
    text = texts[int(np.abs(scores[: len(texts)]).argmax())]
    tokens = model.read([text])
    return explain_text(model, text, tokens.chunks[0], tokens.truncated[0], None, TimeLimit())


def _golden_texts(model: TextNetwork, data: SentimentData, max_tokens: int) -> list[str]:
    """Return short held-out sentences that the model accepts, and one text of several chunks made of them."""
    accepted = []
    for sentence in data.held_out:
        try:
            model.read([sentence.text])
        except BadText:  # in another script than most, or hardly a word of it known
            continue
        accepted.append(sentence.text)
    if not accepted:
        raise BadCorpus("expected a held-out sentence whose words the tokenizer knows, got none")
    words = " ".join(accepted).split()
    long_text = " ".join(words[place % len(words)] for place in range(2 * max_tokens))
    return [*(accepted[place] for place in golden_places(len(accepted), SENTIMENT.golden)), long_text]


def _metrics(result: TrainingResult) -> dict[str, float | None]:
    held_out = result.description["metrics"]["held_out"]
    return {
        **{f"held_out_{name}": held_out[name] for name in ("accuracy", "macro_f1", "ece", "log_loss")},
        **{f"{name}_gain": gain["gain"] for name, gain in result.evaluation["gains"].items()},
    }
