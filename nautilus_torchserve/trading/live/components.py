"""The actor and the strategies that a live run's settings describe, completed by what the model says of itself."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from nautilus_trader.common.config import NautilusConfig, msgspec_decoding_hook, resolve_path
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.features.bar import bar_schema
from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.trading.bars.actor import BarInferenceActorConfig
from nautilus_torchserve.trading.checks import BadSetting, expect
from nautilus_torchserve.trading.inference.config import DispatcherConfig
from nautilus_torchserve.trading.inference.endpoint import server_tokens
from nautilus_torchserve.trading.instruments.names import engine_name, order_id_tag
from nautilus_torchserve.trading.live.settings import LiveSettings
from nautilus_torchserve.trading.server_token import own_key_file
from nautilus_torchserve.trading.tick.actor import InferenceActorConfig
from nautilus_torchserve.wire.errors import RequestError, SchemaMismatch
from strategies.bar_strategy import BarStrategyConfig
from strategies.tick_strategy import TickStrategyConfig

C = TypeVar("C", bound=NautilusConfig)


def asked_model(settings: LiveSettings) -> ModelMetadata:
    """The metadata of the model that the actor will ask, from the first of its servers that answers.

    Raises
    ------
    BadSetting
        The settings do not say which model.
    RequestError, UnreadableArchive
        No server can be reached, or the model was trained on other features than ours.
    """
    actor, live = settings.model.actor, live_table(settings)
    expect("url" in actor, "model.actor.url, was missing")
    expect(isinstance(actor["url"], str), f"model.actor.url as a text, was {actor['url']!r}")
    tokens = server_tokens(actor["url"], config_from(DispatcherConfig, live, "model.actor.live"), fixed_token(settings))
    metadata = _first_answer([actor["url"], *live.get("fallback_urls", [])], settings, tokens)
    ours = _schema(settings, metadata)
    if ours.sha256 != metadata.feature_schema_sha256:
        theirs = metadata.feature_schema
        raise SchemaMismatch(
            f"{metadata.model} {metadata.version}: trained on features {theirs.name} over "
            f"{theirs.window} events, was to be asked with {ours.name} over {ours.window}"
        )
    return metadata


def live_table(settings: LiveSettings) -> Mapping[str, Any]:
    """Return the table ``[model.actor.live]``, empty where there is none.

    Raises
    ------
    BadSetting
        It is no table.
    """
    live = settings.model.actor.get("live", {})
    expect(isinstance(live, dict), f"model.actor.live as a table, was {live!r}")
    return live


def fixed_token(settings: LiveSettings) -> str | None:
    """Return the token of the environment, for servers whose key file the settings do not name."""
    return os.environ.get(settings.model.actor.get("token_env", "TORCHSERVE_TOKEN"))


def with_own_server(settings: LiveSettings) -> LiveSettings:
    """Return the settings with the key file of the server that scripts/serve.py started, where they name no token."""
    actor = settings.model.actor
    live = live_table(settings)
    is_named = "token_file" in live or fixed_token(settings) is not None
    found = None if is_named else own_key_file(f"{actor.get('url')}")
    if found is None:
        return settings
    live = {**live, "token_file": f"{found[0]}", "renew_url": found[1]}
    return replace(settings, model=replace(settings.model, actor={**actor, "live": live}))


def _first_answer(urls: Sequence[str], settings: LiveSettings, tokens: Sequence[Token]) -> ModelMetadata:
    actor = settings.model.actor
    name, timeout_s = actor.get("model", settings.model.kind), actor.get("timeout_s", 5.0)
    for place, (url, token) in enumerate(zip(urls, tokens, strict=True)):
        try:
            with connect(url, name, actor.get("version"), token=token, timeout_s=timeout_s) as client:
                return client.metadata
        except RequestError:
            if place == len(urls) - 1:
                raise
    raise AssertionError("at least one URL expected, was none")


def _schema(settings: LiveSettings, metadata: ModelMetadata) -> FeatureSchema:
    """What the actor will compute."""
    if settings.model.kind == "tick":
        return tick_schema(settings.model.actor.get("window", metadata.feature_schema.window))
    expect(metadata.takes_bars, f"a model of bars for kind price, was {metadata.feature_schema.name}")
    bars = metadata.require_bars()
    return bar_schema(settings.model.actor.get("indicators", bars.indicators))


def actor_config(
    settings: LiveSettings, metadata: ModelMetadata | None
) -> InferenceActorConfig | BarInferenceActorConfig:
    """Config of the actor that asks the model.

    Parameters
    ----------
    metadata : ModelMetadata, optional
        What `asked_model` found; None where nothing is known yet.

    Raises
    ------
    BadSetting
        A field is unknown, missing, of the wrong type or makes no sense.
    """
    fields = dict(settings.model.actor)
    if settings.model.kind == "tick":
        if metadata is not None:
            fields.setdefault("window", metadata.feature_schema.window)
        return config_from(InferenceActorConfig, fields, "model.actor")
    if metadata is not None:
        bars = metadata.require_bars()
        fields.setdefault("indicators", bars.indicators)
        fields.setdefault("max_gap_ns", bars.max_gap_ns)
    return config_from(BarInferenceActorConfig, fields, "model.actor")


def strategy_configs(
    settings: LiveSettings, actor: InferenceActorConfig | BarInferenceActorConfig, metadata: ModelMetadata | None
) -> list[TickStrategyConfig | BarStrategyConfig]:
    """Configs of the strategies, one for each instrument.

    Raises
    ------
    BadSetting
        As `actor_config`; also where fields are given that follow from others.
    """
    for name, follows_from in (("instrument_id", "model.actor"), ("close_on_stop", "node.flatten_on_stop")):
        expect(name not in settings.strategy, f"strategy without {name} (it follows from {follows_from}), was with it")
    for instrument_id in [] if settings.is_real else traded(actor):
        name = engine_name(instrument_id.value)
        if name != instrument_id.value:
            raise BadSetting(
                f"model.actor: expected an instrument that NautilusTrader's simulated venue can trade, such as {name}, "
                f"got {instrument_id}"
            )
    fields = {**settings.strategy, "close_on_stop": settings.node.flatten_on_stop}
    if isinstance(actor, InferenceActorConfig):
        return [config_from(TickStrategyConfig, {**fields, **_about(settings, actor.instrument_id)}, "strategy")]
    if metadata is not None:
        bars = metadata.require_bars()
        if "horizon_ns" not in fields:
            horizon_bars = metadata.require_horizon_bars("how long a signal holds, give it as strategy.horizon_ns")
            fields["horizon_ns"] = horizon_bars * bars.interval_ns
        fields.setdefault("closed_market_ns", bars.max_gap_ns - bars.interval_ns)
    return [
        config_from(
            BarStrategyConfig,
            {
                **fields,
                **_about(settings, bar_type.instrument_id),
                "order_id_tag": order_id_tag(bar_type.instrument_id),
            },
            "strategy",
        )
        for bar_type in actor.bar_types
    ]


def _about(settings: LiveSettings, instrument_id: InstrumentId) -> dict[str, Any]:
    """Fields that follow from the instrument.

    A position that a real account has at the start is the strategy's, and one with what it adds: without these two
    NautilusTrader would keep both side by side, and close what the venue does not have.
    """
    owned = {"external_order_claims": [str(instrument_id)], "oms_type": "NETTING"} if settings.is_real else {}
    return {"instrument_id": str(instrument_id), **owned}


def traded(actor: InferenceActorConfig | BarInferenceActorConfig) -> list[InstrumentId]:
    """The instruments."""
    if isinstance(actor, InferenceActorConfig):
        return [actor.instrument_id]
    return [bar_type.instrument_id for bar_type in actor.bar_types]


def named_config(config_path: str, fields: Mapping[str, Any], place: str) -> Any:
    """A config of any class.

    Parameters
    ----------
    config_path : str
        ``module:Class``.
    place : str
        Where the fields stand in the file, for messages.

    Raises
    ------
    BadSetting
        There is no such class, or the fields are not its own.
    """
    return config_from(named(config_path, f"{place}.config_path"), fields, place)


def named(path: str, place: str) -> type:
    """The class at ``module:Class``.

    Raises
    ------
    BadSetting
        There is none.
    """
    try:
        return resolve_path(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadSetting(f"{place}: an importable module:Class expected, was {path!r} ({error})") from None


def config_from(kind: type[C], fields: Mapping[str, Any], place: str) -> C:
    """A NautilusTrader config from a table of the file.

    Raises
    ------
    BadSetting
        A field is unknown, missing, of the wrong type or makes no sense.
    """
    known = kind.__struct_fields__
    for name in fields:
        if name not in known:
            raise BadSetting(f"{place}.{name}: a field of {kind.__name__} expected, was unknown")
    try:
        return msgspec.json.decode(msgspec.json.encode(fields), type=kind, dec_hook=msgspec_decoding_hook)
    except (msgspec.ValidationError, ValueError, TypeError, NameError) as error:
        raise BadSetting(f"{place}: {error}") from None
