"""The steps of one packet's way through the engine, each in the module of its name.

``core``         what all steps share: policy, options, table, ledgers
``opening``      a segment of no open connection; SYN, handshake, RST
``established``  acknowledgement, order, inspection, holding
``uninspected``  bytes that pass as they are
``ending``       closing by inspection, what still passes afterwards, teardown
``verdict``      normalising and passing one packet
"""
