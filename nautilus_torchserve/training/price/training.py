"""What to train a price model with."""

from dataclasses import asdict, dataclass, field
from typing import Any

from nautilus_torchserve.features.bar import bar_schema
from nautilus_torchserve.training.price.fit import BarFitConfig
from nautilus_torchserve.training.price.networks import describe_network
from nautilus_torchserve.user_error import InvalidArgument


@dataclass(frozen=True)
class PriceTraining:
    """What to train, and how."""

    network: str = "price_lstm"
    """One of `training.price.networks.NETWORKS`."""
    network_config: dict[str, Any] = field(default_factory=dict)
    """Fields of the network's config that differ from its defaults."""
    fit: BarFitConfig = field(default_factory=BarFitConfig)
    """How to fit."""
    indicators: bool = False
    """Whether windows have the columns of `features.indicators`."""
    folds: int = 4
    """Test parts of the walk-forward evaluation."""
    max_gap_ns: int | None = None
    """Bars further apart than this are in no common window; None:
    `training.price.dataset.default_max_gap_ns`.
    """
    device: str = "cpu"
    """``cpu`` or ``cuda``."""
    threads: int = 1
    """Of the CPU; more fit large networks quicker, and come to other last bits."""

    def __post_init__(self) -> None:
        for name in ("folds", "threads"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} of at least 1 expected, was {getattr(self, name)}")
        self.describe_network()  # refuses an unknown network and a config that does not fit it

    def describe_network(self) -> dict[str, Any]:
        """``model.json``'s ``network``: which module builds it, and its whole config."""
        return describe_network(self.network, len(bar_schema(self.indicators).columns), self.network_config)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, every field of the network's config included."""
        return {**asdict(self), "network_config": self.describe_network()["config"]}
