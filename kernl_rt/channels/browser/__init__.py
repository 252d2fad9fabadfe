"""A human at a web page: the server's half of the wire ``kernl-rt``, version 1.

Ten lines in an application of your own (Starlette here; FastAPI and litestar are the same)::

    access = BrowserAccess(["https://example.com"])

    async def session_token(request):
        issued = access.issue(request.headers.get("origin"))
        return JSONResponse(issued or {}, status_code=403 if issued is None else 200)

    async def voice(websocket):
        channel = await BrowserChannel.accept(websocket, access)
        if channel is not None:
            await channel.run(RealtimeSession(agent, channel=channel))

``kernl_rt.serve`` is such an application, with a page. Nothing of a web framework is imported here.
"""

from kernl_rt.channels.browser._access import BrowserAccess as BrowserAccess
from kernl_rt.channels.browser._channel import (
    BrowserChannel as BrowserChannel,
    BrowserSession as BrowserSession,
    BrowserWebSocket as BrowserWebSocket,
)
from kernl_rt.channels.browser._codec import BrowserWire as BrowserWire
