"""Client, filter and server as network namespaces."""
