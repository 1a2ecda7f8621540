"""Archives of several models in one: an ensemble with its members."""

import json
import shutil
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from nautilus_torchserve.release.build.archive import BuildFailed, build_archive
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.wire.news_windows import NewsWindow


@pytest.fixture(scope="module")
def ensemble_run(news_runs: dict[str, Path]) -> Path:
    return news_runs["ensemble"]


def test_an_ensemble_holds_its_members_with_their_code(news_archives: dict[str, Path]) -> None:
    with ZipFile(news_archives["ensemble"]) as archive:
        names = set(archive.namelist())

    assert {"ensemble_handler.py", "model.json", "golden.npz"} <= names
    for member, files in (("price", []), ("sentiment", ["tokenizer.json"])):
        assert {f"{member}/{name}" for name in ("model.json", "golden.npz", "weights.safetensors", *files)} <= names
    assert {f"model_defs/{name}.py" for name in ("news_pool", "price_lstm", "sentiment_transformer")} <= names
    assert "weights.safetensors" not in names
    assert not [name for name in names if name.split("/")[0] in ("strategies", "training", "serving", "release")]


def test_a_sentiment_archive_holds_its_tokenizer(news_archives: dict[str, Path]) -> None:
    with ZipFile(news_archives["sentiment"]) as archive:
        names = set(archive.namelist())

    assert {"tokenizer.json", "weights.safetensors", "model_defs/sentiment_transformer.py"} <= names
    assert "model_defs/news_pool.py" not in names


@pytest.mark.parametrize("missing", ["sentiment/tokenizer.json", "price/weights.safetensors", "price/model.json"])
def test_a_member_that_is_incomplete_is_named(ensemble_run: Path, tmp_path: Path, missing: str) -> None:
    run = shutil.copytree(ensemble_run, tmp_path / "run")
    (run / missing).unlink()

    with pytest.raises(BuildFailed, match=f"expected {Path(missing).name} in .*{Path(missing).parent}, got none"):
        build_archive("ensemble", run, "1.0", tmp_path / "out")


def test_a_members_other_weights_do_not_pass_the_ensembles_golden_answers(
    news_archives: dict[str, Path], ensemble_run: Path, tmp_path: Path
) -> None:
    """An ensemble is proven as a whole: here a member was fitted again after it."""
    run = shutil.copytree(ensemble_run, tmp_path / "run")
    with np.load(run / "golden.npz") as stored:
        golden = {name: stored[name] for name in stored.files}
    with connect(f"mar:{news_archives['ensemble']}", "ensemble") as client:
        answered = client.predict([NewsWindow(row) for row in golden["rows"]]).outputs["price_return_bps"]
    np.savez(run / "golden.npz", **{**golden, "output.price_return_bps": answered})
    weights = load_file(run / "price" / "weights.safetensors")
    save_file({**weights, "head.bias": weights["head.bias"] + 1}, run / "price" / "weights.safetensors")

    with pytest.raises(BuildFailed, match=r"output 'price_return_bps' within .* got one off by"):
        build_archive("ensemble", run, "1.0", tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"members": ["price", "sentiment", "volume"]}, "expected model.json in .*volume, got none"),
        (
            {"network": {"module": "nautilus_torchserve.training.tick.fit", "config": {}}},
            "expected a network in model_defs",
        ),
        (
            {
                "network": {
                    "module": "model_defs.news_pool",
                    "config": {"weight_price": -1, "weight_sentiment": 0, "half_life_s": 1},
                }
            },
            "expected weight_price of at least 0",
        ),
    ],
)
def test_a_description_that_cannot_be_built_is_refused(
    ensemble_run: Path, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    run = shutil.copytree(ensemble_run, tmp_path / "run")
    described = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(described | changed))

    with pytest.raises(BuildFailed, match=message):
        build_archive("ensemble", run, "1.0", tmp_path / "out")
