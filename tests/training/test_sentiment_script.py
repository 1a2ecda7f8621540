import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from news_run import write_backbone
from sentiment_sample import QUICK, WORDS, lines, write_sentences
from typer.testing import CliRunner

from nautilus_torchserve.serving.client.client import connect
from support import PROJECT, script_app

SCRIPT = PROJECT / "scripts/train.py"
APP = script_app(SCRIPT)
SETTINGS = [word for setting in QUICK for word in ("--set", setting)]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_backbone(tmp_path_factory.mktemp("backbone") / "tiny-bert")


def test_users_sentences_and_encoder_become_a_tracked_archive(backbone: Path, tmp_path: Path) -> None:
    own, copy = write_sentences(tmp_path / "own.txt", 150), write_sentences(tmp_path / "copy.txt", 20)
    other = tmp_path / "other.csv"
    rows = [f'{tuple(WORDS).index(label)},"{text}"' for text, label in (line.split("@") for line in lines(30, seed=5))]
    other.write_text("\n".join(["Sentiment,Sentence", *rows]) + "\n")
    label_map = ",".join(f"{number}={label}" for number, label in enumerate(WORDS))
    options = ["--only-data", "--data", own, "--data", copy, "--backbone", backbone, "--evaluate", other, *SETTINGS]
    options += ["--label-map", label_map]

    result = CliRunner().invoke(
        APP, ["sentiment", *map(str, options), "--threads", "1", "--out", str(tmp_path / "run"), "--json"]
    )

    assert result.exit_code == 0, result.stderr
    description = json.loads(result.stdout)
    assert description["metrics"]["edge"] in result.stderr
    assert "20 repeated sentences left out, 0 of them with another label." in result.stderr
    assert description["benchmarks"][0]["source"] == f"{other} ({label_map})"
    assert description["benchmarks"][0]["scores"]["model"]["accuracy"] > 0.8
    page = Path(description["report"]).read_text()
    assert "Other labelled files" in page
    assert str(other) in page
    archive = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").download_artifacts(
        description["mlflow_run_id"], "archive/sentiment.mar", str(tmp_path)
    )
    with connect(f"mar:{archive}", "sentiment") as client:
        good, bad, neither = client.predict([f"{words[0]} and on" for words in WORDS.values()]).outputs["score"]
    assert good > 0.5 > abs(neither)
    assert bad < -0.5


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        (("--only-data",), 1, "expected a file of labelled sentences where the corpus is left out, got none"),
        (("--data", "missing.csv"), 1, "missing.csv: expected a file of labelled sentences, got none"),
        (("--backbone", "nowhere"), 1, "nowhere: expected a folder in Hugging Face's form, got none"),
        (("--set", "fit.epochs=0"), 2, "expected epochs of at least 1, got 0"),
        (("--set", "epochs=1"), 2, "expected fit.NAME=VALUE, got 'epochs=1'"),
        (("--device", "tpu"), 2, "expected device auto, cpu or cuda, got 'tpu'"),
        (("--label-map", "0=bad"), 2, "expected LABEL=CLASS with class negative, neutral or positive, as in 0="),
        (("--evaluate", "none.txt"), 1, "none.txt: expected a file of labelled sentences, got none"),
    ],
    ids=[
        "no sentences",
        "no file",
        "no encoder",
        "no epochs",
        "no section",
        "no such device",
        "no class",
        "no benchmark",
    ],
)
def test_invalid_call_is_refused_with_the_reason(
    options: tuple[str, ...], status: int, expected: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(APP, ["sentiment", *options, "--out", str(tmp_path / "run")])

    assert result.exit_code == status
    assert expected in " ".join(result.stderr.replace("│", " ").split())
    assert not list(tmp_path.iterdir())
