"""Renderings of events: syslog, JSON, counters, show text."""
