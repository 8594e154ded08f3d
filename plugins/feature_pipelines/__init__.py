"""The running side of the feature store: sources, landing, orders, publishing, plan and the command line."""
