import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from news_run import write_backbone
from sentiment_sample import QUICK, lines, write_sentences

from nautilus_torchserve.features.text import TEXT_SCHEMA
from nautilus_torchserve.inference.model_files import read_description, read_golden, read_schema
from nautilus_torchserve.inference.text_model import COLUMNS, TextNetwork
from nautilus_torchserve.training.fit.loop import History, threads
from nautilus_torchserve.training.runs.result import BadRunFolder, TrainingResult, write_run
from nautilus_torchserve.training.sentiment.backbone import Backbone, find_backbone
from nautilus_torchserve.training.sentiment.data import SentimentData, load_sentiment_data
from nautilus_torchserve.training.sentiment.news_corpus import BadCorpus
from nautilus_torchserve.training.sentiment.options import SentimentTraining, sentiment_training
from nautilus_torchserve.training.sentiment.run import train_sentiment

FILES = ("model.json", "weights.safetensors", "golden.npz", "evaluation.json", "tokenizer.json")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of run folders: they share one MLflow store, which takes seconds to make."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return find_backbone(write_backbone(tmp_path_factory.mktemp("backbone") / "tiny-bert"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentences(tmp_path_factory.mktemp("sentences") / "own.txt", count=150)


@pytest.fixture(scope="module")
def data(own: Path) -> SentimentData:
    return load_sentiment_data([own], None, 0.2)


@pytest.fixture(scope="module")
def training() -> SentimentTraining:
    return sentiment_training(QUICK, device="cpu", threads=1)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, own: Path) -> Path:
    """A benchmark, ten of its sentences from the training's file."""
    path = tmp_path_factory.mktemp("benchmark") / "other.txt"
    known = own.read_text().splitlines()[:10]
    path.write_text("\n".join([*lines(40, seed=2), *known, "the company " * 300 + "@neutral"]))
    return path


@pytest.fixture(scope="module")
def result(
    data: SentimentData, backbone: Backbone, runs: Path, training: SentimentTraining, other: Path
) -> TrainingResult:
    return train_sentiment(data, backbone, runs / "sentiment", training, [other])


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_a_run_holds_its_files_and_nothing_else_is_left(result: TrainingResult) -> None:
    assert {entry.name for entry in result.folder.iterdir()} == {*FILES, "tracking.json"}
    assert not [entry for entry in result.folder.parent.iterdir() if entry.name.startswith(".")]


def test_the_description_records_model_data_and_settings(
    result: TrainingResult, data: SentimentData, backbone: Backbone
) -> None:
    description = read_description(result.folder)

    assert description == json.loads(json.dumps(result.description))
    assert description["model"] == "sentiment"
    assert description["network"]["module"] == "model_defs.sentiment_transformer"
    assert description["network"]["config"] == {"backbone": backbone.config, "max_tokens": 512, "dropout": 0.1}
    assert read_schema(description) == TEXT_SCHEMA
    assert (description["files"], description["scripts"]) == (["tokenizer.json"], ["LATIN"])
    assert description["unknown_token"] == "[UNK]"
    assert description["label"] == {"classes": ["negative", "neutral", "positive"]}
    facts = description["training"]
    assert (facts["sha256"], facts["sentences"]) == (data.sha256, 150)
    assert (facts["backbone"], facts["backbone_sha256"]) == ("tiny-bert", backbone.sha256)
    assert facts["train_sentences"] + facts["validation_sentences"] + facts["held_out_sentences"] == 150
    assert description["metrics"]["edge"] == result.evaluation["edge"]
    assert description["metrics"]["held_out"]["accuracy"] > 0.9


def test_golden_outputs_are_a_workers_long_text_in_chunks_too(result: TrainingResult) -> None:
    golden = read_golden(result.folder)
    texts = golden.inputs["texts"].tolist()

    with threads(1):
        model = TextNetwork(result.folder, CPU)
        outputs = dict(zip(COLUMNS, model.compute(model.read(texts)).T, strict=True))

    golden.verify(outputs)
    assert golden.outputs["chunks"].tolist()[-1] >= 2
    assert set(golden.outputs["chunks"].tolist()[:-1]) == {1.0}
    assert np.ptp(outputs["score"]) > 1


def test_the_evaluation_is_of_the_held_out_part(result: TrainingResult, data: SentimentData) -> None:
    evaluation = json.loads((result.folder / "evaluation.json").read_text())

    assert set(evaluation["scores"]) == {"model", "head on the frozen encoder", "word list"}
    assert np.sum(evaluation["confusion"]) == len(data.held_out)
    assert {row["text"] for row in evaluation["wrong"]} <= {sentence.text for sentence in data.held_out}
    off = len(data.held_out) - np.trace(evaluation["confusion"])
    assert len(evaluation["wrong"]) == off
    assert [part["sentences"] for part in evaluation["data"]["parts"]] == [
        len(data.train),
        len(data.validation),
        len(data.held_out),
    ]
    assert len(evaluation["history"]["validation_loss"]) <= 3


def test_a_benchmark_is_scored_without_what_the_model_was_fitted_on(
    result: TrainingResult, data: SentimentData, other: Path
) -> None:
    (benchmark,) = result.evaluation["benchmarks"]

    held_out = {sentence.text for sentence in data.held_out}
    known = [line.rpartition("@")[0] not in held_out for line in lines(150)[:10]]
    assert benchmark["source"] == str(other)
    assert benchmark["left_out"] == sum(known) > 0
    assert benchmark["sentences"] + benchmark["left_out"] == 51
    assert benchmark["cut"] == 1
    assert benchmark["scores"]["model"]["accuracy"] > 0.8
    assert result.description["metrics"]["benchmarks"] == [benchmark]


def test_the_run_is_tracked_whole(result: TrainingResult, data: SentimentData) -> None:
    client = MlflowClient(f"sqlite:///{result.folder.parent / 'mlflow.db'}")
    run = client.get_run(result.mlflow_run_id)

    assert run.info.status == "FINISHED"
    assert (run.data.params["fit.epochs"], run.data.params["threads"]) == ("3", "1")
    assert (run.data.tags["data.sha256"], run.data.tags["backbone"]) == (data.sha256, "tiny-bert")
    history = client.get_metric_history(result.mlflow_run_id, "fold_1/validation_loss")
    assert [entry.value for entry in history] == result.evaluation["history"]["validation_loss"]
    assert run.data.metrics["held_out_accuracy"] == result.evaluation["scores"]["model"]["accuracy"]
    assert {entry.path for entry in client.list_artifacts(result.mlflow_run_id, "run")} >= {"run/tokenizer.json"}


def test_interrupted_run_resumes_as_one_run_to_the_same_bytes(
    result: TrainingResult,
    data: SentimentData,
    backbone: Backbone,
    runs: Path,
    training: SentimentTraining,
    other: Path,
) -> None:
    def interrupt(history: History) -> None:
        if history.epochs == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_sentiment(data, backbone, runs / "again", training, [other], interrupt)
    assert not (runs / "again").exists()
    again = train_sentiment(data, backbone, runs / "again", training, [other])

    assert contents(again.folder) == contents(result.folder)
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    steps = client.get_metric_history(again.mlflow_run_id, "fold_1/train_loss")
    assert [entry.step for entry in steps] == [1, 2, 3]


def test_held_out_sentences_decide_nothing(
    result: TrainingResult, data: SentimentData, backbone: Backbone, runs: Path, training: SentimentTraining
) -> None:
    """With every held-out label turned round, the same weights come out."""
    turn: Mapping[str, str] = {"positive": "negative", "negative": "positive", "neutral": "neutral"}
    turned = SentimentData(
        data.sources,
        data.train,
        data.validation,
        tuple(
            type(sentence)(sentence.text, turn[sentence.label], sentence.topic, sentence.style)
            for sentence in data.held_out
        ),
        0,
        0,
    )

    other = train_sentiment(turned, backbone, runs / "turned", training)

    assert contents(other.folder)["weights.safetensors"] == contents(result.folder)["weights.safetensors"]
    assert other.evaluation["scores"]["model"] != result.evaluation["scores"]["model"]


def test_a_folder_that_is_no_run_is_left_alone(
    data: SentimentData, backbone: Backbone, training: SentimentTraining, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")

    with pytest.raises(BadRunFolder, match=r"got one with thesis\.tex"):
        train_sentiment(data, backbone, tmp_path, training)

    assert {entry.name for entry in tmp_path.iterdir()} == {"thesis.tex"}


def test_a_benchmark_of_nothing_but_training_sentences_is_refused_before_anything_is_done(
    data: SentimentData, backbone: Backbone, training: SentimentTraining, tmp_path: Path
) -> None:
    known = tmp_path / "known.txt"
    known.write_text("\n".join(f"{sentence.text}@{sentence.label}" for sentence in data.train))

    with pytest.raises(BadCorpus, match=r"known\.txt: expected sentences that the model is not fitted on, got none"):
        train_sentiment(data, backbone, tmp_path / "run", training, [known])

    assert {entry.name for entry in tmp_path.iterdir()} == {"known.txt"}


def test_weights_that_share_their_memory_are_written(tmp_path: Path) -> None:
    network = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    network[1].weight = network[0].weight

    write_run(tmp_path / "run", {}, {}, network, {}, {}, 1e-4)

    assert (tmp_path / "run" / "weights.safetensors").is_file()
