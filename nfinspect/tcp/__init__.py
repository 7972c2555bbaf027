"""What is known of a connection.

``connection``   a connection and its phase
``stream``       one direction, which keeps its own books
``handshake``    SYN, handshake, RST
``memory``       bytes passed and not yet acknowledged
``gap``          what has been reported of segments beyond a gap
``placed``       a segment at its place in a stream
``inspection``   what the engine knows of an inspection
``table``        all connections, and those that are over
``timers``       when which is due; ``timeouts``: after how long
``admission``    who may open a connection: counts and limits
``limits``       the bounds, and the ledger of the totals
``ranges``       sets of sequence numbers
``sequence``     wrap-around
"""
