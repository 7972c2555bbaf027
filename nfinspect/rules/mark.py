"""The one bit of marks that nfinspect uses; the others are left to VPN, QoS and routing.

It has three unrelated uses:

- on a packet that the filter sends, in OUTPUT: connection tracking must not see it
- on a frame that a bridge forwards: it is in a VLAN or a PPPoE session. The queue does not show
  which, so the filter cannot inject packets there.
- on a connection, in conntrack's mark: it is exempt, and its packets are not queued
"""

MARK = MASK = 0x0800_0000
"""Always tested and set with the mask, never as a whole mark."""
