"""Transitions to an alias: on the server first, in the registry afterwards."""

import shutil
from collections.abc import Iterator

import pytest
from deployment import QUICK, Deployment
from msgspec.structs import replace
from tick_versions import made

from nautilus_torchserve.mlflow_store import FILES_VARIABLE, REGISTRY_VARIABLE, URI_VARIABLE
from nautilus_torchserve.registry.registry import Registry, RegistryRefused
from nautilus_torchserve.registry.transitions import differences, transition
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import PendingChange, read_journal, write_journal
from nautilus_torchserve.release.rollout.rollout import register
from nautilus_torchserve.release.rollout.status import model_status
from nautilus_torchserve.release.rollout.target import Target

"""Limits without gates that take time."""


@pytest.fixture(scope="module")
def registry(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with 1.0, which the deployment's server serves."""
    with pytest.MonkeyPatch.context() as environment:
        for variable in (URI_VARIABLE, REGISTRY_VARIABLE, FILES_VARIABLE):
            environment.delenv(variable, raising=False)
        registry = Registry(tmp_path_factory.mktemp("deployment-registry"), deployment.trusted)
        registry.add(deployment.make("1.0"))
        yield registry


def serves(target: Target) -> tuple[str, str]:
    """Return version and digest on the default route."""
    with target.connect("tick") as client:
        return client.metadata.version, client.metadata.archive_digest


@pytest.mark.slow
def test_an_alias_is_set_once_the_server_serves_its_version_and_not_before(
    registry: Registry, deployment: Deployment
) -> None:
    target = deployment.target
    digests = {version: registry.add(deployment.make(version)).version.digest for version in ("1.0", "2.0", "3.0")}

    def to(version: str, alias: str, limits: Limits = QUICK) -> tuple[str | None, tuple[str, ...], list[str]]:
        done = transition(registry, target, "tick", version, alias, deployment.trusted, limits)
        left = differences(registry.versions("tick"), model_status(target, "tick"))
        return done.report and done.report.outcome, done.version.aliases, left

    assert differences(registry.versions("tick"), model_status(target, "tick")) == [
        "production is no version, the server's default version is 1.0"
    ]
    assert to("1.0", "production") == (None, ("production",), [])
    for alias in ("staging", "archived"):
        with pytest.raises(RegistryRefused, match="expected a version that does not serve"):
            to("1.0", alias)
    with pytest.raises(RegistryRefused, match="already, got one that has to register it"):
        transition(registry, target, "tick", "2.0", "production", deployment.trusted, QUICK, roll_out=False)
    assert to("2.0", "staging") == ("candidate", ("staging",), [])
    assert serves(target) == ("1.0", digests["1.0"])
    assert to("staging", "production") == ("serving", ("production",), [])
    assert serves(target) == ("2.0", digests["2.0"])
    assert to("1.0", "archived") == ("removed", ("archived",), [])
    assert set(target.manager().versions("tick")) == {"2.0"}
    assert to("3.0", "production", Limits(watch_s=0.0, latency_ratio=0.0, latency_add_ms=0.0)) == ("undone", (), [])
    assert serves(target) == ("2.0", digests["2.0"])
    assert registry.find("tick", "production").version == "2.0"
    assert to("3.0", "archived") == (None, ("archived",), [])
    assert to("archived", "production") == ("serving", ("production",), [])
    assert serves(target) == ("3.0", digests["3.0"])
    target.manager().set_default("tick", "2.0")
    assert differences(registry.versions("tick"), model_status(target, "tick")) == [
        "production is 3.0, the server's default version is 2.0"
    ]


@pytest.mark.slow
def test_other_content_under_a_registered_version_is_not_promoted(registry: Registry, deployment: Deployment) -> None:
    registered = registry.add(deployment.make("4.0")).version
    other = made(deployment.archive, deployment.folder / "other.mar", "4.0", deployment.key, code="\n# changed")
    assert register(deployment.target, "tick", other, deployment.trusted, QUICK, promote=False).ok

    with pytest.raises(RegistryRefused, match=f"expected the registered digest {registered.digest[:12]} on the server"):
        transition(registry, deployment.target, "tick", "4.0", "production", deployment.trusted, QUICK)

    messages = differences(registry.versions("tick"), model_status(deployment.target, "tick"))
    assert [line for line in messages if line.startswith("4.0 has digest")]
    assert registry.find("tick", "4.0").aliases == ()


@pytest.mark.slow
def test_remainder_of_a_killed_rollout_is_gated_before_staging(registry: Registry, deployment: Deployment) -> None:
    archive, manager = deployment.make("5.0"), deployment.target.manager()
    registry.add(archive)
    shutil.copy(archive, deployment.server.model_store / "tick-5.0.mar")
    left = PendingChange("register", "5.0", manager.default_version("tick"), file="tick-5.0.mar", registers=True)
    write_journal(deployment.target, "tick", replace(read_journal(deployment.target, "tick"), under_way=left))
    manager.register("tick-5.0.mar", model_name="tick", batch_size=1, max_batch_delay=1)
    manager.wait_ready("tick", "5.0")

    done = transition(registry, deployment.target, "tick", "5.0", "staging", deployment.trusted, QUICK)

    assert done.report is not None
    assert "golden" in [step.name for step in done.report.steps]
    assert done.version.aliases == ("staging",)
