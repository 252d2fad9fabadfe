"""The running half of a session: the only nursery, and the tasks in it.

==============  ===================================================================================
``session``     :class:`RealtimeSession`, what the user holds
``driver``      ``feed``: machine, actions, lanes, consumers, in one synchronous step
``pumps``       the tasks: each awaits one thing and feeds
``tools``       runs the user's functions
``stream``      event iterators
``command``     handles of verbs
``statistics``  the counters
==============  ===================================================================================
"""
