"""A world in virtual time: two model TCP endpoints, hostile links, the engine between them.

Written without the package's own packet code, so that it can check it.
"""
