"""Live filtering: NFQUEUE in, verdicts out, and the running filter's control socket.

The engine decides; here is the plumbing, one file a pipe:

- ``queue`` the one user of NetfilterQueue; ``nfnetlink`` the kernel's messages; ``queue_table`` the
  kernel's own figures; ``obstacles`` why a queue cannot be had
- ``worker`` the loop: arrivals to the engine, actions to the queue; ``injection`` the raw sockets
- ``lines`` stdout that never blocks the loop; ``control`` the Unix socket; ``notify`` systemd
- ``iptables`` applying what `nfinspect.rules` wrote; ``flowtables`` what would go past those rules
"""
