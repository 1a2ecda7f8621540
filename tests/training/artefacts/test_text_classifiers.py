"""Hugging Face folders with a head of their own: served as they are, ``id2label`` as names of the outputs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from news_run import write_backbone
from safetensors.torch import load_file, save_file

from nautilus_torchserve.inference.model import load_model
from nautilus_torchserve.training.artefacts.run import TEXTS, Interface, write_artefact_run
from nautilus_torchserve.training.artefacts.state_dict import INDEXES
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.errors import BadText, NotExplained

LABELS = {0: "positive", 1: "negative", 2: "neutral"}
AS_NAMED = Interface("finbert")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with three classes, laid out as FinBERT is."""
    from transformers import BertConfig, BertForSequenceClassification

    own = tmp_path_factory.mktemp("own") / "finbert"
    backbone = write_backbone(own, num_hidden_layers=1, max_position_embeddings=64)
    config = BertConfig.from_pretrained(backbone, id2label=LABELS, label2id={name: at for at, name in LABELS.items()})
    torch.manual_seed(2)
    BertForSequenceClassification(config).save_pretrained(backbone)
    return backbone


def probabilities(folder: Path, texts: tuple[str, ...]) -> np.ndarray:
    """What transformers itself computes of each text alone."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in texts]
    return torch.stack(logits).softmax(dim=1).numpy()


def test_a_classifier_is_served_as_it_is(folder: Path, tmp_path: Path) -> None:
    write_artefact_run(folder, tmp_path, AS_NAMED)

    model = load_model(tmp_path, "1.0")
    table = model.predict(TEXTS)
    assert model.output_names == ("positive", "negative", "neutral")
    assert model.constraints.sum_to_one == (("positive", "negative", "neutral"),)
    assert np.abs(table - probabilities(folder, TEXTS)).max() < 1e-6
    assert all((model.predict([text])[0] == row).all() for text, row in zip(TEXTS, table, strict=True))
    assert model.predict(["profit rose " * 100]).shape == (1, 3)  # in chunks
    with pytest.raises(BadText, match="expected texts of at most 16 chunks"):
        model.predict(["profit rose " * 1000])
    with pytest.raises(NotExplained):
        model.explanations(TEXTS[:1])


def write_other(folder: Path, kind: str, **config: Any) -> Path:
    """A tiny classifier of another architecture in the folder."""
    import transformers

    small = {
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_size": 32,
        "intermediate_size": 32,
        "pad_token_id": 1,
    }
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    own = getattr(transformers, f"{kind}Config")(vocab_size=vocabulary, num_labels=3, **{**small, **config})
    torch.manual_seed(2)
    getattr(transformers, f"{kind}ForSequenceClassification")(own).save_pretrained(folder)
    return folder


def test_a_roberta_whose_positions_begin_behind_padding_is_served(folder: Path, tmp_path: Path) -> None:
    own, run = (
        write_other(shutil.copytree(folder, tmp_path / "own"), "Roberta", max_position_embeddings=34),
        tmp_path / "run",
    )
    run.mkdir()

    description = write_artefact_run(own, run, AS_NAMED)

    assert description["network"]["config"]["max_tokens"] == 32
    assert load_model(run, "1.0").predict(["profit rose " * 40]).shape == (1, 3)


def as_pickle(folder: Path, prefix: str) -> None:
    weights = load_file(folder / "model.safetensors")
    torch.save({prefix + name: value for name, value in weights.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def as_shards(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    shards = {name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(weights)}
    for shard in set(shards.values()):
        save_file({name: weights[name] for name in weights if shards[name] == shard}, folder / shard)
    (folder / INDEXES[0]).write_text(json.dumps({"weight_map": shards}))
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "change",
    [lambda own: as_pickle(own, "module."), as_shards],
    ids=["data parallel", "shards"],
)
def test_weights_of_a_folder_come_in_several_forms(
    folder: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    own, run = shutil.copytree(folder, tmp_path / "own"), tmp_path / "run"
    change(own)
    run.mkdir()

    write_artefact_run(own, run, AS_NAMED)

    assert np.abs(load_model(run, "1.0").predict(TEXTS) - probabilities(folder, TEXTS)).max() < 1e-6


@pytest.mark.parametrize(
    ("problem", "sum_to_one", "bounded"),
    [("multi_label_classification", False, True), ("regression", False, False)],
)
def test_the_kind_of_problem_chooses_the_activation(
    folder: Path, tmp_path: Path, problem: str, sum_to_one: bool, bounded: bool
) -> None:
    own, run = with_config(folder, tmp_path, problem_type=problem), tmp_path / "run"
    run.mkdir()

    write_artefact_run(own, run, AS_NAMED)

    constraints = load_model(run, "1.0").constraints
    assert bool(constraints.sum_to_one) == sum_to_one
    assert bool(constraints.ranges) == bounded


def with_config(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    own = shutil.copytree(folder, tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | changes))
    return own


def without_head(folder: Path, tmp_path: Path) -> Path:
    own = shutil.copytree(folder, tmp_path / "own")
    weights = load_file(own / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "classifier" not in name}, own / "model.safetensors")
    return own


@pytest.mark.parametrize(
    ("change", "interface", "message"),
    [
        (
            without_head,
            AS_NAMED,
            r"expected all weights of the model, got none for classifier\.bias, classifier\.weight",
        ),
        (
            lambda folder, tmp_path: with_config(folder, tmp_path, architectures=["BertModel"]),
            AS_NAMED,
            "expected architectures with ForSequenceClassification in its config.json, .* got BertModel: ",
        ),
        (
            lambda folder, tmp_path: with_config(folder, tmp_path, model_type="of-my-own"),
            AS_NAMED,
            "expected a model that transformers reads, got .*of-my-own",
        ),
        (
            lambda folder, tmp_path: with_config(folder, tmp_path, hidden_act="of-my-own"),
            AS_NAMED,
            "expected a model that transformers reads, got 'of-my-own'",
        ),
        (
            lambda folder, tmp_path: with_config(folder, tmp_path, id2label={"0": "up", "1": "down"}),
            AS_NAMED,
            r"expected classifier\.bias of shape \[2\], as config\.json describes the model, got \[3\]",
        ),
        (
            lambda folder, tmp_path: with_config(folder, tmp_path, problem_type="ranking"),
            AS_NAMED,
            "config.json: expected problem_type single_label_classification, .*, got 'ranking'",
        ),
        (
            lambda folder, tmp_path: write_other(
                shutil.copytree(folder, tmp_path / "own"), "XLNet", d_model=32, n_layer=1, n_head=2, d_inner=32
            ),
            AS_NAMED,
            "expected a model whose outputs do not depend on padding behind a text, got ones off by",
        ),
        (
            lambda folder, tmp_path: with_config(folder, tmp_path, pad_token_id=None),
            AS_NAMED,
            "config.json: expected a model with a padding token, got one without",
        ),
        (
            lambda folder, tmp_path: with_config(folder, tmp_path, auto_map={"AutoModel": "code.Model"}),
            AS_NAMED,
            "expected a model of transformers itself, got auto_map .* code of the folder, which is not run",
        ),
        (
            lambda folder, tmp_path: with_config(folder, tmp_path, id2label={"0": "up", "1": "up", "2": "flat"}),
            AS_NAMED,
            "config.json: expected id2label with different names for 0 to 2",
        ),
        (
            lambda folder, tmp_path: folder,
            Interface("finbert", outputs=("up", "down", "flat")),
            "expected outputs positive, negative, neutral, as its config.json names them, got up, down, flat",
        ),
    ],
    ids=[
        *("no head", "an encoder", "a model of its own", "an activation", "labels", "a problem"),
        *("padding", "no padding token", "code", "equal labels", "other names"),
    ],
)
def test_a_folder_that_cannot_be_served_is_refused_in_one_sentence(
    folder: Path, tmp_path: Path, change: Callable[..., Path], interface: Interface, message: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()

    with pytest.raises(UserError, match=message) as refusal:
        write_artefact_run(change(folder, tmp_path), run, interface)

    assert "\n" not in str(refusal.value)
