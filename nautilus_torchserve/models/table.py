"""The built-in models."""

import re
from collections.abc import Mapping
from pathlib import Path

from nautilus_torchserve.bundle import BUNDLE
from nautilus_torchserve.models.spec import (
    FeatureSet,
    GoldenRule,
    ModelSpec,
    Network,
    Output,
    Trading,
    TrainingRecipe,
    check_objects,
    describe_failure,
    load_module,
    load_object,
)
from nautilus_torchserve.user_error import InvalidArgument, UserError

_FORECAST = (
    Output("price", "quote", "the next close"),
    Output("return_bps", "bps", "the expected return"),
    Output("sigma_bps", "bps", "the standard deviation of the next return"),
    Output("confidence", label="the confidence"),
)

TICK = ModelSpec(
    name="tick",
    networks=(Network("tick", "model_defs.tick_classifier:TickClassifierConfig"),),
    features=FeatureSet(
        data=("trades",),
        schema="nautilus_torchserve.features.tick:tick_schema",
        streaming="nautilus_torchserve.features.tick:TickFeatures",
        vectorised="nautilus_torchserve.features.tick:tick_features",
    ),
    outputs=tuple(Output(name, label=f"the probability of {name.upper()}") for name in ("buy", "sell", "hold")),
    inference="nautilus_torchserve.inference.models.tick:TickModel",
    handler="handlers/tick_handler.py",
    golden=GoldenRule(inputs=64, tolerance=1e-5),
    training=TrainingRecipe(command="nautilus_torchserve.cli.train_commands:tick"),
    trading=Trading(
        actor="nautilus_torchserve.trading.tick.actor:InferenceActor",
        actor_config="nautilus_torchserve.trading.tick.actor:InferenceActorConfig",
        strategy="strategies.tick_strategy:TickStrategy",
        strategy_config="strategies.tick_strategy:TickStrategyConfig",
    ),
)

PRICE = ModelSpec(
    name="price",
    networks=(
        Network(
            "price_lstm",
            "model_defs.price_lstm:PriceLSTMConfig",
            search={"hidden": (32, 64, 128), "layers": (1, 2), "dropout": (0.0, 0.1, 0.3), "cell": ("lstm", "gru")},
        ),
        Network(
            "residual",
            "model_defs.residual_price_lstm:ResidualPriceLSTMConfig",
            search={"hidden": (64, 128, 256), "layers": (2, 3), "heads": (4, 8), "dropout": (0.0, 0.1, 0.3)},
        ),
        Network(
            "cnn",
            "model_defs.cnn_lstm:CnnLSTMConfig",
            schema={"indicators": True},
            search={"channels": (32, 64), "kernel": (3, 5), "hidden": (32, 64, 128), "dropout": (0.0, 0.1, 0.3)},
        ),
        Network(
            "patchtst",
            "model_defs.patch_tst:PatchEncoderConfig",
            search={"patch": (4, 8, 12), "hidden": (32, 64), "layers": (2, 3), "dropout": (0.1, 0.2, 0.4)},
        ),
    ),
    features=FeatureSet(
        data=("bars",),
        schema="nautilus_torchserve.features.bar:bar_schema",
        streaming="nautilus_torchserve.trading.bars.features:BarFeatures",
        vectorised="nautilus_torchserve.features.bar:bar_columns",
    ),
    outputs=_FORECAST,
    inference="nautilus_torchserve.inference.models.price:PriceModel",
    handler="handlers/price_handler.py",
    golden=GoldenRule(inputs=64, tolerance=1e-4),
    training=TrainingRecipe(
        command="nautilus_torchserve.cli.train_commands:price",
        page="nautilus_torchserve.reporting.evaluation.price_page:write_evaluation",
    ),
    trading=Trading(
        actor="nautilus_torchserve.trading.bars.actor:BarInferenceActor",
        actor_config="nautilus_torchserve.trading.bars.actor:BarInferenceActorConfig",
        strategy="strategies.bar_strategy:BarStrategy",
        strategy_config="strategies.bar_strategy:BarStrategyConfig",
    ),
)

SENTIMENT = ModelSpec(
    name="sentiment",
    networks=(Network("sentiment", "model_defs.sentiment_transformer:SentimentTransformerConfig"),),
    features=FeatureSet(data=("texts",), schema="nautilus_torchserve.features.text:TEXT_SCHEMA"),
    outputs=(
        Output("score", label="the score"),
        *(Output(name, label=f"the probability of {name.upper()}") for name in ("negative", "neutral", "positive")),
        *(Output("confidence", label="the confidence"), Output("chunks"), Output("truncated")),
    ),
    inference="nautilus_torchserve.inference.models.sentiment:SentimentModel",
    handler="handlers/sentiment_handler.py",
    golden=GoldenRule(inputs=8, tolerance=1e-4),
    training=TrainingRecipe(
        command="nautilus_torchserve.cli.train_commands:sentiment",
        page="nautilus_torchserve.reporting.evaluation.sentiment_page:write_sentiment",
    ),
    trading=Trading(
        actor="nautilus_torchserve.trading.news.sentiment_actor:SentimentActor",
        actor_config="nautilus_torchserve.trading.news.sentiment_actor:SentimentActorConfig",
    ),
)

ENSEMBLE = ModelSpec(
    name="ensemble",
    networks=(Network("ensemble", "model_defs.news_pool:NewsPoolConfig"),),
    features=FeatureSet(
        data=("bars", "texts"),
        schema="nautilus_torchserve.features.bar:bar_schema",
        streaming="nautilus_torchserve.trading.bars.features:BarFeatures",
        vectorised="nautilus_torchserve.features.bar:bar_columns",
    ),
    outputs=(
        *_FORECAST,
        Output("price_return_bps", "bps"),
        *(Output("price_confidence"), Output("sentiment_score")),
        *(Output("weight_price"), Output("weight_sentiment"), Output("texts")),
    ),
    inference="nautilus_torchserve.inference.models.ensemble:EnsembleModel",
    handler="handlers/ensemble_handler.py",
    golden=GoldenRule(inputs=8, tolerance=1e-4),
    training=TrainingRecipe(
        command="nautilus_torchserve.cli.train_commands:ensemble", members=(PRICE.name, SENTIMENT.name)
    ),
    trading=Trading(
        actor="nautilus_torchserve.trading.news.actor:NewsBarActor",
        actor_config="nautilus_torchserve.trading.news.actor:NewsBarActorConfig",
        strategy="strategies.news_bar_strategy:NewsBarStrategy",
        strategy_config="strategies.news_bar_strategy:NewsBarStrategyConfig",
    ),
)

MODELS: Mapping[str, ModelSpec] = {spec.name: spec for spec in (TICK, PRICE, SENTIMENT, ENSEMBLE)}
"""Name -> spec."""


def spec_of(name: str | Path) -> ModelSpec:
    """Return the built-in spec of this name, the one at ``package.module:NAME``, or the one in a file of the bundle.

    Parameters
    ----------
    name : str or Path
        ``tick``; ``model_defs.my_model:SPEC``; or ``model_defs/my_model.py``, a file with one `ModelSpec`.

    Raises
    ------
    InvalidArgument
        There is none, the file holds several, or it does not import.
    """
    text = str(name)
    if text in MODELS:
        return MODELS[text]
    if text.endswith(".py"):
        return _spec_in(Path(name).expanduser())
    if ":" not in text:
        raise InvalidArgument(
            f"expected a model of {', '.join(MODELS)}, package.module:NAME, or a file of model_defs, got {text!r}"
        )
    spec = load_object(text)
    if not isinstance(spec, ModelSpec):
        raise InvalidArgument(f"expected a ModelSpec at {text}, got {type(spec).__name__}")
    if spec not in MODELS.values():
        check_objects(spec)
    return spec


def _spec_in(path: Path) -> ModelSpec:
    """Return the one spec of a file in the bundle's ``model_defs``, the folder whose modules archives hold."""
    folder = BUNDLE / "model_defs"
    file = path if path.is_file() else BUNDLE / path
    if not file.is_file():
        raise InvalidArgument(f"{path}: expected a file with a ModelSpec, got none")
    if file.resolve().parent != folder.resolve() or not re.fullmatch(r"[a-z0-9_]+", file.stem):
        raise InvalidArgument(
            f"{path}: expected a file in {folder}, its name of small letters, digits and _, so that archives can hold "
            "it: move it there"
        )
    module = f"model_defs.{file.stem}"
    try:
        specs = {name: value for name, value in vars(load_module(module)).items() if isinstance(value, ModelSpec)}
    except UserError as error:
        raise InvalidArgument(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        reason = describe_failure(error)
        raise InvalidArgument(reason if file.name in reason else f"{path}: {reason}") from error
    if len(set(map(id, specs.values()))) != 1:
        names = ", ".join(f"{module}:{name}" for name in specs)
        raise InvalidArgument(f"{path}: expected one ModelSpec, got {names or 'none'}")
    (spec,) = {id(spec): spec for spec in specs.values()}.values()
    try:
        check_objects(spec)
    except UserError as error:
        raise InvalidArgument(f"{path}: {error}") from None
    return spec
