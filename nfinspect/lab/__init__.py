"""A lab: client, filter and server in network namespaces, with real mail servers and captures.

`topology` defines and builds the namespaces, `place` is the directory of a lab, `namespaces` runs
programs in them; `lab.Lab` is a lab in use: it also captures on their interfaces, and starts the
filter. `standing` is one that stays up for people, and `condition` tells what there is of it. `postfix`
and `exim` are mail servers, each in a directory of the lab; `dialogue` has a client and a server that
send exactly the given bytes. `cases` is the table of test cases, `case` runs one. `streams` reads
captures, `comparison` compares both sides of the filter, and `demo` shows it all. `gateway_receiver`
and `gateway_sender` are email gateways with the `mail_log` of AsyncOS.
"""
