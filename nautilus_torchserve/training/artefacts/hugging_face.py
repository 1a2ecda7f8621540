"""Folders in Hugging Face's form that classify texts: their own head, ``id2label`` as names of the outputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from model_defs import sequence_classifier
from nautilus_torchserve.features.text import TEXT_SCHEMA
from nautilus_torchserve.inference.model_files import WEIGHTS
from nautilus_torchserve.inference.text_model import TOKENIZER
from nautilus_torchserve.models.spec import ModelSpec
from nautilus_torchserve.training.artefacts.written import Written
from nautilus_torchserve.training.sentiment.backbone import CONFIG, BadBackbone, find_backbone, load_pretrained

TEXT_CLASSIFIER = "nautilus_torchserve.inference.models.text_classifier:TextClassifier"
_HEAD = "ForSequenceClassification"
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
    backbone = find_backbone(path)
    heads = backbone.config.get("architectures") or ["none"]
    if changes or not any(str(name).endswith(_HEAD) for name in heads):
        raise BadBackbone(
            f"{path}: expected architectures with {_HEAD} in its config.json, the models that are served as they are, "
            f"got {', '.join(map(str, heads)):.100}: `train sentiment --backbone` fits a head on an encoder"
        )
    encoder = load_pretrained(backbone, "AutoModelForSequenceClassification")
    longest = _max_tokens(encoder, backbone.max_tokens)
    config = {"model": encoder.config.to_dict() | backbone.config, "max_tokens": longest}
    network = sequence_classifier.build(config)
    network.encoder.load_state_dict(encoder.state_dict())
    weights = {name: value.clone().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    (folder / TOKENIZER).write_text(backbone.tokenizer, encoding="utf-8")
    labels = encoder.config.id2label
    problem = encoder.config.problem_type or ("single_label_classification" if len(labels) > 1 else "regression")
    if problem not in _ACTIVATIONS:
        raise BadBackbone(f"{path / CONFIG}: expected problem_type {', '.join(_ACTIVATIONS)}, got {problem!r:.60}")
    return Written(
        {"module": sequence_classifier.__name__, "config": config},
        files=(TOKENIZER,),
        schema=TEXT_SCHEMA,
        outputs=tuple(labels[index] for index in sorted(labels)),
        activation=_ACTIVATIONS[problem],
        inference=TEXT_CLASSIFIER,
        facts={"unknown_token": backbone.unknown_token},
    )


def _max_tokens(encoder: Any, most: int) -> int:
    """Return the longest input: RoBERTa's positions begin behind its padding token's."""
    for longest in (most, most - 1 - (encoder.config.pad_token_id or 0)):
        try:
            with torch.inference_mode():
                encoder(input_ids=torch.ones((1, longest), dtype=torch.long))
        except (IndexError, RuntimeError):
            continue
        return longest
    raise BadBackbone(f"expected a model of {most} tokens, as its config.json says, got one of fewer")
