"""Feast on a hybrid lakehouse: Delta tables, an exact Redis materialization engine, offline reads, a safe registry."""
