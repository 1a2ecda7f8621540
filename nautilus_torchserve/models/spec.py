"""What the rest of the system needs to know about one kind of model.

A `ModelSpec` names everything that is specific to a model; `models.table` has those of the built-in models. Training,
packing, serving, trading and reporting look a spec up and follow it, so that another model is another spec.

Whatever is heavy to import (networks, recipes, actors, strategies, pages) is a string ``"package.module:Name"``, which
`load_object` imports where it is needed. A spec itself imports neither torch nor NautilusTrader nor TorchServe.

Code that works for every model reaches model-specific objects through the spec and `load_object` only. Code that is
named by one spec (a training recipe, an evaluation page) is about that one model and imports its network directly.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from nautilus_torchserve.bundle import BUNDLE, LIBRARY_ROOT
from nautilus_torchserve.models.json_mapping import JsonMapping
from nautilus_torchserve.user_error import InvalidArgument, UserError

ACTIVATIONS = ("softmax", "sigmoid")
"""Activations that are known by name."""
GENERIC_MODEL = "nautilus_torchserve.inference.models.generic:GenericModel"
"""Inference class of rows or windows of numbers."""
GENERIC_HANDLER = "handlers/model_handler.py"
"""Handler of all models whose ``model.json`` names their inference class."""


@dataclass(frozen=True)
class Network:
    """One network of the bundle that can be trained as a model."""

    name: str
    """What ``--model`` calls it."""
    config: str
    """Its frozen configuration, in the module of ``model_defs`` whose ``build(config)`` makes the network."""
    schema: Mapping[str, object] = field(default_factory=dict)
    """Arguments of the feature schema that differ from their defaults."""
    search: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Fields of the configuration that tuning chooses, with the values to choose from."""

    def __post_init__(self) -> None:
        _check_fields(self, "name", "config")

    @property
    def module(self) -> str:
        """Module of the network: ``model_defs.price_lstm``."""
        return self.config.partition(":")[0]


@dataclass(frozen=True)
class Output:
    """One output of a model."""

    name: str
    """Its key in a response and in a prediction."""
    unit: str = "1"
    """Its unit: ``bps``, ``quote`` for a price, ``1`` for a pure number."""
    label: str | None = None
    """What a sentence about it calls it; None: its name."""

    def __post_init__(self) -> None:
        _check_fields(self, "name", "unit")
        if not self.name.isprintable():
            raise InvalidArgument(f"Output: expected a name of printable characters, got {self.name!r:.80}")


@dataclass(frozen=True)
class FeatureSet:
    """What a model is given for one prediction."""

    data: tuple[str, ...]
    """NautilusTrader's data that features are computed from, as ``streaming`` is given them:

    ========================================  =======================================================
    ``trades``, ``quotes``, ``depth``         `TradeTick`, `QuoteTick`, `OrderBookDepth10`
    ``bars:1-MINUTE-LAST-INTERNAL``           `Bar`; ``EXTERNAL`` ones come from a file or a venue
    ``custom:package.module:Class``           data of a class of your own
    ``trades:ETHUSDT.BINANCE``                those of another instrument than the predicted one;
                                              likewise ``bars:ETHUSDT.BINANCE-1-MINUTE-LAST-INTERNAL``
    ``bars``, ``texts``                       of built-in models: bars of the length that an archive
                                              names, and headlines
    ========================================  =======================================================
    """
    schema: str
    """The `FeatureSchema`, or a function that returns it and has a default for each parameter."""
    streaming: str | None = None
    """Class that is given the data one by one and returns rows, see `features.streaming.StreamingFeatures`; those of
    built-in models are fed by actors of their own. None where inputs are not computed from market data."""
    vectorised: str | None = None
    """Function over arrays that returns the rows of ``streaming`` bit for bit; None: ``streaming`` runs over arrays."""
    warm_up: int = 0
    """Number of rows at the beginning of the data whose values depend on where the data begin, as those of an
    exponential average do. They are no inputs: no prediction is requested for them, and none is trained on."""

    def __post_init__(self) -> None:
        _check_fields(self, "schema", data=str)

    def load_schema(self, **arguments: object) -> Any:
        """Return the `FeatureSchema`, for arguments of its function that differ from their defaults.

        Raises
        ------
        InvalidArgument
            There is none at ``schema``.
        """
        schema = load_object(self.schema)
        if callable(schema):
            with _running(self.schema):
                schema = schema(**arguments)
        if not hasattr(schema, "row_shape"):
            raise InvalidArgument(f"{self.schema}: expected a FeatureSchema, got {type(schema).__name__}")
        return schema


@dataclass(frozen=True)
class GoldenRule:
    """How the golden inputs of an archive are chosen: evenly spread over the test part."""

    inputs: int
    """Number of golden inputs."""
    tolerance: float
    """Largest difference of golden outputs on another device or library version: relative, absolute below 1."""


GOLDEN = GoldenRule(inputs=64, tolerance=1e-4)
"""Rule of a spec that has none of its own."""


@dataclass(frozen=True)
class TrainingRecipe:
    """How a model is fitted."""

    command: str
    """Function that the command line calls: its parameters are the options of ``train NAME``."""
    page: str | None = None
    """Function ``(evaluation, folder) -> path`` that writes the evaluation page; None: there is no page."""
    members: tuple[str, ...] = ()
    """Models whose runs become part of this one's, each in a folder of that name."""


@dataclass(frozen=True)
class Trading:
    """How predictions of a model are made and used in a backtest and live."""

    actor: str = "nautilus_torchserve.trading.features.actor:FeatureActor"
    """Actor that computes inputs from market data and publishes predictions."""
    actor_config: str = "nautilus_torchserve.trading.features.actor:FeatureActorConfig"
    """Configuration of the actor."""
    strategy: str | None = None
    """Strategy that trades on the predictions where the user names no other; None: there is none."""
    strategy_config: str | None = None
    """Configuration of the strategy."""

    def with_strategy(self, path: str) -> "Trading":
        """Return the same with another strategy, ``my_strategies:Momentum``, whose config is ``MomentumConfig``."""
        return replace(self, strategy=path, strategy_config=f"{path}Config")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One kind of model: what it is called, what goes in, what comes out; the rest has defaults."""

    name: str
    """Name in commands, run folders, archives and URLs; `models.table.spec_of` knows the built-in ones by it."""
    networks: tuple[Network, ...] = ()
    """Networks that can be trained; the first is the default. None for a program (TorchScript, ONNX, torch.export)."""
    features: FeatureSet
    """Inputs."""
    outputs: tuple[Output, ...]
    """Outputs, in the order of a response."""
    activation: str | None = None
    """Function from the network's outputs to the model's: ``softmax`` (probabilities that sum to 1), ``sigmoid``
    (probabilities), ``model_defs.module:function`` (float32 [n, k] -> [n, outputs], row by row), or None."""
    inference: str = GENERIC_MODEL
    """Class that turns decoded inputs into outputs and explanations."""
    golden: GoldenRule = GOLDEN
    """Golden inputs of an archive."""
    handler: str = GENERIC_HANDLER
    """File of the bundle that TorchServe loads."""
    training: TrainingRecipe | None = None
    """How it is fitted; None where run folders come from elsewhere, such as `training.runs.save.save_run`."""
    trading: Trading = Trading()
    """How it is traded on."""
    mapping: JsonMapping | None = None
    """Requests and answers of a model of another make, which a server has and this library does not pack; None: the
    model is one of this library's archives, which describe themselves."""

    def __post_init__(self) -> None:
        _check_fields(self, "name", "inference", "handler", networks=Network, outputs=Output)
        if not isinstance(self.features, FeatureSet):
            raise InvalidArgument(f"{self.name}: expected features as a FeatureSet, got {self.features!r:.80}")
        names = [output.name for output in self.outputs]
        if not names or len(set(names)) != len(names):
            raise InvalidArgument(f"{self.name}: expected outputs of different names, got {', '.join(names) or 'none'}")
        is_path = isinstance(self.activation, str) and ":" in self.activation
        if self.activation is not None and self.activation not in ACTIVATIONS and not is_path:
            raise InvalidArgument(
                f"{self.name}: expected an activation of {', '.join(ACTIVATIONS)}, None, or "
                f"model_defs.module:function, got {self.activation!r}"
            )
        if self.activation == "softmax" and len(names) < 2:
            raise InvalidArgument(
                f"{self.name}: expected at least 2 outputs for softmax, which is 1 for a single one, got {names[0]}: "
                "use sigmoid"
            )
        if self.mapping is not None:
            self._check_mapping(self.mapping)

    def _check_mapping(self, mapping: JsonMapping) -> None:
        if not isinstance(mapping, JsonMapping):
            raise InvalidArgument(f"{self.name}: expected mapping as a JsonMapping, got {mapping!r:.80}")
        names, mapped = [output.name for output in self.outputs], list(mapping.outputs)
        if set(names) != set(mapped):
            raise InvalidArgument(
                f"{self.name}: expected a mapping of the outputs {', '.join(names)}, got one of "
                f"{', '.join(map(str, mapped)) or 'none'}"
            )
        if self.networks or self.activation is not None:
            raise InvalidArgument(
                f"{self.name}: expected neither networks nor an activation beside a mapping (the server's own model "
                "computes the outputs), got some"
            )

    def network(self, name: str) -> Network:
        """Return the network of this name.

        Raises
        ------
        InvalidArgument
            There is none.
        """
        for network in self.networks:
            if network.name == name:
                return network
        raise InvalidArgument(
            f"expected a network of {', '.join(network.name for network in self.networks)}, got {name!r}"
        )


def _check_fields(owner: object, *texts: str, **members: type) -> None:
    """Raise `InvalidArgument` where fields are no texts, or no tuples of members of a class."""
    title = type(owner).__name__
    for name in texts:
        if not isinstance(value := getattr(owner, name), str) or not value:
            raise InvalidArgument(f"{title}: expected {name} as a text, got {value!r:.80}")
    for name, kind in members.items():
        values = getattr(owner, name)
        if not isinstance(values, tuple | list) or not all(isinstance(value, kind) for value in values):
            raise InvalidArgument(f"{title}: expected {name} as a tuple of {kind.__name__}, got {values!r:.80}")


def check_objects(spec: ModelSpec) -> None:
    """Check that what a spec of the user's names is there; of networks, where torch is installed.

    Raises
    ------
    InvalidArgument
        It is not, or is something else.
    """
    spec.features.load_schema()
    if find_spec("torch") is None:
        return  # a host that trades builds no networks
    for network in spec.networks:
        _check_packed(network.config)
        config = load_object(network.config)
        if not (isinstance(config, type) and is_dataclass(config)):
            raise InvalidArgument(f"{network.config}: expected a frozen dataclass, got {config!r:.80}")
        _check_callable(f"{network.module}:build")
    if spec.activation is not None and spec.activation not in ACTIVATIONS:
        _check_packed(spec.activation)
        _check_callable(spec.activation)
    if spec.inference != GENERIC_MODEL:
        _check_callable(spec.inference)


def _check_packed(path: str) -> None:
    if not re.fullmatch(r"model_defs\.[a-z0-9_]+:\w+", path):
        raise InvalidArgument(f"expected model_defs.module:Name, a module that archives hold, got {path!r:.100}")


def _check_callable(path: str) -> None:
    if not callable(value := load_object(path)):
        raise InvalidArgument(f"{path}: expected a function or a class, got {type(value).__name__}")


def load_object(path: str) -> Any:
    """Import the object that a spec names as ``"package.module:Name"``, with the bundle importable.

    Raises
    ------
    InvalidArgument
        The text has another form, or there is no such object, or its module, of the user, raises as it is imported.
    """
    module, colon, name = path.partition(":")
    if not colon or not module or not name.isidentifier():
        raise InvalidArgument(f"expected package.module:Name, got {path!r}")
    with _running(path):
        imported = load_module(module)
    if not hasattr(imported, name):
        raise InvalidArgument(f"{path}: expected an object of {module}, got none named {name}")
    return getattr(imported, name)


@contextmanager
def _running(path: str) -> Iterator[None]:
    """Raise `InvalidArgument` for whatever code of the user's at ``path`` raises."""
    module = path.partition(":")[0]
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            raise InvalidArgument(f"{path}: expected a module, got none named {error.name}") from None
        if module.startswith("nautilus_torchserve."):
            raise  # a package that the library needs is missing
        raise InvalidArgument(f"{path}: {describe_failure(error)}") from error


def describe_failure(error: BaseException) -> str:
    """Return where code of the user's raised, and what: ``model_defs/my_model.py:3: ValueError: no``."""
    if isinstance(error, SyntaxError):
        return f"{_place(error.filename, error.lineno)}SyntaxError: {error.msg}"
    own = [
        frame
        for frame in extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and not any(part in frame.filename for part in _NOT_OF_THE_USER)
    ]
    place = _place(own[-1].filename, own[-1].lineno) if own else ""
    message = " ".join(str(error).split())
    remedy = _remedy(error, Path(own[-1].filename)) if own else ""
    return f"{place}{type(error).__name__}{f': {message:.300}' if message else ''}{remedy}"


def _place(file: str | None, line: int | None) -> str:
    if file is None or line is None:
        return ""
    path = Path(file)
    return f"{path.relative_to(BUNDLE) if path.is_relative_to(BUNDLE) else path}:{line}: "


_NOT_OF_THE_USER = (
    "<frozen ",
    "site-packages",
    str(LIBRARY_ROOT / "nautilus_torchserve"),
    str(Path(os.__file__).parent),
)
"""Parts of the names of files whose lines say nothing to the user: they run what is the user's."""


def _remedy(error: BaseException, path: Path) -> str:
    """Return the import that finds a module that lies beside the one that imports it."""
    if isinstance(error, ModuleNotFoundError) and error.name and path.with_name(f"{error.name}.py").is_file():
        return f": import it from its package, as {path.parent.name}.{error.name}"
    return ""


def load_module(name: str) -> ModuleType:
    """Import a module of the library or of the bundle."""
    if str(BUNDLE) not in sys.path:
        sys.path.append(str(BUNDLE))
    return import_module(name)
