"""Captures through the engine."""
