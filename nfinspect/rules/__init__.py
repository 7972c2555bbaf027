"""The netfilter rules that divert packets to the filter, as text. Nothing here runs a command."""
