import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.training.runs.config import TUNED, BadConfig, Provenance, read_config, write_config


@dataclass(frozen=True)
class Network:
    hidden: int = 128
    dropout: float = 0.1
    cell: Literal["lstm", "gru"] = "lstm"
    widths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Fit:
    epochs: int
    learning_rate: float = 1e-3
    clip: float | None = None
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"expected at least 1 epoch, got {self.epochs}")


SECTIONS = {"network": Network, "fit": Fit}
FINITE = st.floats(allow_nan=False, allow_infinity=False)
NETWORKS = st.builds(
    Network, st.integers(), FINITE, st.sampled_from(["lstm", "gru"]), st.lists(st.integers()).map(tuple)
)
FITS = st.builds(Fit, st.integers(min_value=1), FINITE, st.none() | FINITE, st.booleans())
PROVENANCE = st.builds(Provenance, st.text(), st.integers(), FINITE)


@settings(max_examples=40)
@given(network=NETWORKS, fit=FITS, provenance=PROVENANCE, tuned=st.sets(st.sampled_from(["hidden", "dropout"])))
def test_written_configuration_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, network: Network, fit: Fit, provenance: Provenance, tuned: set[str]
) -> None:
    path = tmp_path_factory.mktemp("config") / "best.json"
    best = {"network": {name: getattr(network, name) for name in tuned}}
    fixed = {"network": {**asdict(network), **dict.fromkeys(tuned, 0)}, "fit": asdict(fit)}

    write_config(path, best, fixed, provenance)

    assert read_config(path, SECTIONS) == {"network": network, "fit": fit, TUNED: provenance}


def test_omitted_values_have_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"fit": {"epochs": 3, "learning_rate": 1}}')

    assert read_config(path, SECTIONS) == {"network": Network(), "fit": Fit(3, 1.0)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"fit": {"epochs": "3"}}', "fit.epochs: expected int, got '3'"),
        ('{"fit": {"epochs": true}}', "fit.epochs: expected int, got True"),
        ('{"fit": {"epochs": 2.5}}', "fit.epochs: expected int, got 2.5"),
        ('{"fit": {"epochs": 1, "clip": "no"}}', "fit.clip: expected float | None, got 'no'"),
        ('{"fit": {"epochs": 1, "rate": 1}}', "fit: expected one of epochs, learning_rate, clip, shuffle, got 'rate'"),
        ('{"fit": {"epochs": 0}}', "fit: expected at least 1 epoch, got 0"),
        ('{"fit": {"epochs": NaN}}', "expected a finite number, got NaN"),
        ('{"fit": [1]}', "fit: expected an object, got [1]"),
        ('{"network": {}}', "fit.epochs: expected a value, got none"),
        ('{"network": {"cell": "rnn"}}', "network.cell: expected Literal['lstm', 'gru'], got 'rnn'"),
        ('{"network": {"widths": [1, "2"]}}', "network.widths[1]: expected tuple[int, ...], got '2'"),
        ('{"fits": {}}', "the file: expected one of network, fit, tuned, got 'fits'"),
        ('{"fit": {"epochs": 1}, "tuned": {"study": "s"}}', "tuned.trials: expected a value, got none"),
        ("[]", "the file: expected an object, got []"),
        ("{", "expected JSON: "),
        ("\ud800", "expected JSON: "),
        (None, "expected a configuration file, got none"),
    ],
)
def test_an_invalid_configuration_is_refused_with_place_and_expectation(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "bad.json"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))

    with pytest.raises(BadConfig) as failure:
        read_config(path, SECTIONS)

    assert str(failure.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("best", "message"),
    [
        ({"network": {"hidden": float("inf")}}, "expected values of JSON types"),
        ({"network": {"hidden": {1}}}, "expected values of JSON types"),
        ({"hidden": 64}, "hidden: expected a section, got 64"),
    ],
)
def test_failed_write_leaves_the_old_file(tmp_path: Path, best: dict[str, object], message: str) -> None:
    path = tmp_path / "best.json"
    write_config(path, {"network": {"hidden": 1}}, {}, Provenance("s", 1, 0.5))

    with pytest.raises(BadConfig, match=message):
        write_config(path, best, {}, Provenance("s", 2, 0.4))

    assert json.loads(path.read_text())[TUNED]["trials"] == 1
    assert list(tmp_path.iterdir()) == [path]
