"""The steps of one packet's path through the engine, a module each.

``permissions``  what a driver says of its packets: live or recorded
``core``         the state that all steps share, and the decisions of the call in progress
``passage``      one packet from its place in a stream to its verdict; normalising
``opening``      segments of no open connection; SYN, handshake, RST
``established``  whether a packet is believed, what it acknowledges and releases
``in_order``     inspection, repetitions, what must wait
``holding``      the held packets of all connections, within the bounds
``gap``          ACKs to the sender while segments beyond a gap are held
``timestamps``   timestamps of packets that were held
``waiting``      what waits in silence for a reply, or for the end of a line
``uninspected``  connections passed without inspection
``farewell``     the reply of the filter's own to a client whose connection is closed
``idle``         timeouts, and questions to the ends of an idle connection
``ending``       closing by inspection, what still passes afterwards, teardown
"""
