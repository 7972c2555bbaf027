"""Client, filter and server as network namespaces, with real mail servers, captures and a demo.

`topology` says what stands where; `lab.Lab` is such a lab in use: it runs programs in the
namespaces, captures on their interfaces, starts the filter. `postfix` and `exim` are mail servers
that live in a directory of the lab, `dialogue` a client and a server that do byte for byte what
they are told, `capture` reads back what was captured. `demo` is the show of it all.
"""
