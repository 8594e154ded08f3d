"""The Spark side of My-Feast: contracts, transforms, compute and audit; ships to a cluster with nothing but pyspark."""
