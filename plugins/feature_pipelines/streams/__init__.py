"""Event streams as sources: what a raw interval of a stream is, and the two ways to read one (Kafka protocol, Capture)."""
