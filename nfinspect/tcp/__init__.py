"""Connections, their two streams, and the table that holds them."""
