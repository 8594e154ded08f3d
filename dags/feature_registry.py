"""Airflow DAG that applies the feature definitions to the registry."""

from feature_pipelines.registry_dag import registry_dag

registry_dag()
