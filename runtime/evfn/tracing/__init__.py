"""OpenTelemetry, where it is installed and asked for: a span for every attempt, and for every event that is published.

Nothing here imports it before it is needed, and nothing outside of this package does.
"""
