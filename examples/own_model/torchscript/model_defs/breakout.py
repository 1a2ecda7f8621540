"""A classifier that comes as a TorchScript file: the spec says what goes in and what comes out."""

from nautilus_torchserve.features.schema import Column, FeatureSchema
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Output

SCHEMA = FeatureSchema(
    name="breakout/1",
    columns=tuple(Column(name, "bps") for name in ("open", "high", "low", "close", "range")),
    window=20,
)

SPEC = ModelSpec(
    name="breakout",
    features=FeatureSet(
        data=("bars:1-MINUTE-LAST-EXTERNAL",),
        schema="model_defs.breakout:SCHEMA",
        streaming="model_defs.breakout_features:Features",
        vectorised="model_defs.breakout_features:features",
    ),
    outputs=(Output("buy"), Output("sell"), Output("hold")),
    activation="softmax",
)
