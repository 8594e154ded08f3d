"""deploy/ is valid as far as that can be known without a cloud, and agrees with the rest of the checkout about names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from spark_jobs.wheel import DISTRIBUTION, ENTRY_POINT, PARAMETER
from tests.services.downloads import cache

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "deploy"
NEEDS = ["--with", "python-hcl2==8.1.4", "--with", "pyyaml==6.0.3"]


def validate(folder: Path) -> subprocess.CompletedProcess[str]:
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "run", "--quiet", "--no-project", "--python", sys.executable, *NEEDS]
    variables = {**os.environ, "PATH": f"{uv.parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [*command, str(folder / "validate.py"), str(cache() / "deploy")],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture(scope="module")
def valid() -> str:
    """What the validator says of deploy/ as it is; skipped where its packages cannot be had."""
    done = validate(DEPLOY)
    if done.returncode and "findings" not in done.stdout:
        pytest.skip(f"the packages of the validator cannot be had: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_terraform_and_bundle_fit_the_providers_schemas(valid: str) -> None:
    assert valid.strip().endswith("0 findings")


@pytest.mark.parametrize(
    ("file", "old", "new", "finding"),
    [
        ("azure/storage.tf", "is_hns_enabled ", "is_hsn_enabled ", "azurerm_storage_account.lake: no argument 'is_hsn"),
        ("azure/storage.tf", "days = 14", "dayz = 14", "blob_properties.delete_retention_policy: no argument 'dayz'"),
        ("azure/redis.tf", "sku_name ", "#sku_name ", "azurerm_managed_redis.online: 'sku_name' is required"),
        ("azure/outputs.tf", ".hostname", ".host_name", "azurerm_managed_redis has no such attribute"),
        (
            "azure/databricks.tf",
            '"databricks_volume"',
            '"databricks_folder"',
            "no such type in cdktf-cdktf-provider-data",
        ),
        ("azure/databricks.tf", "var.node_type", "var.node_kind", "var.node_kind: not declared"),
        (
            "azure/events.tf",
            "namespace_id    =",
            "namespace       =",
            "azurerm_eventhub.weather: no argument 'namespace'",
        ),
        ("databricks/resources/compute.yml", "max_concurrent_runs", "max_runs", "Unexpected field 'max_runs'"),
        ("databricks/databricks.yml", "  policy_id:", "  policy:", "bundle: variable policy"),
    ],
)
def test_the_validator_finds_what_is_wrong(
    valid: str, tmp_path: Path, file: str, old: str, new: str, finding: str
) -> None:
    copy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    done = validate(copy)
    assert done.returncode == 1
    assert finding in done.stdout, done.stdout


def test_terraform_formats_it_like_this() -> None:
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("terraform is not installed")
    done = subprocess.run(
        [terraform, "fmt", "-check", "-diff", str(DEPLOY / "azure")], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_variable_of_the_environment_is_given_by_terraform_or_told_in_the_env_file() -> None:
    file = CHECKOUT / "feature_repo" / "environments" / "azure" / "feature_store.yaml"
    used = set(re.findall(r"\$\{(\w+)\}", file.read_text()))
    given = set(re.findall(r"^\W*(\w+)=", (DEPLOY / "azure" / "outputs.tf").read_text(), re.MULTILINE))
    told = set(re.findall(r"^#? ?(\w+)=", (DEPLOY / "azure" / "airflow.env").read_text(), re.MULTILINE))
    assert used <= given | told, used - given - told
    assert {"MY_FEAST_ENVIRONMENT", "AIRFLOW__SECRETS__BACKEND_KWARGS"} <= given


def test_the_vault_has_every_connection_that_azure_needs_under_the_name_airflow_asks_for() -> None:
    from airflow.providers.microsoft.azure.secrets.key_vault import AzureKeyVaultBackend

    text = (DEPLOY / "azure" / "vault.tf").read_text()
    made = {f"airflow-connections-{name}" for name in re.findall(r'^    "([a-z-]+)"\s+= {', text, re.MULTILINE)}
    ids = ["my_feast_cloud", "my_feast_registry", "my_feast_redis", "my_feast_events", "my_feast_logs"]
    asked = {AzureKeyVaultBackend.build_path("airflow-connections", name) for name in [*ids, "databricks_default"]}
    assert made == asked


def test_the_bundles_job_calls_what_the_wheel_has() -> None:
    job = yaml.safe_load((DEPLOY / "databricks" / "resources" / "compute.yml").read_text())["resources"]["jobs"][
        "compute"
    ]
    (task,) = job["tasks"]
    assert task["python_wheel_task"] == {
        "package_name": DISTRIBUTION,
        "entry_point": ENTRY_POINT,
        "named_parameters": {PARAMETER: f"{{{{job.parameters.{PARAMETER}}}}}"},
    }
    assert [parameter["name"] for parameter in job["parameters"]] == [PARAMETER]


def test_the_azure_environment_says_how_to_compute_on_databricks(monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_pipelines import environment
    from feature_pipelines.databricks_compute import DatabricksCompute

    file = CHECKOUT / "feature_repo" / "environments" / "azure" / "feature_store.yaml"
    for name in re.findall(r"\$\{(\w+)\}", file.read_text()):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("MY_FEAST_ENVIRONMENT", "azure")
    settings = DatabricksCompute.parse(environment.load().compute("cloud"))
    assert settings.new_cluster["node_type_id"] == "x"
