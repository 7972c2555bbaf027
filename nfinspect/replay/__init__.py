"""Captures through the engine.

``capture`` reads, ``link`` finds the datagrams, ``fragments`` puts them together, ``driver`` drives
the engine with them, ``records`` and ``result`` are what is told, ``spool`` keeps it on disk, and
``output`` writes what leaves the filter.
"""
