"""Folders in Hugging Face's form that classify texts: their own head, ``id2label`` as names of the outputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from model_defs import sequence_classifier
from model_defs.sequence_classifier import SequenceClassifier
from nautilus_torchserve.features.text import TEXT_SCHEMA
from nautilus_torchserve.inference.model_files import WEIGHTS
from nautilus_torchserve.inference.text_model import TOKENIZER
from nautilus_torchserve.models.spec import ModelSpec
from nautilus_torchserve.training.artefacts.written import Written
from nautilus_torchserve.training.sentiment.backbone import (
    CONFIG,
    LONGEST,
    BadBackbone,
    find_backbone,
    load_pretrained,
    read_config,
)
from nautilus_torchserve.user_error import InvalidArgument

TEXT_CLASSIFIER = "nautilus_torchserve.inference.models.text_classifier:TextClassifier"
_HEAD = "ForSequenceClassification"
_OFFSETS = 4
"""Positions less than ``max_position_embeddings`` that a model may compute: RoBERTa leaves out 2."""
_PADDED = 1e-4
"""Difference of outputs, relative or absolute, that padding may make."""
_ACTIVATIONS = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": None,
}
"""``problem_type`` of a configuration -> activation."""


def write_text_classifier(path: Path, folder: Path, spec: ModelSpec | None, changes: Mapping[str, Any]) -> Written:
    """Write the weights and the tokenizer of a model that classifies texts.

    Raises
    ------
    BadBackbone
        The folder is incomplete, or its model does something else, or needs code of its own.
    BadWeights
        Its weights cannot be read.
    """
    _check_head(path, changes)
    backbone = find_backbone(path)
    encoder = load_pretrained(backbone, "AutoModelForSequenceClassification")
    longest = _max_tokens(path, encoder)
    config = {"model": encoder.config.to_dict() | backbone.config, "max_tokens": longest}
    try:
        network = sequence_classifier.build(config)
    except ValueError as error:
        raise BadBackbone(f"{path / CONFIG}: {error}") from None
    network.encoder.load_state_dict(encoder.state_dict())
    _check_padding(path, network)
    weights = {name: value.clone().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    (folder / TOKENIZER).write_text(backbone.tokenizer, encoding="utf-8")
    labels = _labels(path, encoder.config.id2label)
    problem = encoder.config.problem_type or ("single_label_classification" if len(labels) > 1 else "regression")
    if problem not in _ACTIVATIONS:
        raise BadBackbone(f"{path / CONFIG}: expected problem_type {', '.join(_ACTIVATIONS)}, got {problem!r:.60}")
    return Written(
        {"module": sequence_classifier.__name__, "config": config},
        files=(TOKENIZER,),
        schema=TEXT_SCHEMA,
        outputs=labels,
        activation=_ACTIVATIONS[problem],
        inference=TEXT_CLASSIFIER,
        facts={"unknown_token": backbone.unknown_token},
    )


def _check_head(path: Path, changes: Mapping[str, Any]) -> None:
    """Refuse a model of another kind, or with code of its own, before more of its folder is read."""
    if changes:
        raise InvalidArgument(f"{path}: expected --set with weights of a spec's network, got a Hugging Face folder")
    config = read_config(path)
    heads = config.get("architectures") or ["none"]
    heads = [heads] if isinstance(heads, str) else heads
    if not any(str(name).endswith(_HEAD) for name in heads):
        raise BadBackbone(
            f"{path}: expected architectures with {_HEAD} in its config.json, the models of texts that are served as "
            f"they are, got {', '.join(map(str, heads)):.100}: `train sentiment --backbone` fits a head on an encoder "
            "of texts; export another model as ONNX or torch.export and pack that"
        )
    if config.get("auto_map"):
        raise BadBackbone(
            f"{path / CONFIG}: expected a model of transformers itself, got auto_map {config['auto_map']!r:.100}, code "
            "of the folder, which is not run: remove auto_map where the class of transformers is the same"
        )


def _labels(path: Path, id2label: Mapping[int, object]) -> tuple[str, ...]:
    labels = tuple(str(id2label[index]) for index in sorted(id2label))
    if sorted(id2label) != list(range(len(labels))) or len(set(labels)) != len(labels) or not all(labels):
        raise BadBackbone(
            f"{path / CONFIG}: expected id2label with different names for 0 to {len(labels) - 1}, got {id2label!r:.200}"
        )
    if odd := [label for label in labels if not label.isprintable()]:
        raise BadBackbone(f"{path / CONFIG}: expected id2label with names of printable characters, got {odd[0]!r:.80}")
    return labels


def _max_tokens(path: Path, encoder: Any) -> int:
    """Return the longest input, at most `LONGEST`: RoBERTa's positions begin behind its padding token's."""
    config = encoder.config
    most = min(LONGEST, getattr(config, "max_position_embeddings", None) or LONGEST)
    most = most if most > 0 else LONGEST  # XLNet's -1
    token = next(token for token in (config.vocab_size - 1, 0) if token != config.pad_token_id)
    message = ""
    for longest in range(most, max(0, most - _OFFSETS), -1):
        try:
            with torch.inference_mode():
                encoder(input_ids=torch.full((1, longest), token, dtype=torch.long))
        except (IndexError, RuntimeError, ValueError) as error:
            message = " ".join(str(error).split())
            continue
        return longest
    raise BadBackbone(f"{path}: expected a model that computes texts of {most} tokens, got {message:.200}")


def _check_padding(path: Path, network: SequenceClassifier) -> None:
    """Refuse a model for which padding behind a text changes outputs: texts are padded to be computed together."""
    token = next(token for token in (network.encoder.config.vocab_size - 1, 0) if token != network.padding)
    tokens = torch.full((1, 5), token, dtype=torch.long)  # (1, L)
    with torch.inference_mode():
        alone = network.eval().encoder(input_ids=tokens).logits
        padded = network(torch.cat([tokens, torch.full((1, 3), network.padding)], dim=1))
    if not torch.allclose(alone, padded, rtol=_PADDED, atol=_PADDED):
        error = float((alone - padded).abs().max())
        raise BadBackbone(
            f"{path}: expected a model whose outputs do not depend on padding behind a text, got ones off by {error:g}"
        )
