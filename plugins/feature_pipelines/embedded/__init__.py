"""The embedded environment: everything My-Feast needs, started and stopped on one machine."""
