"""The rules of a session, one small function per input: ``rule(state, input, now)`` reads and changes the state and
puts actions into ``state.out``. The table in :mod:`kernl_rt._core.machine` says which rule takes which input.
"""
