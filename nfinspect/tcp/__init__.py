"""Connections, their two streams, and the connection table."""
