"""Datagrams as bytes and offsets.

segment.py finds the TCP segment in a datagram, options.py reads and cleans its options, checksum.py
verifies and computes, edit.py and split.py make other datagrams of one, craft.py makes new ones.
Nothing here knows a connection. docs/packets.md says what is dropped and changed.
"""
