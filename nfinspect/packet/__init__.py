"""Datagrams as bytes and offsets: IPv4, IPv6, TCP, checksums, editing, crafting."""
