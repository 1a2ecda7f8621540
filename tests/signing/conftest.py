"""A pair of keys for tests of signatures."""

from pathlib import Path

import pytest
from signed_archives import keys


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Alice's private key, and the folder that trusts her."""
    return keys(tmp_path_factory.mktemp("keys"))
