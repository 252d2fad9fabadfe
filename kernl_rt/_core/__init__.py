"""The pure half of a session: what it decides, without ever waiting.

``machine`` owns the parts and is the one way in; the parts each keep one ledger. Nothing here awaits, reads a clock or
draws a random number: time comes in as ``now``, ids are counted.
"""
