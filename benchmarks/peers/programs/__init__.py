"""What runs in a peer's own environment: its function, its producer, and how both are watched."""
