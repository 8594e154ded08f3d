"""Airflow DAGs that land the sources: one per module of feature_pipelines/sources."""

from feature_pipelines.landing_dag import landing_dag
from feature_pipelines.sources import sources

for source in sources().values():
    landing_dag(source)
