"""Settings of a price model's training, from a configuration file, single settings and defaults."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from nautilus_torchserve.features.bar import bar_schema
from nautilus_torchserve.models.spec import load_object
from nautilus_torchserve.models.table import PRICE
from nautilus_torchserve.training.fit.loop import check_at_least
from nautilus_torchserve.training.price.fit import PriceFitConfig
from nautilus_torchserve.training.runs.config import choose_device, read_config
from nautilus_torchserve.user_error import InvalidArgument


@dataclass(frozen=True)
class PriceTraining:
    """Settings of a training: the network, and its fit."""

    network: str = PRICE.networks[0].name
    """Name of one of the networks of `models.table.PRICE`."""
    network_config: dict[str, Any] = field(default_factory=dict)
    """Fields of the network's config that differ from its defaults."""
    fit: PriceFitConfig = field(default_factory=PriceFitConfig)
    """Settings of the fit."""
    indicators: bool = False
    """Whether windows have the columns of `features.bar`."""
    folds: int = 4
    """Number of test parts of the walk-forward evaluation."""
    max_gap_ns: int | None = None
    """Longest time between two bars of a window (ns); None: `training.price.dataset.default_max_gap_ns`."""
    device: str = "cpu"
    """``cpu`` or ``cuda``."""
    threads: int = 1
    """Number of CPU threads. More fit large networks faster, and give other last bits."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "folds", "threads")
        self.describe_network()  # refuses an unknown network and a config that does not fit it

    def describe_network(self) -> dict[str, Any]:
        """Return the ``network`` of ``model.json``: the module that builds it, and its whole config.

        Raises
        ------
        InvalidArgument
            There is no such network, or its config has no such field or does not take a value.
        """
        network = PRICE.network(self.network)
        config_class = load_object(network.config)
        known = [field.name for field in fields(config_class)]
        for name in self.network_config:
            if name not in known:
                raise InvalidArgument(f"expected a field of {self.network} ({', '.join(known)}), got {name!r}")
        inputs = len(bar_schema(self.indicators).columns)
        try:
            config = config_class(**{**self.network_config, "inputs": inputs})
        except ValueError as error:  # a condition of the network, which raises none of our errors
            raise InvalidArgument(f"{self.network}: {error}") from None
        return {"module": network.module, "config": asdict(config)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, every field of the network's config included."""
        return {**asdict(self), "network_config": self.describe_network()["config"]}


def price_training(
    network: str,
    config: Path | None = None,
    settings: Sequence[str] = (),
    indicators: bool | None = None,
    device: str = "auto",
    **options: Any,
) -> PriceTraining:
    """Put a training together. Later entries of this list override earlier ones:

    1. the defaults of the network's config and of `PriceFitConfig`;
    2. a configuration file, as tuning writes it;
    3. single settings, ``network.hidden=64`` or ``fit.learning_rate=0.002``.

    Parameters
    ----------
    indicators : bool, optional
        Whether windows have indicator columns; None: as the network's spec says.
    device : str
        ``cpu``, ``cuda``, or ``auto`` for CUDA where there is one.
    **options
        Further fields of `PriceTraining`.

    Raises
    ------
    BadConfig
        No training accepts the file, a key or a value.
    InvalidArgument
        There is no such network.
    """
    spec = PRICE.network(network)
    sections = read_config(config, {"network": load_object(spec.config), "fit": PriceFitConfig}, settings)
    network_config = {name: value for name, value in asdict(sections["network"]).items() if name != "inputs"}
    if indicators is None:
        indicators = bool(spec.schema.get("indicators", False))
    return PriceTraining(network, network_config, sections["fit"], indicators, device=choose_device(device), **options)
