"""The netfilter rules that bring packets to the filter, as text. Nothing here runs a command."""
