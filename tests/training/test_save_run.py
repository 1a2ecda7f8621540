"""Run folders of a user's own training loop."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import model_defs
from nautilus_torchserve.inference.model import load_model
from nautilus_torchserve.inference.model_files import BadArchive
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.models import table
from nautilus_torchserve.models.spec import ModelSpec
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.training.runs.result import BadRunFolder
from nautilus_torchserve.training.runs.save import save_run
from nautilus_torchserve.user_error import InvalidArgument, UserError

OWN = """
from dataclasses import dataclass

import torch
from torch import nn

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Network, Output


@dataclass(frozen=True)
class WindowsConfig:
    hidden: int = 4
    norm: bool = False


class Windows(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.recurrent = nn.GRU(3, config.hidden, batch_first=True)
        self.norm = nn.BatchNorm1d(config.hidden) if config.norm else nn.Identity()
        self.head = nn.Linear(config.hidden, 2)

    def forward(self, windows):
        return self.head(self.norm(self.recurrent(windows)[0][:, -1]))


def build(config):
    return Windows(WindowsConfig(**config))


def signed(outputs):
    return torch.tanh(outputs)


def broken(outputs):
    return outputs / (1 // 0)


SCHEMA = FeatureSchema("own/1", tuple(Column(name, "1") for name in ("rsi", "spread", "imbalance")), 5, time_steps=5)
SPEC = ModelSpec(
    name="own",
    networks=(Network("windows", "model_defs.own_windows:WindowsConfig"),),
    features=FeatureSet(data=("trades",), schema="model_defs.own_windows:SCHEMA"),
    outputs=(Output("up"), Output("down")),
    activation="softmax",
)
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bundle with one network of the user's."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "model_defs").mkdir()
    (folder / "model_defs" / "own_windows.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "BUNDLE", folder)
        patch.setattr(model_defs, "__path__", [*model_defs.__path__, str(folder / "model_defs")])
        yield folder
        sys.modules.pop("model_defs.own_windows", None)


@pytest.fixture
def own(bundle: Path) -> ModuleType:
    spec_of("model_defs/own_windows.py")
    return sys.modules["model_defs.own_windows"]


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(200, 5, 3))  # float64, as NumPy computes


def network(own: ModuleType, **config: Any) -> nn.Module:
    torch.manual_seed(1)
    return own.Windows(own.WindowsConfig(**config))


def test_a_run_folder_serves_what_the_trained_network_computes(
    own: ModuleType, windows: np.ndarray, tmp_path: Path
) -> None:
    trained = network(own, hidden=8).train()
    trades = simulate(300, 1)

    result = save_run(
        trained,
        "model_defs/own_windows.py",
        tmp_path / "own",
        windows,
        data=trades,
        fitted=(int(trades.ts_event[0]), int(trades.ts_event[199])),
        metrics={"accuracy": 0.55},
    )

    model = load_model(result.folder, "1.0")
    rows = windows.astype(np.float32)
    outputs = model.predict(rows)
    with torch.inference_mode():
        expected = trained(torch.from_numpy(rows)).softmax(dim=1).numpy()
    assert trained.training
    assert np.abs(outputs - expected).max() < 1e-6
    assert all((model.predict(rows[at : at + 1])[0] == outputs[at]).all() for at in (0, 7, 199))
    assert model.constraints.sum_to_one == (("up", "down"),)
    assert result.description["network"] == {"module": "model_defs.own_windows", "config": {"hidden": 8, "norm": False}}
    assert result.description["metrics"]["accuracy"] == 0.55
    (fit,) = result.description["fits"]
    assert (fit["sha256"], fit["last_ts_event"]) == (trades.sha256, int(trades.ts_event[199]))
    assert fit["prices"]
    assert len(np.load(result.folder / "golden.npz")["rows"]) == 64
    explained = model.explanations(rows[:1], "up")[0]
    assert explained["complete"]
    assert np.shape(explained["attributions"]) == (5, 3)


def test_the_same_run_is_written_with_the_same_bytes_and_replaces_an_earlier_one(
    own: ModuleType, windows: np.ndarray, tmp_path: Path
) -> None:
    trained = network(own)
    contents = []
    for _ in range(2):
        save_run(trained, own.SPEC, tmp_path / "own", windows)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / "own").iterdir()})

    assert contents[0] == contents[1]
    assert {path.name for path in tmp_path.iterdir()} == {"own"}


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("sigmoid", torch.sigmoid), ("model_defs.own_windows:signed", torch.tanh), (None, lambda outputs: outputs)],
)
def test_outputs_go_through_the_activation_of_the_spec(
    own: ModuleType, windows: np.ndarray, tmp_path: Path, activation: str | None, expected: Callable[..., torch.Tensor]
) -> None:
    trained = network(own).eval()

    folder = save_run(trained, replace(own.SPEC, activation=activation), tmp_path / "own", windows).folder

    rows = windows[:40].astype(np.float32)
    with torch.inference_mode():
        outputs = expected(trained(torch.from_numpy(rows))).numpy()
    assert np.abs(load_model(folder, "1.0").predict(rows) - outputs).max() < 1e-6


def test_wrappers_of_parallel_training_are_taken_off(own: ModuleType, windows: np.ndarray, tmp_path: Path) -> None:
    result = save_run(nn.DataParallel(network(own)), own.SPEC, tmp_path / "own", windows)

    assert load_model(result.folder, "1.0").predict(windows[:1].astype(np.float32)).shape == (1, 2)


def test_a_run_with_parameters_is_tracked(own: ModuleType, windows: np.ndarray, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    result = save_run(network(own), own.SPEC, tmp_path / "own", windows, metrics={"loss": 0.7}, params={"epochs": 3})

    run = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(result.mlflow_run_id)
    assert (run.data.params["epochs"], run.data.metrics["loss"], run.info.status) == ("3", 0.7, "FINISHED")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"inputs": np.zeros((5, 3))},
            InvalidArgument,
            r"expected inputs of shape \[n, 5, 3\], as own/1 has them, got \[5, 3\]",
        ),
        ({"inputs": np.full((9, 5, 3), np.inf)}, InvalidArgument, "expected finite inputs, got inf in column rsi"),
        ({"inputs": [["a"]]}, InvalidArgument, "expected inputs as an array of numbers"),
        (
            {"inputs": np.zeros((9, 5, 3)) * 1j},
            InvalidArgument,
            "expected inputs as an array of numbers: got complex128",
        ),
        ({"metrics": {"loss": "low"}}, InvalidArgument, "expected metrics as numbers by their names"),
        ({"fitted": (None, 3)}, InvalidArgument, "expected fitted as the first and the last time in Unix ns"),
        ({"config": {"hidden": 5}}, BadArchive, r"expected the network's weights: .* size mismatch"),
        ({"config": {"width": 5}}, BadArchive, r"expected a network\.config for model_defs\.own_windows"),
        ({"config": 5}, InvalidArgument, "expected config as model_defs.own_windows:WindowsConfig or a dict, got int"),
        ({"data": "no_such.csv"}, InvalidArgument, "no_such.csv: expected the file of the data: No such file"),
        ({"fitted": (5, 3)}, InvalidArgument, "expected fitted as the first and the last time in Unix ns"),
        ({"spec": "own"}, InvalidArgument, "expected a model of tick, .* or a file of model_defs, got 'own'"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_no_run(
    own: ModuleType,
    windows: np.ndarray,
    tmp_path: Path,
    change: dict[str, Any],
    error: type[UserError],
    message: str,
) -> None:
    arguments = {"spec": own.SPEC, "inputs": windows, **change}

    with pytest.raises(error, match=message):
        save_run(network(own), folder=tmp_path / "own", **arguments)

    assert not list(tmp_path.iterdir())


def test_modes_and_random_numbers_are_left_as_they_were(own: ModuleType, windows: np.ndarray, tmp_path: Path) -> None:
    trained = network(own, norm=True).train()
    trained.norm.eval()  # type: ignore[union-attr, operator]
    state = torch.get_rng_state()

    save_run(trained, own.SPEC, tmp_path / "own", windows)

    assert torch.equal(torch.get_rng_state(), state)
    assert {name for name, module in trained.named_modules() if not module.training} == {"norm"}


def test_metrics_that_are_not_finite_are_unknown(own: ModuleType, windows: np.ndarray, tmp_path: Path) -> None:
    result = save_run(network(own), own.SPEC, tmp_path / "own", windows, metrics={"sharpe": np.nan, "loss": 0.5})

    assert result.evaluation["metrics"] == {"sharpe": None, "loss": 0.5}


def test_what_the_network_raises_is_named_with_its_line(own: ModuleType, windows: np.ndarray, tmp_path: Path) -> None:
    spec = replace(own.SPEC, activation="model_defs.own_windows:broken")

    with pytest.raises(BadArchive, match=r"\[n, 5, 3\], got .*own_windows\.py:\d+: ZeroDivisionError: .*by zero$"):
        save_run(network(own), spec, tmp_path / "own", windows)


def test_another_number_of_outputs_than_the_specs_is_refused(
    own: ModuleType, windows: np.ndarray, tmp_path: Path
) -> None:
    spec = replace(own.SPEC, outputs=(*own.SPEC.outputs, replace(own.SPEC.outputs[0], name="flat")))

    with pytest.raises(
        BadArchive, match=r"expected 3 outputs \(up, down, flat\) for each of 2 rows, got float32 \[2, 2\]"
    ):
        save_run(network(own), spec, tmp_path / "own", windows)


def test_a_network_that_the_spec_builds_otherwise_is_refused(
    own: ModuleType, windows: np.ndarray, tmp_path: Path
) -> None:
    class Doubled(own.Windows):  # type: ignore[name-defined,misc]
        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(windows)

    with pytest.raises(BadArchive, match=r"within 0\.0001 of the trained network's, got one off by"):
        save_run(Doubled(own.WindowsConfig()), own.SPEC, tmp_path / "own", windows)


def test_a_folder_with_something_else_is_left_alone(own: ModuleType, windows: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")

    with pytest.raises(BadRunFolder, match=r"got one with thesis\.tex"):
        save_run(network(own), own.SPEC, tmp_path, windows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("SPEC = 3", "expected one ModelSpec, got none"),
        (
            "from model_defs.own_windows import SPEC\nfrom dataclasses import replace\nOTHER = replace(SPEC, name='b')",
            "expected one ModelSpec, got model_defs.own_two:SPEC, model_defs.own_two:OTHER",
        ),
        ("\nimport = 3", r"own_two\.py:2: SyntaxError"),
        ("\n\nundefined", r"own_two\.py:3: NameError: name 'undefined' is not defined"),
        ("import no_such_package", r"own_two\.py:1: ModuleNotFoundError: No module named 'no_such_package'"),
        (
            "import own_windows",
            r"No module named 'own_windows': import it from its package, as model_defs\.own_windows$",
        ),
        ("raise SystemExit(0)", r"own_two\.py:1: SystemExit: 0"),
        (OWN.replace(":WindowsConfig", ":Nothing"), "own_windows:Nothing: expected an object of .*, got none named"),
        (OWN.replace(":WindowsConfig", ":Windows"), "own_windows:Windows: expected a frozen dataclass"),
        (
            OWN.replace("model_defs.own_windows:WindowsConfig", "json:Other"),
            "expected model_defs.module:Name, .* 'json:O",
        ),
        (OWN.replace(":SCHEMA", ":SPEC"), "own_windows:SPEC: expected a FeatureSchema, got ModelSpec"),
        (OWN.replace('(Output("up"), Output("down"))', "('up', 'down')"), "expected outputs as a tuple of Output, got"),
        (
            OWN.replace('"softmax"', '"model_defs.own_windows:SCHEMA"'),
            "expected a function or a class, got FeatureSchema",
        ),
    ],
)
def test_a_file_without_its_spec_is_named_with_the_line(
    own: ModuleType, bundle: Path, content: str, message: str
) -> None:
    (bundle / "model_defs" / "own_two.py").write_text(content)
    sys.modules.pop("model_defs.own_two", None)

    with pytest.raises(InvalidArgument, match=message):
        spec_of(bundle / "model_defs" / "own_two.py")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": ()}, "own: expected outputs of different names, got none"),
        ({"activation": "relu"}, "own: expected an activation of softmax, sigmoid, None, or .*, got 'relu'"),
    ],
)
def test_a_spec_that_cannot_be_served_is_refused(own: ModuleType, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        replace(own.SPEC, **change)


def test_a_softmax_of_one_output_is_refused(own: ModuleType) -> None:
    spec: ModelSpec = own.SPEC

    with pytest.raises(InvalidArgument, match="expected at least 2 outputs for softmax"):
        replace(spec, outputs=spec.outputs[:1])
