"""Replaying captures through the engine.

``capture`` reads files, ``link`` finds the datagrams, ``fragments`` reassembles them, ``driver``
drives the engine with them, ``records`` and ``result`` are the report, ``spool`` keeps it on disk,
and ``output`` writes what leaves the filter.
"""
