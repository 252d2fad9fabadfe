"""The running half of a session: the only nursery, and the tasks in it.

===================  ==============================================================================
``session``          :class:`RealtimeSession`, what the user holds: opening and closing
``verbs``            what the user says to it
``listening``        how the user hears it; ``stream`` and ``async_listeners`` are its two forms
``runner``           from dialling to the last event, in order
``driver``           ``feed``: machine, actions, lanes, consumers, in one synchronous step
``pumps``            the tasks: each awaits one thing and feeds
``tools``            runs the user's functions; ``guardrails`` runs the user's checks
``watch``            what is noticed of code that is not its own: stuck tools, sessions never closed
``drain``            stopping a program without cutting its calls
``home``             the one process, thread and event loop of a session
``changes``          another configuration, or another agent, while the session runs
``command``          handles of verbs
``statistics``       the counters
===================  ==============================================================================
"""
