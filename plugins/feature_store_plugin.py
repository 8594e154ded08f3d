"""What Airflow itself loads from this repository; everything else below plugins/ is a library."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from feature_pipelines import pool_listener


class FeatureStorePlugin(AirflowPlugin):
    """Listeners of the feature store."""

    name = "feature_store"
    listeners = [pool_listener]  # noqa: RUF012 - Airflow declares it as an instance's variable and reads the class's
