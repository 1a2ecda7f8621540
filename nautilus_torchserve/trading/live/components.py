"""One actor and its strategies, as a live run's settings, the model's spec and its metadata describe them."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from nautilus_trader.common.config import NautilusConfig, msgspec_decoding_hook
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.models.spec import load_object
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.trading.checks import BadSetting, expect
from nautilus_torchserve.trading.inference.config import DispatcherConfig, ModelActorConfig
from nautilus_torchserve.trading.inference.endpoint import server_tokens
from nautilus_torchserve.trading.instruments.names import engine_name, order_id_tag
from nautilus_torchserve.trading.live.settings import LiveSettings
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategyConfig
from nautilus_torchserve.trading.server_token import own_key_file
from nautilus_torchserve.user_error import InvalidArgument
from nautilus_torchserve.wire.errors import RequestError, SchemaMismatch

C = TypeVar("C", bound=NautilusConfig)


def fetch_metadata(settings: LiveSettings) -> ModelMetadata:
    """Return the metadata of the actor's model, from the first of its servers that answers.

    Raises
    ------
    BadSetting
        The settings do not name a model, or are not what its actor takes.
    RequestError, UnreadableArchive
        No server can be reached, or the model was trained on other features than the actor computes.
    """
    actor, live = settings.model.actor, live_table(settings)
    expect("url" in actor, "model.actor.url, got none")
    expect(isinstance(actor["url"], str), f"model.actor.url as a text, got {actor['url']!r}")
    tokens = server_tokens(actor["url"], config_from(DispatcherConfig, live, "model.actor.live"), fixed_token(settings))
    metadata = _first_metadata([actor["url"], *live.get("fallback_urls", [])], settings, tokens)
    schema, trained_on = actor_config(settings, metadata).feature_schema(), metadata.feature_schema
    if schema.sha256 != metadata.feature_schema_sha256:
        raise SchemaMismatch(
            f"{metadata.model} {metadata.version}: expected a model trained on features {schema.name} over "
            f"{schema.window} events, got one of {trained_on.name} over {trained_on.window}"
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
    expect(isinstance(live, dict), f"model.actor.live as a table, got {live!r}")
    return live


def fixed_token(settings: LiveSettings) -> str | None:
    """Return the token of the environment, for servers whose key file the settings do not name."""
    return os.environ.get(settings.model.actor.get("token_env", "TORCHSERVE_TOKEN"))


def with_own_server(settings: LiveSettings) -> LiveSettings:
    """Return the settings with the key file of the server that this checkout started, where they name no token."""
    actor = settings.model.actor
    live = live_table(settings)
    is_named = "token_file" in live or fixed_token(settings) is not None
    own = None if is_named else own_key_file(f"{actor.get('url')}")
    if own is None:
        return settings
    live = {**live, "token_file": f"{own[0]}", "renew_url": own[1]}
    return replace(settings, model=replace(settings.model, actor={**actor, "live": live}))


def _first_metadata(urls: Sequence[str], settings: LiveSettings, tokens: Sequence[Token]) -> ModelMetadata:
    actor = settings.model.actor
    name, timeout_s = settings.model.name, actor.get("timeout_s", 5.0)
    spec = None if settings.model.spec is None else spec_of(settings.model.spec)
    for place, (url, token) in enumerate(zip(urls, tokens, strict=True)):
        try:
            with connect(url, name, actor.get("version"), spec=spec, token=token, timeout_s=timeout_s) as client:
                return client.metadata
        except RequestError:
            if place == len(urls) - 1:
                raise
    raise AssertionError("expected at least one URL, got none")


def actor_config(settings: LiveSettings, metadata: ModelMetadata | None) -> ModelActorConfig:
    """Return the config of the actor that uses the model.

    Parameters
    ----------
    metadata : ModelMetadata, optional
        The model's; None where it is not known yet.

    Raises
    ------
    BadSetting
        A field is unknown, missing, of the wrong type or makes no sense.
    """
    kind: type[ModelActorConfig] = load_object(settings.model.trading.actor_config)
    fields = {"model": settings.model.name, **({} if metadata is None else kind.metadata_fields(metadata))}
    if settings.model.spec is not None and "spec" in kind.__struct_fields__:
        fields["spec"] = settings.model.spec
    return config_from(kind, {**fields, **settings.model.actor}, "model.actor")


def strategy_configs(
    settings: LiveSettings, actor: ModelActorConfig, metadata: ModelMetadata | None
) -> list[PredictionStrategyConfig]:
    """Return the configs of the strategies, one for each instrument.

    Raises
    ------
    BadSetting
        As `actor_config`; also where fields are given that follow from others.
    """
    for name, follows_from in (("instrument_id", "model.actor"), ("close_on_stop", "node.flatten_on_stop")):
        expect(
            name not in settings.strategy, f"strategy without {name} (it follows from {follows_from}), got one with it"
        )
    instrument_ids = actor.subjects()
    for instrument_id in [] if settings.is_real else instrument_ids:
        name = engine_name(instrument_id.value)
        if name != instrument_id.value:
            raise BadSetting(
                f"model.actor: expected an instrument that NautilusTrader's simulated venue can trade, such as {name}, "
                f"got {instrument_id}"
            )
    path = settings.model.trading.strategy_config
    assert path is not None  # as the settings have checked
    kind: type[PredictionStrategyConfig] = load_object(path)
    if not (isinstance(kind, type) and issubclass(kind, PredictionStrategyConfig)):
        raise BadSetting(f"model.strategy: expected a PredictionStrategyConfig at {path}, got {kind!r:.80}")
    fields = {**settings.strategy, "close_on_stop": settings.node.flatten_on_stop}
    if metadata is not None:
        fields = kind.complete_fields(fields, metadata)
    return [
        config_from(kind, {**fields, **_about(settings, actor, instrument_id)}, "strategy")
        for instrument_id in instrument_ids
    ]


def _about(settings: LiveSettings, actor: ModelActorConfig, instrument_id: InstrumentId) -> dict[str, Any]:
    """Return the fields that follow from the instrument.

    A position that a real account has at the start is the strategy's, and one with what it adds: without these two
    NautilusTrader would keep both side by side, and close what the venue does not have. The only strategy of an actor
    of one instrument needs no tag.
    """
    owned = {"external_order_claims": [str(instrument_id)], "oms_type": "NETTING"} if settings.is_real else {}
    tag = {} if "instrument_id" in actor.__struct_fields__ else {"order_id_tag": order_id_tag(instrument_id)}
    return {"instrument_id": str(instrument_id), **owned, **tag}


def named(path: str, place: str) -> type:
    """Return the class at ``module:Class``.

    Raises
    ------
    BadSetting
        There is none, or its module raises as it is imported.
    """
    try:
        loaded = load_object(path)
    except InvalidArgument as error:
        raise BadSetting(f"{place}: {error}") from None
    if not isinstance(loaded, type):
        raise BadSetting(f"{place}: expected a class at {path}, got {type(loaded).__name__}")
    return loaded


def config_from(kind: type[C], fields: Mapping[str, Any], place: str) -> C:
    """Return a NautilusTrader config from a table of the file.

    Raises
    ------
    BadSetting
        A field is unknown, missing, of the wrong type or makes no sense.
    """
    known = kind.__struct_fields__
    for name in fields:
        if name not in known:
            raise BadSetting(f"{place}.{name}: expected a field of {kind.__name__}, got an unknown one")
    try:
        return msgspec.json.decode(msgspec.json.encode(fields), type=kind, dec_hook=msgspec_decoding_hook)
    except (msgspec.ValidationError, ValueError, TypeError, NameError) as error:
        raise BadSetting(f"{place}: {error}") from None
