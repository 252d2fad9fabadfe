"""OpenAI's Realtime protocol, which other services speak with differences: tables, shared by their adapters.

=============  =====================================================================================
``_wire``      the messages, a row each
``_records``   what server messages are made of; ``_items``: the conversation's items
``_config``    a session's and a reply's configuration; ``_options``: each of their options
``_codec``     the translation, for a :class:`~kernl_rt.providers._dialect._codec.Dialect`
``_check``     what OpenAI accepts, said before anything is sent
=============  =====================================================================================
"""
