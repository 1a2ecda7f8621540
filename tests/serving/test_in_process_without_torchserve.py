"""``mar:`` needs torch alone: where TorchServe cannot be imported, it answers with the server's bits."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nautilus_torchserve.serving.client.client import InferenceClient, Inputs, connect
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.wire.news_windows import NewsWindow
from support import PROJECT

PREDICT = """
import json, sys
import numpy as np
sys.modules["ts"] = None  # importing it fails
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.wire.news_windows import NewsWindow
path, model, inputs = json.loads(sys.stdin.read())
if model == "ensemble":
    inputs = [NewsWindow(np.array(window, np.float32), ("Profit rose",)) for window in inputs]
elif model != "sentiment":
    inputs = np.array(inputs, np.float32)
with connect(f"mar:{path}", model) as client:
    outputs = {name: values.tobytes().hex() for name, values in client.predict(inputs).outputs.items()}
assert not [name for name in sys.modules if name.startswith("ts.")]
print(json.dumps(outputs))
"""


def bits(client: InferenceClient, inputs: Inputs) -> dict[str, str]:
    return {name: values.tobytes().hex() for name, values in client.predict(inputs).outputs.items()}


def predict_without_torchserve(archive: Path, model: str, inputs: list) -> dict[str, str]:
    result = subprocess.run(
        [sys.executable, "-c", PREDICT],
        input=json.dumps([str(archive), model, inputs]),
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_rows(tick_archive: Path, tick_server: TorchServe, rows: np.ndarray) -> None:
    with connect(tick_server.inference_url, "tick", token=tick_server.token) as client:
        assert predict_without_torchserve(tick_archive, "tick", rows.tolist()) == bits(client, rows)


@pytest.mark.parametrize("model", ["price", "sentiment", "ensemble"])
def test_windows_and_texts(news_archives: dict[str, Path], news_server: TorchServe, model: str) -> None:
    close = np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, (5, 60)), axis=1))
    windows = np.stack([close, close * 1.01, close * 0.99, close, close], axis=2).astype(np.float32)
    inputs: dict[str, Inputs] = {
        "price": windows,
        "sentiment": ["Profit rose", "profit fell, shares fell", "Sales rose"],
        "ensemble": [NewsWindow(window, ("Profit rose",)) for window in windows],
    }
    plain = inputs["sentiment"] if model == "sentiment" else windows.tolist()
    with connect(news_server.inference_url, model, token=news_server.token) as client:
        assert predict_without_torchserve(news_archives[model], model, list(plain)) == bits(client, inputs[model])
