"""The steps of one packet's path through the engine, a module each.

``core``         the state that all steps share: policy, options, table, ledger
``opening``      segments of no open connection; SYN, handshake, RST
``established``  acknowledgement, order, inspection, holding
``gap``          ACKs to the sender while segments beyond a gap are held
``timestamps``   timestamps of packets that were held
``uninspected``  connections passed without inspection
``ending``       closing by inspection, what still passes afterwards, teardown
``verdict``      normalising and passing one packet
"""
