"""The one bit of the packet mark that is nfinspect's. The others are left to VPN, QoS and routing.

It says "not to be taken for an ordinary packet", in two places that have nothing in common:

- on a packet of the filter's own, in OUTPUT: connection tracking must not see it
- on a frame that a bridge forwards: it is in a VLAN or a PPPoE session, and a queued packet does not
  show which; the filter cannot answer on the same way
"""

MARK = MASK = 0x0800_0000
"""Tested and set with the mask, never as a whole mark."""
