"""Unfitted sentiment model and ensemble whose outputs depend on their inputs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from model_defs.sentiment_transformer import SentimentTransformer, build
from nautilus_torchserve.features.text import TEXT_SCHEMA
from nautilus_torchserve.inference import model_files
from nautilus_torchserve.inference.text_model import COLUMNS, TOKENIZER, TextNetwork
from nautilus_torchserve.training.runs.result import write_run

WORDS = """
    profit rose fell strong weak sales bank beats misses raises cuts a the of in on its outlook to shares company loss
    warns wins order contract debt strike record low high today says after before and not no more less than expected
    ##s ##ing ##ed % . , - '
"""
TEXTS = ("Profit rose, record order", "The bank warns of a loss", "Shares of the company today " * 30)
CPU = torch.device("cpu")


def write_backbone(folder: Path, **config: Any) -> Path:
    """A tiny random BERT with its tokenizer, as Hugging Face saves them."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(1)
    tokenizer = _tokenizer()
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), **{**shape, **config})).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)
    return folder


def _tokenizer() -> Tokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    marks = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = dict.fromkeys([*marks, *WORDS.split(), *letters, *(f"##{letter}" for letter in letters)])
    tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $0 [SEP]", special_tokens=ends)
    return tokenizer


def write_sentiment_run(folder: Path, backbone: Path) -> Path:
    """Write a run folder as a fit would; ``backbone`` is a folder of `write_backbone`."""
    config = json.loads((backbone / "config.json").read_text())
    description = {
        "model": "sentiment",
        "network": {"module": "model_defs.sentiment_transformer", "config": {"backbone": config, "max_tokens": 64}},
        "feature_schema": TEXT_SCHEMA.to_dict(),
        "files": [TOKENIZER],
        "scripts": ["LATIN"],
        "unknown_token": "[UNK]",
        "training": {"source": "nothing", "sha256": "0" * 64},
        "metrics": {},
        "seed": 1,
        "git_commit": None,
        "torch": torch.__version__,
    }
    torch.manual_seed(1)
    network = build(description["network"]["config"]).eval()  # type: ignore[index]
    torch.nn.init.normal_(network.head.weight, std=1.0)
    _write(folder, description, network, backbone / TOKENIZER)
    return folder


def _write(folder: Path, description: dict[str, Any], network: SentimentTransformer, tokenizer: Path) -> None:
    """Write the run twice: the golden outputs are the handler's own, since text models have no other inference."""
    torch.set_num_threads(1)  # as in a worker; on a busy machine two threads of so small a network wait for each other
    inputs: dict[str, np.ndarray] = {"texts": np.array(TEXTS)}
    write_run(folder, description, {}, network, {}, inputs, tolerance=1e-4)
    shutil.copyfile(tokenizer, folder / TOKENIZER)
    model = TextNetwork(folder, CPU)
    golden = dict(zip(COLUMNS, model.compute(model.read(TEXTS)).T, strict=True))
    write_run(folder, description, {}, network, golden, inputs, tolerance=1e-4)


def write_ensemble_run(folder: Path, price: Path, sentiment: Path, **pool: float) -> Path:
    """Write an ensemble of two run folders with given weights."""
    for name, run in (("price", price), ("sentiment", sentiment)):
        shutil.copytree(run, folder / name)
    member = model_files.read_description(price)
    config = {"weight_price": 0.8, "weight_sentiment": 1.5, "half_life_s": 3600.0, **pool}
    description = {
        **{name: member[name] for name in ("feature_schema", "bars", "label", "training", "metrics")},
        "model": "ensemble",
        "network": {"module": "model_defs.news_pool", "config": config},
        "members": ["price", "sentiment"],
        "news": {"max_age_ns": 4 * 3600 * 10**9, "max_texts": 8},
        "seed": 1,
        "git_commit": None,
        "torch": torch.__version__,
    }
    rows = model_files.read_golden(price).inputs["rows"][:3]
    inputs = {
        "rows": rows,
        "texts": np.array(TEXTS[:2]),
        "ages_s": np.array([0.0, 1800.0]),
        "counts": np.array([0, 2, 0]),
    }
    write_run(folder, description, {}, None, {}, inputs, tolerance=1e-4)
    return folder
