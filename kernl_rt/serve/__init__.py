"""A server for voice calls: an ASGI application with a page, for browsers and phones. Needs ``kernl_rt[serve]``.

::

    from kernl_rt import serve

    application = serve.app(agent, origins=["https://voice.example.com"])     # uvicorn module:application

``kernl-rt serve`` runs it, under trio or asyncio. For an application of your own there is
:class:`~kernl_rt.channels.browser.BrowserChannel`.
"""

from importlib.util import find_spec as _find_spec

from kernl_rt.exceptions import MisconfiguredError as _MisconfiguredError

if _find_spec("starlette") is None:
    raise _MisconfiguredError("kernl_rt.serve needs starlette: pip install 'kernl_rt[serve]'")

from kernl_rt.serve._app import Authorize as Authorize, app as app
from kernl_rt.serve._calls import AgentSource as AgentSource, Calls as Calls, SessionSource as SessionSource
from kernl_rt.serve._phone import (
    telnyx_routes as telnyx_routes,
    twilio_routes as twilio_routes,
    vonage_routes as vonage_routes,
)
