"""The one bit of the packet mark that is nfinspect's. The others are left to VPN, QoS and routing."""

MARK = MASK = 0x0800_0000
"""On packets that the filter makes itself. Tested and set with the mask, never as a whole mark."""
