import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from nautilus_torchserve.bundle import BUNDLE
from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.models.spec import ModelSpec, load_object
from nautilus_torchserve.models.table import MODELS, TICK, spec_of
from nautilus_torchserve.user_error import InvalidArgument
from support import PROJECT

HEAVY = ("nautilus_trader", "numpy", "pandas", "torch", "transformers", "ts", "typer")
specs = pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)


def object_paths(value: Any) -> list[str]:
    """Every ``package.module:Name`` in a spec."""
    if isinstance(value, dict):
        return [path for inner in value.values() for path in object_paths(inner)]
    if isinstance(value, list | tuple):
        return [path for inner in value for path in object_paths(inner)]
    return [value] if isinstance(value, str) and ":" in value else []


def test_built_in_models_are_found_by_name() -> None:
    assert list(MODELS) == ["tick", "price", "sentiment", "ensemble"]
    assert all(spec_of(name) is spec and spec.name == name for name, spec in MODELS.items())


def test_table_imports_nothing_heavy() -> None:
    code = f"import nautilus_torchserve.models.table, sys; print(*sorted(set(sys.modules) & {set(HEAVY)}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert result.stdout.split() == []


@specs
def test_every_named_object_exists(spec: ModelSpec) -> None:
    paths = object_paths(asdict(spec))

    assert spec.features.schema in paths
    for path in paths:
        assert callable(load_object(path)) or isinstance(load_object(path), FeatureSchema)


@specs
def test_files_of_the_bundle_exist(spec: ModelSpec) -> None:
    assert (BUNDLE / spec.handler).is_file()
    assert (BUNDLE / f"archives/model-config/{spec.name}.yaml").is_file()


@specs
def test_networks_are_built_by_the_bundle(spec: ModelSpec) -> None:
    for network in spec.networks:
        assert callable(load_object(f"{network.module}:build"))
        assert network.search.keys() <= {field.name for field in fields(load_object(network.config))}


@specs
def test_outputs_are_those_of_the_inference_class(spec: ModelSpec) -> None:
    assert tuple(output.name for output in spec.outputs) == load_object(spec.inference).output_names


@specs
def test_members_are_models(spec: ModelSpec) -> None:
    assert spec.training is not None
    assert set(spec.training.members) <= MODELS.keys() - {spec.name}


def test_spec_of_the_bundle_is_found_by_its_path() -> None:
    assert spec_of("nautilus_torchserve.models.table:TICK") is TICK


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ticks", r"expected a model of tick, .*, package.module:NAME, or a file of model_defs, got 'ticks'"),
        ("nautilus_torchserve.models.table:MODELS", "expected a ModelSpec at .*:MODELS, got dict"),
        ("no_such_module:SPEC", "no_such_module:SPEC: expected a module, got none named no_such_module"),
        ("nautilus_torchserve.models.table:SPEC", "expected an object of nautilus_torchserve.models.table, got none"),
        ("nautilus_torchserve.models.table:", "expected package.module:Name, got"),
    ],
)
def test_unknown_spec_is_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        spec_of(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import package_that_nobody_has\n", "ModuleNotFoundError: No module named 'package_that_nobody_has'"),
        ("class Features(\n", "SyntaxError: '[(]' was never closed"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_of_the_user_that_cannot_be_imported_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    (tmp_path / "not_importable.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(InvalidArgument, match=rf"^not_importable:Features: .*not_importable\.py:1: {message}"):
        load_object("not_importable:Features")
