"""Live filtering: packets from NFQUEUE, verdicts back, and the running filter's control socket.

The engine decides; this package connects it to the system:

- ``queue`` the only user of NetfilterQueue; ``netlink`` and ``nfnetlink`` the kernel's messages;
  ``queue_table`` the kernel's own counters; ``obstacles`` why a queue is not available
- ``service`` one worker's parts, put together
- ``worker`` the loop: arrivals to the engine, actions to the queue; ``injection`` sending packets;
  ``conntrack`` how they must set out
- ``lines`` stdout that never blocks the loop, ``log_format`` how its lines look; ``control``,
  ``requests`` and ``status`` the Unix socket and its answers; ``notify`` systemd
- ``survey`` what the system does with mail, ``misfits`` what is wrong with that, ``watch`` telling
  so, ``overview`` in a few lines
- ``reload`` another policy; ``aside`` work that must not hold up packets
- ``iptables`` and ``bridge`` apply what `nfinspect.rules` generates; ``flowtables`` finds what
  would bypass those rules
"""
