"""From labelled sentences to a sentiment model's run folder."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from model_defs.sentiment_transformer import SentimentTransformer
from nautilus_torchserve.code_version import git_commit
from nautilus_torchserve.inference.explain.integrate import TimeLimit
from nautilus_torchserve.inference.explain.texts import explain_text
from nautilus_torchserve.inference.text_model import COLUMNS, TOKENIZER, TextModel
from nautilus_torchserve.training.fit.checkpoints import Checkpoints, History
from nautilus_torchserve.training.fit.threads import threads
from nautilus_torchserve.training.runs.folder import (
    CHECKPOINTS,
    TRACKING,
    hash_inputs,
    interrupted_run,
    refuse_other_than_run,
    replace_run,
    working_folder,
    write_json,
    write_run,
)
from nautilus_torchserve.training.runs.tracking import TrackedRun, track
from nautilus_torchserve.training.sentiment.backbone import Backbone, build_network
from nautilus_torchserve.training.sentiment.batches import Tokenised, tokenise
from nautilus_torchserve.training.sentiment.data import SentimentData
from nautilus_torchserve.training.sentiment.fit import fit_sentiment, logits
from nautilus_torchserve.training.sentiment.head import fit_head, mean_states
from nautilus_torchserve.training.sentiment.news_corpus import BadCorpus, Sentence, load_labelled
from nautilus_torchserve.training.sentiment.options import SentimentTraining
from nautilus_torchserve.training.sentiment.records import Benchmark, Judged, describe, record
from nautilus_torchserve.wire.errors import BadText

EXPERIMENT = "sentiment"
"""What MLflow groups these runs under."""
TOLERANCE = 1e-4
"""Of golden outputs on another device or library version."""
GOLDEN_TEXTS = 8
"""Short ones; a long one of several chunks comes with them."""
Artifacts = Callable[["SentimentResult"], Iterable[tuple[Path, str]]]
"""Given the finished run, what else is to be kept with it: files or folders, and where."""


@dataclass(frozen=True)
class SentimentResult:
    """What a training run gave."""

    folder: Path
    """The run folder."""
    description: dict[str, Any]
    """``model.json``."""
    evaluation: dict[str, Any]
    """``evaluation.json``, which `reporting.evaluation.sentiment_page` shows."""
    mlflow_run_id: str
    """Where it is tracked."""


@dataclass(frozen=True, eq=False)
class _Begun:
    """A backbone with the head that a fit begins with."""

    network: SentimentTransformer
    tokenizer: Tokenizer
    longest: int
    device: torch.device
    train: Tokenised
    head: LogisticRegression


def train_sentiment(
    data: SentimentData,
    backbone: Backbone,
    out: Path,
    training: SentimentTraining,
    benchmarks: Sequence[Path] = (),
    on_epoch: Callable[[History], None] = lambda history: None,
    artifacts: Artifacts = lambda result: (),
) -> SentimentResult:
    """Fit a sentiment model and put ``out`` there, or leave everything as it was.

    All is written into a hidden folder beside ``out``, which takes its place at the end. After an
    interruption the same call goes on from the last epoch in there; on a CPU, on as many threads, the outcome is
    the same to the bit. The run is tracked in MLflow, an interrupted and resumed one as one run.

    Parameters
    ----------
    data : SentimentData
        See `training.sentiment.data.load_sentiment_data`.
    backbone : Backbone
        See `training.sentiment.backbone.find_backbone`.
    out : Path
        The run folder; an earlier run there is replaced.
    benchmarks : sequence of Path
        Further labelled files that the finished model is scored on, without those sentences it was fitted on.
    on_epoch : callable
        Called with the history after each epoch.
    artifacts : callable
        Makes what is to be tracked besides the run folder's files: a report, an archive.

    Raises
    ------
    BadBackbone, BadCorpus
        Weights that do not fit; a benchmark that cannot be read, or that only has sentences of the training.
    BadRunFolder
        ``out`` holds something that is not a run.
    TrackingFailed
        The MLflow store does not open, or does not take a value.
    """
    out = out.resolve()
    refuse_other_than_run(out)
    asked = {str(path): load_labelled(path) for path in benchmarks}
    unseen = {source: data.unseen(sentences) for source, sentences in asked.items()}
    for source, sentences in unseen.items():
        if not sentences:
            raise BadCorpus(f"{source}: sentences that the model is not fitted on expected, was none")
    inputs = hash_inputs(data.sha256, backbone.sha256, backbone.config, backbone.tokenizer, training.to_dict())
    facts = {
        "data.source": ", ".join(data.sources),
        "data.sha256": data.sha256,
        "backbone": backbone.name,
        "backbone.sha256": backbone.sha256,
        "git_commit": git_commit() or "outside of a checkout",
    }
    working = working_folder(out)
    earlier = interrupted_run(working, inputs)
    with threads(training.threads):
        begun = _begin(data, backbone, training)
        held_out = _judge(begun, data.held_out)
        others = {source: _judge(begun, sentences) for source, sentences in unseen.items()}
        working.mkdir(parents=True, exist_ok=True)
        with track(out.parent, EXPERIMENT, out.name, training.to_dict(), facts, earlier) as tracked:
            write_json(working / TRACKING, {"inputs": inputs, "mlflow_run_id": tracked.run_id})
            history = _fit(begun, data, training, Checkpoints(working / CHECKPOINTS), inputs, tracked, on_epoch)
            scored = [
                Benchmark(source, judge(), len(asked[source]) - len(unseen[source])) for source, judge in others.items()
            ]
            evaluation = record(data, backbone, training, begun.network, history, held_out(), scored)
            description = describe(data, backbone, training, begun.network, evaluation)
            _write(working, begun.network.cpu(), backbone, data, description, evaluation)
            shutil.rmtree(working / CHECKPOINTS)  # several times the model, and of no use to the finished one
            replace_run(working, out)
            result = SentimentResult(out, description, evaluation, tracked.run_id)
            _keep(tracked, result, artifacts)
    return result


def _begin(data: SentimentData, backbone: Backbone, training: SentimentTraining) -> _Begun:
    """Load the encoder, and fit a head on it as it is."""
    torch.manual_seed(training.fit.seed)
    network = build_network(backbone, backbone.max_tokens, training.fit.dropout)
    tokenizer, device = Tokenizer.from_str(backbone.tokenizer), torch.device(training.device)
    train = tokenise(tokenizer, data.train, backbone.max_tokens)
    states = mean_states(network, train, device)
    head = fit_head(states, train.labels, training.fit.head_inverse_penalty, training.fit.class_weights)
    return _Begun(network, tokenizer, backbone.max_tokens, device, train, head)


def _judge(begun: _Begun, sentences: tuple[Sentence, ...]) -> Callable[[], Judged]:
    """Ask the head alone while the encoder is as it was; the call that this returns asks the finished model."""
    part = tokenise(begun.tokenizer, sentences, begun.longest)
    head_alone = begun.head.predict(mean_states(begun.network, part, begun.device)).astype(np.int64)
    return lambda: Judged(sentences, part, logits(begun.network, part, begun.device), head_alone)


def _fit(
    begun: _Begun,
    data: SentimentData,
    training: SentimentTraining,
    checkpoints: Checkpoints,
    inputs: str,
    tracked: TrackedRun,
    on_epoch: Callable[[History], None],
) -> History:
    def both(history: History) -> None:
        _track(tracked, history)
        on_epoch(history)

    validation = tokenise(begun.tokenizer, data.validation, begun.longest)
    history = fit_sentiment(
        begun.network, begun.head, begun.train, validation, training.fit, begun.device, checkpoints, inputs, both
    )
    _track(tracked, history)
    return history


def _track(tracked: TrackedRun, history: History) -> None:
    """Keep every epoch so far, as one whose checkpoint was written may have been killed before it was tracked."""
    for epoch, (train, validation) in enumerate(zip(history.train_loss, history.validation_loss, strict=True), 1):
        tracked.epoch(1, epoch, {"train_loss": train, "validation_loss": validation})


def _write(
    working: Path,
    network: SentimentTransformer,
    backbone: Backbone,
    data: SentimentData,
    description: dict[str, Any],
    evaluation: dict[str, Any],
) -> None:
    """Twice: the golden answers, and an explanation, are those that a worker will give, which reads a run folder."""
    (working / TOKENIZER).write_text(backbone.tokenizer, encoding="utf-8")
    write_run(working, description, evaluation, network, {}, {}, TOLERANCE)
    with threads(1):  # as a worker computes
        model = TextModel(working, torch.device("cpu"))
        texts = _golden_texts(model, data, backbone.max_tokens)
        answers = model.compute(model.read(texts))
        evaluation["explained"] = _explained(model, texts[:-1], answers[:, 0])
    golden = dict(zip(COLUMNS, answers.T, strict=True))
    write_run(working, description, evaluation, network, golden, {"texts": np.array(texts)}, TOLERANCE)


def _explained(model: TextModel, texts: Sequence[str], scores: NDArray[np.float32]) -> dict[str, Any]:
    """Which words made the score of the text that it is strongest of."""
    text = texts[int(np.abs(scores[: len(texts)]).argmax())]
    tokens = model.read([text])
    return explain_text(model, text, tokens.chunks[0], tokens.truncated[0], None, TimeLimit())


def _golden_texts(model: TextModel, data: SentimentData, longest: int) -> list[str]:
    """Held-out sentences that the model accepts, and one text of many of them."""
    accepted = []
    for sentence in data.held_out:
        try:
            model.read([sentence.text])
        except BadText:  # in another script than most, or hardly a word of it known
            continue
        accepted.append(sentence.text)
    if not accepted:
        raise BadCorpus("a held-out sentence that the tokenizer knows the words of expected, was none")
    words = " ".join(accepted).split()
    together = " ".join(words[place % len(words)] for place in range(2 * longest))
    spread = np.unique(np.linspace(0, len(accepted) - 1, GOLDEN_TEXTS).astype(np.int64))
    return [*(accepted[place] for place in spread), together]


def _keep(tracked: TrackedRun, result: SentimentResult, artifacts: Artifacts) -> None:
    held_out = result.description["metrics"]["held_out"]
    numbers = {f"held_out_{name}": held_out[name] for name in ("accuracy", "macro_f1", "ece", "log_loss")}
    gains = {f"{name}_gain": gain["gain"] for name, gain in result.evaluation["gains"].items()}
    tracked.metrics({**numbers, **gains})
    tracked.tags({"edge": result.evaluation["edge"]})
    for path in sorted(entry for entry in result.folder.iterdir() if entry.is_file()):
        tracked.artifact(path, "run")
    for path, folder in artifacts(result):
        tracked.artifact(path, folder)
