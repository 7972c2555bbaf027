"""Datagrams as bytes and offsets.

segment.py finds the TCP segment in a datagram, options.py reads and cleans its options, checksum.py
verifies and computes checksums, edit.py changes a datagram, split.py splits one, craft.py makes new
ones. Nothing here depends on a connection. docs/packets.md says what is dropped and changed.
"""
