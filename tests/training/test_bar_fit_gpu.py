"""The fit on a GPU, in bfloat16; skipped where there is none."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nautilus_torchserve.inference.model_files import read_golden
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.training.price.fit import PriceFitConfig
from nautilus_torchserve.training.price.options import PriceTraining
from nautilus_torchserve.training.price.run import train_price

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.parametrize("network", ["price_lstm", "residual", "cnn", "patchtst"])
def test_a_network_fits_in_bfloat16_and_serves_in_float32(
    bars: Bars, small: PriceTraining, network: str, tmp_path: Path
) -> None:
    fit = PriceFitConfig(epochs=2)
    training = replace(small, network=network, network_config={}, fit=fit, device="cuda", indicators=network == "cnn")

    result = train_price(bars, tmp_path / "run", training)

    (fold, _) = result.evaluation["history"]
    assert fold["train_loss"][-1] < fold["train_loss"][0]
    assert read_golden(result.folder).inputs["rows"].dtype == "float32"
