"""What the scripts' tests share."""

from pathlib import Path

import pytest
from price_run import write_price_run

from nautilus_torchserve.release.build.archive import build_archive


@pytest.fixture(scope="session")
def price_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A price model of 1-minute bars that has not seen any."""
    folder = tmp_path_factory.mktemp("scripts-price")
    return build_archive("price", write_price_run(folder / "run"), "1.0", folder).path
