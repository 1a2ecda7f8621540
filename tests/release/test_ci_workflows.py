"""The CI files: their own rules, and their steps run as they stand against a real TorchServe."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ci_jobs import CI, check_out, github, gitlab, hand_over, run, run_github_job, run_gitlab_job
from deployment import Deployment

from nautilus_torchserve.mlflow_store import FILES_VARIABLE, REGISTRY_VARIABLE, URI_VARIABLE, tracking_store
from nautilus_torchserve.registry.registry import Registry
from nautilus_torchserve.signing.keys import make_key
from nautilus_torchserve.wire.digest import archive_digest

JOBS = ("build", "deploy", "roll-back")
RELEASE_STEP = "bash deploy/ci/release.sh "


def commands() -> dict[str, list[str]]:
    return {job: [step["run"] for step in github()["jobs"][job]["steps"] if "run" in step] for job in JOBS}


def uploaded(model: str) -> list[str]:
    """Return the files that the build hands to the deployment."""
    steps = github()["jobs"]["build"]["steps"]
    (upload,) = (step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", ""))
    return upload.replace("${{ env.MODEL }}", model).split()


def test_both_run_the_same_commands_in_the_same_order() -> None:
    assert {job: gitlab()[job]["script"] for job in JOBS} == commands()


def test_every_step_is_one_that_release_sh_knows() -> None:
    known = set(re.findall(r"^([a-z-]+)\)", (CI / "release.sh").read_text(), re.MULTILINE))

    called = {line.removeprefix(RELEASE_STEP) for lines in commands().values() for line in lines[1:]}

    assert called == known


def test_both_hand_over_the_same_files() -> None:
    assert uploaded("$MODEL") == gitlab()["build"]["artifacts"]["paths"]


def test_secrets_reach_single_steps_and_no_command_line() -> None:
    jobs = github()["jobs"]
    wide = [github().get("env", {}), *(job.get("env", {}) for job in jobs.values())]
    steps = [step for job in jobs.values() for step in job["steps"]]

    assert "secrets." not in json.dumps(wide)
    assert not [step for step in steps if "${{" in step.get("run", "")]
    with_key = {step["run"] for step in steps if "ARCHIVE_SIGN_KEY" in step.get("env", {})}
    with_token = {step["run"] for step in steps if "TORCHSERVE_MANAGEMENT_TOKEN" in step.get("env", {})}
    assert with_key == {RELEASE_STEP + "pack"}
    assert with_token == {RELEASE_STEP + name for name in ("roll-out", "roll-back", "label")}
    assert "set -x" not in (CI / "release.sh").read_text()


def test_github_gets_least_permissions_and_actions_of_one_major_version() -> None:
    workflow = github()
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    actions = [step["uses"] for step in steps if "uses" in step]

    assert workflow["permissions"] == {"contents": "read"}
    assert not [job for job in workflow["jobs"].values() if "permissions" in job]
    assert [name for name in actions if not re.fullmatch(r"actions/[a-z-]+@v\d+", name)] == []
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(JOBS)
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_one_deployment_at_a_time_and_none_is_broken_off() -> None:
    assert github()["jobs"]["deploy"]["concurrency"] == {"group": "deploy", "cancel-in-progress": False}
    assert "concurrency" not in github()["jobs"]["roll-back"]  # a pending job is cancelled by the next one
    assert {gitlab()[job]["resource_group"] for job in ("deploy", "roll-back")} == {"production"}
    assert not any(gitlab()[job]["interruptible"] for job in ("deploy", "roll-back"))


def test_rolling_back_happens_by_hand_only() -> None:
    assert gitlab()["roll-back"]["rules"] == [{"when": "manual", "allow_failure": True}]
    by_hand = "github.event_name == 'workflow_dispatch' && inputs.action == 'roll back'"
    assert github()["jobs"]["roll-back"]["if"] == by_hand
    triggers = github()[True]  # YAML 1.1 reads "on" as true
    assert "roll back" in triggers["workflow_dispatch"]["inputs"]["action"]["options"]


@pytest.mark.skipif(importlib.util.find_spec("check_jsonschema") is None, reason="check-jsonschema is not installed")
@pytest.mark.parametrize(
    ("file", "schema"), [("github.yml", "vendor.github-workflows"), ("gitlab-ci.yml", "vendor.gitlab-ci")]
)
def test_the_files_match_their_schemas(file: str, schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(CI / file)]

    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout


@dataclass(frozen=True)
class ReleaseSite:
    """A deployment with a registry of what its server serves, and the variables and secrets of its CI."""

    deployment: Deployment
    registry: Registry
    folder: Path
    variables: dict[str, str]
    secrets: dict[str, str]

    def serving(self) -> tuple[str, str]:
        """Version and digest that answer on the default route."""
        with self.deployment.target.connect("tick") as client:
            return client.metadata.version, client.metadata.archive_digest

    def check_out(self, name: str) -> Path:
        return check_out(self.folder / name, next(self.deployment.trusted.glob("*.pub")))

    def contexts(self, **inputs: str) -> dict[str, dict[str, str]]:
        """Return the contexts that expressions of a workflow can name."""
        return {"vars": self.variables, "secrets": self.secrets, "github": {"run_number": "7"}, "inputs": inputs}

    def leaked_secrets(self, output: str) -> list[str]:
        values = [line for secret in self.secrets.values() for line in secret.splitlines()]
        return [value for value in values if "PRIVATE KEY" not in value and value in output]


@pytest.fixture(scope="module")
def site(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReleaseSite]:
    folder = tmp_path_factory.mktemp("ci")
    with pytest.MonkeyPatch.context() as environment:
        for variable in (URI_VARIABLE, REGISTRY_VARIABLE, FILES_VARIABLE):
            environment.delenv(variable, raising=False)
        registry = Registry(folder / "mlflow", deployment.trusted)
        registry.add(deployment.make("1.0"))
        target = deployment.target
        variables = {
            "TORCHSERVE_MANAGEMENT_URL": target.management_url,
            "TORCHSERVE_INFERENCE_URL": target.inference_url,
            "TORCHSERVE_METRICS_URL": str(target.metrics_url),
            "TORCHSERVE_CONFIG": str(target.config),
            "MODEL_STORE": str(target.model_store),
            "TRAIN_ARGS": "--trades 6000 --epochs 2",
            "ROLLOUT_ARGS": "--watch 0.3 --drain 0.1 --latency-add-ms 1000",
        }
        secrets = {
            "ARCHIVE_SIGN_KEY": deployment.key.read_text(),
            "TORCHSERVE_MANAGEMENT_TOKEN": str(deployment.server.management_token),
            "TORCHSERVE_TOKEN": str(deployment.server.token),
            "MLFLOW_TRACKING_URI": tracking_store(folder / "mlflow"),
        }
        yield ReleaseSite(deployment, registry, folder, variables, secrets)


@pytest.mark.slow
def test_github_s_steps_release_a_version_and_roll_it_back(site: ReleaseSite) -> None:
    before = site.serving()
    build, deploy = site.check_out("build"), site.check_out("deploy")

    built = run_github_job("build", build, site.contexts())
    assert built.ok, built.output
    hand_over(uploaded("tick"), build, deploy)
    deployed = run_github_job("deploy", deploy, site.contexts())
    assert deployed.ok, deployed.output

    assert site.serving() == ("1.7", archive_digest(build / "build/tick.mar"))
    assert site.registry.find("tick", "production").version == "1.7"
    report = json.loads((deploy / "build/rollout.json").read_text())
    assert (report["ok"], report["version"], report["previous"]) == (True, "1.7", "1.0")

    back = run_github_job("roll-back", deploy, site.contexts(to=""))

    assert back.ok, back.output
    assert site.serving() == before
    assert site.registry.find("tick", "production").version == "1.0"
    assert site.leaked_secrets(built.output + deployed.output + back.output) == []

    (deploy / "build/rollout.json").write_text(json.dumps(report))  # as if the deployment's last step came only now
    late = run(["bash", "deploy/ci/release.sh", "label"], deploy, {**site.variables, **site.secrets})

    assert not late.ok
    assert "has to promote it" in late.output
    assert site.serving() == before


@pytest.mark.slow
def test_gitlab_s_steps_with_a_key_that_is_not_trusted_fail_and_leave_all_as_it_was(site: ReleaseSite) -> None:
    before, files = site.serving(), site.deployment.files()
    versions = [version.version for version in site.registry.versions("tick")]
    checkout = site.check_out("gitlab")
    make_key(site.folder / "stranger.key", site.folder / "stranger.pub")
    variables = {
        **site.variables,
        **site.secrets,
        "CI_PIPELINE_IID": "8",
        "ARCHIVE_SIGN_KEY": (site.folder / "stranger.key").read_text(),
    }

    built = run_gitlab_job("build", checkout, variables)
    deployed = run_gitlab_job("deploy", checkout, variables)

    assert built.ok, built.output
    assert not deployed.ok
    assert "expected a signature by a key in" in deployed.output
    assert (site.serving(), site.deployment.files()) == (before, files)
    assert [version.version for version in site.registry.versions("tick")] == versions
    assert site.leaked_secrets(built.output + deployed.output) == []
