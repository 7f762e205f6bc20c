"""What an instance on a server answers over HTTP: whether it lives, whether it is ready, its metrics, its backlog."""
