"""Azure Voice Live as a factory of connections."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from attrs import Factory, evolve, field, frozen

from kernl_rt.config import Capabilities, ResponseConfig, Secret, SessionConfig
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.providers._access import SOCKET_SCHEMES, Headers
from kernl_rt.providers._connection import Codec
from kernl_rt.providers.azure._access import AzureAccess, TokenProvider, named
from kernl_rt.providers.azure._check import (
    VOICE_LIVE_FORMATS,
    check_voice_live_response,
    check_voice_live_session,
)
from kernl_rt.providers.azure._codec import VoiceLiveCodec

__all__ = ["VoiceLiveModel", "voice_live"]

#: The version that the official SDK asks for.
_API_VERSION = "2026-07-15"

_formats: Any = VOICE_LIVE_FORMATS
_CAPABILITIES = Capabilities(input_formats=_formats, output_formats=_formats)
#: Known to read words alone. All others get the benefit of the doubt.
_BLIND = re.compile(r"phi-?4-mini.*")


def voice_live(
    model: str | None = None,
    *,
    endpoint: str | None = None,
    api_key: str | Secret | None = None,
    token: str | Secret | TokenProvider | None = None,
    api_version: str = _API_VERSION,
    agent: str | None = None,
    project: str | None = None,
    agent_version: str | None = None,
    conversation_id: str | None = None,
    headers: Headers | None = None,
    config: SessionConfig | None = None,
    insecure: bool = False,
) -> VoiceLiveModel:
    """A model behind Azure Voice Live, or with ``agent`` and ``project`` an agent of Microsoft Foundry.

    ``endpoint`` is the resource (``https://my-resource.services.ai.azure.com``), ``api_key`` one of its keys, ``token``
    a token of Microsoft Entra ID (scope ``https://ai.azure.com/.default``), or a function that gives one, called for
    each connection. What is not given is read from the environment when a session connects:
    ``AZURE_VOICELIVE_ENDPOINT`` and ``AZURE_VOICELIVE_API_KEY``.

    An agent has its instructions and tools in Foundry: a session that brings its own is refused, and so is a key
    (agents are reached with a token). ``conversation_id`` continues one of the agent's conversations. ``config`` is
    laid under the configuration of every session; Voice Live's own options go into its ``extra``.

    Raises:
        MisconfiguredError: neither a model nor an agent is named, or ``config`` asks for what cannot be.
    """
    made = VoiceLiveModel(
        name=model or agent or "",
        agent=agent,
        model=model,
        project=project,
        agent_version=agent_version,
        conversation_id=conversation_id,
        endpoint=endpoint,
        api_key=api_key,
        token=token,
        api_version=api_version,
        headers=headers or {},
        config=config or SessionConfig(),
        insecure=insecure,
    )
    made.check(SessionConfig())
    return made


def _profile(model: VoiceLiveModel) -> Capabilities:
    blind = model.model is not None and _BLIND.fullmatch(model.model) is not None
    return evolve(_CAPABILITIES, image_input=not blind)


@frozen(kw_only=True)
class VoiceLiveModel(AzureAccess):
    """One model or agent of Voice Live; see :func:`voice_live`."""

    endpoint_variable: ClassVar[str] = "AZURE_VOICELIVE_ENDPOINT"
    key_variable: ClassVar[str] = "AZURE_VOICELIVE_API_KEY"
    factory: ClassVar[str] = "azure.voice_live"
    example: ClassVar[str] = "https://my-resource.services.ai.azure.com"

    name: str
    model: str | None = field(default=None, repr=False, validator=named)
    agent: str | None = field(default=None, validator=named)
    project: str | None = field(default=None, validator=named)
    agent_version: str | None = field(default=None, repr=False, validator=named)
    conversation_id: str | None = field(default=None, repr=False, validator=named)
    api_version: str = field(default=_API_VERSION, repr=False, validator=named)
    capabilities: Capabilities = field(default=Factory(_profile, takes_self=True), repr=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not self.name:
            raise MisconfiguredError("no model: name one, such as 'gpt-realtime', or an agent and its project")
        if (self.agent is None) != (self.project is None):
            raise MisconfiguredError("an agent is found by agent=… and project=… together: give both, or neither")
        if self.agent is None and (self.agent_version or self.conversation_id):
            raise MisconfiguredError("agent_version and conversation_id belong to an agent: give agent=… and project=…")
        if self.agent is not None and self.api_key is not None:
            raise MisconfiguredError("agents are reached with a token of Microsoft Entra ID: give token=…, no api_key")

    def check(self, config: SessionConfig) -> None:
        merged = self.config.merged(config)
        if self.agent is not None:
            for option in ("instructions", "tools", "tool_choice"):
                if value := getattr(merged, option):
                    raise MisconfiguredError(
                        f"{option}={str(value)[:60]!r} is invalid: the agent {self.agent!r} has its own in Foundry; "
                        "change them there, and leave yours empty"
                    )
        check_voice_live_session(merged, self.model or "")

    def check_response(self, config: ResponseConfig) -> None:
        check_voice_live_response(config, self.model or "")

    def _codec(self, redact: Callable[[str], str]) -> Codec:
        return VoiceLiveCodec(self.config, agent=self.agent is not None, redact=redact)

    def url(self) -> str:
        query = [
            ("api-version", self.api_version),
            ("model", self.model),
            ("agent-name", self.agent),
            ("agent-project-name", self.project),
            ("agent-version", self.agent_version),
            ("conversation-id", self.conversation_id),
        ]
        return self._address(SOCKET_SCHEMES, "/voice-live/realtime", query)
