"""Airflow DAGs of the feature tables: one per file of spark_jobs/features."""

from feature_pipelines.table_dag import table_dag
from spark_jobs.features import feature_tables

for table in feature_tables().values():
    table_dag(table)
