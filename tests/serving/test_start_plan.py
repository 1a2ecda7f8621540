"""What a start checks before anything is started: versions that rollouts have left, and signatures."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from signed_archives import keys
from tick_versions import made

from nautilus_torchserve.release.rollout.journal import Journal, recorded_digests, write_journal
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.serving.server.properties import read_properties, set_property
from nautilus_torchserve.serving.server.snapshot import PROPERTY
from nautilus_torchserve.serving.server.start_plan import CONFIG, ServerSettings, StartFailed, plan_start
from nautilus_torchserve.serving.server.torchserve import (
    restart_server,
    start_server,
)
from nautilus_torchserve.signing.archive_signature import Untrusted, read_digest, sign_archive
from nautilus_torchserve.user_error import UserError
from support import PROJECT

SNAPSHOT = (
    '{"name":"rollout","modelCount":1,"created":1,"models":{"tick":{"1.0":{"defaultVersion":true,'
    '"marName":"tick-1.0.mar","minWorkers":1,"maxWorkers":1,"batchSize":1,"maxBatchDelay":1}}}}'
)


@pytest.fixture
def rolled_out(settings: ServerSettings, store: Path) -> ServerSettings:
    """A home and a model store in which a rollout has left tick 1.0 under a lasting name."""
    shutil.copyfile(store / "tick.mar", store / "tick-1.0.mar")
    settings.home.mkdir()
    (settings.home / CONFIG).write_text(f"model_store={store}\nload_models=tick=tick.mar\n")
    set_property(settings.home / CONFIG, PROPERTY, SNAPSHOT)
    target = Target("http://127.0.0.1:1", "http://127.0.0.1:1", store)
    (store / ".rollout").mkdir()
    digests = {"1.0": read_digest(store / "tick.mar")}
    write_journal(target, "tick", Journal(("1.0",), None, {"1.0": "tick-1.0.mar"}, digests))
    return replace(settings, remembered=recorded_digests)


def test_a_start_serves_the_versions_of_rollouts_or_names_the_remedy(rolled_out: ServerSettings, store: Path) -> None:
    plan = plan_start(rolled_out)

    assert list(plan.digests) == [("tick", "1.0")]
    assert read_properties(rolled_out.home / CONFIG)[PROPERTY] == plan.properties[PROPERTY] == SNAPSHOT
    assert plan.properties["inference_address"] != "http://127.0.0.1:8080"  # the rest is the configuration's
    assert list(plan_start(replace(rolled_out, fresh=True)).digests) == [("tick", None)]
    assert PROPERTY not in plan_start(replace(rolled_out, fresh=True)).properties
    for given in ({"models": {"tick": "tick.mar"}}, {"model_store": store.parent}):
        with pytest.raises(
            StartFailed, match=r"`nautilus-torchserve serve restart` serves tick 1\.0 again, `start --fresh` forgets"
        ):
            plan_start(replace(rolled_out, **given))


def test_an_archive_that_was_replaced_since_its_rollout_is_refused(rolled_out: ServerSettings, store: Path) -> None:
    known = read_digest(store / "tick.mar")
    made(store / "tick.mar", store / "tick-1.0.mar", "2.0", None)
    with pytest.raises(UnreadableArchive, match=r"tick-1\.0\.mar: expected tick 1\.0, got version 2\.0"):
        plan_start(rolled_out)
    changed = made(store / "tick.mar", store / "tick-1.0.mar", "1.0", None, "import math\n")
    with pytest.raises(UnreadableArchive, match=rf"tick 1\.0 with digest {known}, .*got digest {read_digest(changed)}"):
        plan_start(rolled_out)
    (store / "tick-1.0.mar").unlink()
    with pytest.raises(UnreadableArchive, match=r"tick-1\.0\.mar"):
        plan_start(rolled_out)


SNAPSHOTS = [
    "",
    "{",
    "[]",
    "{}",
    '{"models": 1}',
    '{"models": {"tick": {}}}',
    '{"models": {"tick": {"1.0": {}}}}',
    "[" * 9999,
    '{"models": {"tick": {"1.0": {"marName": 1}}}}',
    '{"models": {"tick": {"1.0": {"marName": ""}}}}',
]


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=range(len(SNAPSHOTS)))
def test_a_damaged_snapshot_is_one_sentence_at_start_and_restart(rolled_out: ServerSettings, snapshot: str) -> None:
    set_property(rolled_out.home / CONFIG, PROPERTY, snapshot)

    for command in (lambda: start_server(rolled_out), lambda: restart_server(rolled_out.home)):
        with pytest.raises(StartFailed, match="expected TorchServe's JSON of models and versions") as caught:
            command()
        assert len(str(caught.value)) < 700
    assert (rolled_out.home / CONFIG).is_file()


def test_a_damaged_journal_or_configuration_is_one_sentence(rolled_out: ServerSettings, store: Path) -> None:
    (store / ".rollout" / "tick.json").write_text("{")
    with pytest.raises(StartFailed, match=r"the rollout journal of tick, got JSON that ends early.*move .*tick\.json"):
        start_server(rolled_out)
    (rolled_out.home / CONFIG).write_bytes(b"\xef\xbb\xbfa=b")
    for command in (lambda: start_server(rolled_out), lambda: restart_server(rolled_out.home)):
        with pytest.raises(StartFailed, match="byte order mark"):
            command()


@pytest.fixture
def signed_store(settings: ServerSettings, store: Path, tmp_path: Path) -> ServerSettings:
    private, trusted = keys(tmp_path)
    sign_archive(store / "tick.mar", private)
    return replace(settings, models={"tick": "tick.mar"}, trusted=trusted)


def unsign(store: Path) -> None:
    made(store / "tick.mar", store / "unsigned.mar", "1.0", None).replace(store / "tick.mar")


def alter(store: Path) -> None:
    """Add code, and keep the signature."""
    with ZipFile(store / "tick.mar", "a") as archive:
        archive.writestr("sitecustomize.py", "print('evil')")


BAD_STORES: dict[str, tuple[Callable[[Path], object], str]] = {
    "unsigned": (unsign, "expected a signed archive, got an unsigned one"),
    "altered": (alter, "altered since alice signed it"),
    "of others": (lambda store: (store / "tick.mar").chmod(0o666), r"tick\.mar: .* got mode 0666 .*before TorchServe"),
    "open folder": (lambda store: store.chmod(0o777), "store: .* got mode 0777"),
    "other model": (lambda store: (store / "tick.mar").rename(store / "price.mar"), "no file|missing"),
}


@pytest.mark.parametrize(("damage", "reason"), BAD_STORES.values(), ids=BAD_STORES)
def test_an_archive_without_a_trusted_signature_is_not_started(
    signed_store: ServerSettings, store: Path, damage: Callable[[Path], object], reason: str
) -> None:
    assert plan_start(signed_store).digests[("tick", None)] == read_digest(store / "tick.mar")
    damage(store)

    with pytest.raises(UserError, match=reason):
        plan_start(signed_store)


def test_a_home_that_others_can_write_to_decides_nothing(signed_store: ServerSettings) -> None:
    signed_store.home.mkdir()
    signed_store.home.chmod(0o777)

    with pytest.raises(Untrusted, match=r"home: .* got mode 0777 .*says whose archives are trusted"):
        plan_start(signed_store)


def test_a_signed_archive_of_another_model_is_refused(signed_store: ServerSettings) -> None:
    assert plan_start(replace(signed_store, models={"tick-many": "tick.mar"}))
    for name in ("price", "ticker"):
        with pytest.raises(Untrusted, match=f"expected an archive of {name}, got one of tick"):
            plan_start(replace(signed_store, models={name: "tick.mar"}))


def test_keys_are_named_by_option_configuration_or_environment(
    signed_store: ServerSettings, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    production = PROJECT / "deploy" / "production.properties"
    assert plan_start(replace(signed_store, trusted=None)).digests[("tick", None)] is None  # not verified
    unsign(store)
    with pytest.raises(Untrusted, match=r"keys there: none|unsigned"):
        plan_start(replace(signed_store, trusted=None, config=production))
    monkeypatch.setenv("ARCHIVE_TRUSTED_KEYS", str(signed_store.trusted))
    with pytest.raises(Untrusted, match="unsigned"):
        plan_start(replace(signed_store, trusted=None))
    plan = plan_start(replace(signed_store, models={}, trusted=None, config=production))
    assert plan.properties["trusted_keys"] == str(PROJECT / "trusted_keys")
    assert plan.properties["token_expiration_min"] == "1440"  # of config.properties, which it includes
    assert "include" not in plan.properties


def test_an_archive_outside_the_model_store_is_refused(settings: ServerSettings, store: Path) -> None:
    for name in (f"{store}/tick.mar", "../store/tick.mar"):
        with pytest.raises(UnreadableArchive, match="a path that leaves it"):
            plan_start(replace(settings, models={"tick": name}))
