"""Records of archives' descriptions, and the comparison of two of them."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.inference.model_files import read_description
from nautilus_torchserve.registry.comparison import Comparison
from nautilus_torchserve.registry.record import RegisteredVersion, archive_tags, read_version

SCHEMA = FeatureSchema("any/1", (Column("x", "1"),), 1).to_dict()
NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)
TREES = st.recursive(
    NUMBERS | st.booleans() | st.none() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
)


def registered(description: dict[str, Any], version: str, digest: str) -> RegisteredVersion:
    """Return the record of a version with this ``model.json``."""
    from mlflow.entities.model_registry import ModelVersion, ModelVersionTag

    tags = {**archive_tags(description), "version": version, "digest": digest, "bytes": "2048", "archive": "a.mar"}
    kept = [ModelVersionTag(name, value) for name, value in tags.items()]
    read = read_version(ModelVersion("tick", "1", 1_700_000_000_000, tags=kept), ())
    assert read is not None
    return read


def test_a_comparison_names_what_differs_and_by_how_much(tick_run: Path) -> None:
    description = read_description(tick_run)
    metrics = {**description["metrics"], "accuracy": description["metrics"]["accuracy"] + 0.125, "sharpe": 1.5}
    training = {**description["training"], "sha256": "f" * 64, "trades": 7}
    a = registered({**description, "git_commit": "abc"}, "1.0", "d" * 64)
    b = registered(
        {**description, "git_commit": "abc-dirty", "metrics": metrics, "training": training}, "1.1", "e" * 64
    )

    comparison = Comparison(a, b)

    assert comparison.same() == {
        "digest": False,
        "feature_schema": True,
        "training_data": False,
        "git_commit": False,
        "network": True,
    }
    assert comparison.metrics()["accuracy"]["difference"] == pytest.approx(0.125)
    assert comparison.metrics()["sharpe"] == {"a": None, "b": 1.5, "difference": None}
    rows = {row.name: row for row in comparison.rows()}
    assert (rows["accuracy"].differs, rows["log_loss"].differs) == ("+0.125", "")
    assert (rows["training.trades"].a, rows["training.trades"].b) == ("6000", "7")
    assert (rows["commit"].b, rows["data"].b) == ("abc-dirty", "f" * 12)
    assert "network.config.hidden" not in rows


def test_another_network_and_other_features_are_named(tick_run: Path) -> None:
    description = read_description(tick_run)
    network = {**description["network"], "config": {**description["network"]["config"], "hidden": 64}}
    schema = {**description["feature_schema"], "window": 64}

    comparison = Comparison(
        registered(description, "1.0", "d" * 64),
        registered({**description, "network": network, "feature_schema": schema}, "2", "e"),
    )

    assert not comparison.same()["network"]
    assert not comparison.same()["feature_schema"]
    rows = {row.name: row for row in comparison.rows()}
    assert (rows["network.config.hidden"].a, rows["network.config.hidden"].b) == ("32", "64")
    assert rows["features"].differs == "differs"


@pytest.mark.parametrize("missing", ["git_commit", "training"])
def test_values_missing_on_both_sides_do_not_count_as_equal(tick_run: Path, missing: str) -> None:
    description = {key: value for key, value in read_description(tick_run).items() if key != missing}

    comparison = Comparison(registered(description, "1.0", "d"), registered(description, "1.1", "e"))

    assert not comparison.same()["training_data" if missing == "training" else missing]
    assert comparison.rows()


def test_main_metrics_are_those_of_the_shortest_paths(tick_run: Path) -> None:
    description = read_description(tick_run)
    held_out = {"beats_baselines": True, "held_out": {"accuracy": 0.8, "interval": [0.7, 0.9]}}

    assert set(registered(description, "1.0", "d").main_metrics) == {"accuracy", "log_loss", "macro_f1"}
    assert registered({**description, "metrics": held_out}, "1.0", "d").main_metrics == {"held_out.accuracy": 0.8}


def test_named_list_entries_are_keyed_by_their_names(tick_run: Path) -> None:
    classes = [{"class": "up", "f1": 0.5}, {"class": "down", "f1": 0.25}]

    read = registered({**read_description(tick_run), "metrics": {"per_class": classes}}, "1.0", "d")

    assert read.metrics == {"per_class.down.f1": 0.25, "per_class.up.f1": 0.5}


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text("abc_", min_size=1), TREES, max_size=4))
def test_metrics_of_any_shape_have_valid_mlflow_names_and_keep_their_values(metrics: dict[str, Any]) -> None:
    tags = archive_tags({"feature_schema": SCHEMA, "metrics": metrics})

    kept = {name.removeprefix("metrics."): value for name, value in tags.items() if name.startswith("metrics.")}
    assert all(re.fullmatch(r"[\w.\- /:]+", name) for name in kept)
    flat = {name: float(value) for name, value in metrics.items() if type(value) in (int, float)}
    assert {name: float(kept[name]) for name in flat} == flat
