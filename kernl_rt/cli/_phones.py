"""The carriers that ``kernl-rt serve`` answers: their options, and the routes that these make."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from kernl_rt.exceptions import MisconfiguredError

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from kernl_rt.serve import Calls

__all__ = ["add_phone_options", "phone_lines", "phone_routes"]

#: Carrier, and where its secret is: never on the command line, where every user of the machine could read it.
_SECRETS = {
    "twilio": ("TWILIO_AUTH_TOKEN", "the account's auth token"),
    "telnyx": ("TELNYX_PUBLIC_KEY", "the account's public key, in base64"),
    "vonage": ("VONAGE_SIGNATURE_SECRET", "the account's signature secret"),
}


def add_phone_options(parser: ArgumentParser) -> None:
    """``--twilio``, ``--telnyx``, ``--vonage``, ``--public-url``."""
    for carrier, (variable, what) in _SECRETS.items():
        parser.add_argument(
            f"--{carrier}", action="store_true", help=f"answer {carrier.title()} calls; {variable} holds {what}"
        )
    parser.add_argument("--public-url", metavar="URL", help="how carriers reach this server: https://voice.example.com")


def phone_routes(arguments: Namespace, calls: Calls) -> list[BaseRoute]:
    """The routes of the carriers that were asked for.

    Raises:
        MisconfiguredError: a carrier without its secret or without a public URL; the extra ``phone`` is missing.
    """
    from kernl_rt.serve import telnyx_routes, twilio_routes, vonage_routes

    wanted = [carrier for carrier in _SECRETS if getattr(arguments, carrier)]
    if not wanted:
        return []
    url: str | None = arguments.public_url
    if url is None:
        raise MisconfiguredError(
            f"--{wanted[0]} needs --public-url: signatures are checked over the address that the carrier calls"
        )
    routes: list[BaseRoute] = []
    for carrier in wanted:
        variable, what = _SECRETS[carrier]
        secret = os.environ.get(variable, "")
        if not secret:
            raise MisconfiguredError(f"--{carrier} needs {what}: set {variable}")
        if carrier == "twilio":
            routes += twilio_routes(calls, auth_token=secret, public_url=url, max_calls=calls.max_sessions)
        elif carrier == "telnyx":
            routes += telnyx_routes(calls, public_key=secret, public_url=url, max_calls=calls.max_sessions)
        else:
            routes += vonage_routes(calls, signature_secret=secret, public_url=url, max_calls=calls.max_sessions)
    return routes


def phone_lines(arguments: Namespace) -> list[str]:
    """What to tell the user to write into each carrier's console."""
    url = (arguments.public_url or "").rstrip("/")
    return [
        f"{carrier.title()}: webhook POST {url}/{carrier}/voice" for carrier in _SECRETS if getattr(arguments, carrier)
    ]
