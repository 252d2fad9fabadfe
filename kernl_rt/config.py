"""What a session can be asked for, and what a model can do. Values only: frozen, compared by content.

``None`` always means "not said: the provider's default". What is off is said by a word (``TurnDetection.off()``), so
that a default is never mistaken for a decision. Durations end in ``_ms`` (whole milliseconds, as on the wire) or are
``float`` seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from attrs import evolve, field, fields, frozen

from kernl_rt._values import Value
from kernl_rt.exceptions import MisconfiguredError

__all__ = [
    "G711_ALAW",
    "G711_ULAW",
    "PCM16_8K",
    "PCM16_16K",
    "PCM16_24K",
    "AudioFormat",
    "Capabilities",
    "ConnectOptions",
    "Credential",
    "InputTranscription",
    "McpServer",
    "Modality",
    "NoiseReduction",
    "PromptReference",
    "Reasoning",
    "ResponseConfig",
    "Secret",
    "SessionConfig",
    "ToolChoice",
    "ToolDefinition",
    "Tracing",
    "Truncation",
    "TurnDetection",
    "Voice",
]

Modality: TypeAlias = Literal["audio", "text"]
ToolChoiceMode: TypeAlias = Literal["auto", "none", "required", "function", "mcp"]
Encoding: TypeAlias = Literal["pcm16", "g711_ulaw", "g711_alaw"]


def _nothing() -> dict[str, Any]:
    return {}


def _tuple(values: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


@frozen
class AudioFormat:
    """How sound is laid out in bytes: mono, little-endian, no header.

    ``encoding`` is ``"pcm16"`` (signed 16-bit) or one of G.711's two 8-bit laws; ``rate`` is samples per second.
    """

    encoding: Encoding = "pcm16"
    rate: int = 24_000

    def __attrs_post_init__(self) -> None:
        if self.encoding not in ("pcm16", "g711_ulaw", "g711_alaw"):
            raise MisconfiguredError(
                f"unknown audio encoding {self.encoding!r}: use 'pcm16', 'g711_ulaw' or 'g711_alaw'"
            )
        if not isinstance(self.rate, int) or not 1_000 <= self.rate <= 192_000:
            raise MisconfiguredError(f"audio rate {self.rate!r} is not a number of samples per second")

    @property
    def sample_width(self) -> int:
        """Bytes per sample: 2 for PCM16, 1 for G.711."""
        return 2 if self.encoding == "pcm16" else 1

    @property
    def bytes_per_second(self) -> int:
        return self.rate * self.sample_width

    def ms(self, size: int) -> float:
        """How long ``size`` bytes last, in milliseconds."""
        return size * 1000 / self.bytes_per_second

    def size(self, ms: float) -> int:
        """How many bytes last ``ms`` milliseconds, rounded down to whole samples."""
        return int(self.rate * ms / 1000) * self.sample_width

    @property
    def silence(self) -> bytes:
        """One sample of silence."""
        return {"pcm16": b"\0\0", "g711_ulaw": b"\xff", "g711_alaw": b"\xd5"}[self.encoding]

    def __str__(self) -> str:
        return f"{self.encoding} at {self.rate} Hz"


PCM16_8K = AudioFormat("pcm16", 8_000)
PCM16_16K = AudioFormat("pcm16", 16_000)
PCM16_24K = AudioFormat("pcm16", 24_000)
G711_ULAW = AudioFormat("g711_ulaw", 8_000)
G711_ALAW = AudioFormat("g711_alaw", 8_000)


class Secret:
    """A credential that cannot be printed, pickled or serialised by accident; ``reveal()`` gives the text.

    Hand it on as it is and call :meth:`reveal` only where the header is written.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | Secret) -> None:
        self._text: str = text._text if isinstance(text, Secret) else text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret('…')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not pickled")

    def __getstate__(self) -> Any:
        raise TypeError("a Secret is not pickled")


@frozen(eq=False, repr=False)
class Credential(Value):
    """A short-lived key that a server mints for a client, with the moment it stops working (timezone-aware)."""

    secret: Secret = field(converter=Secret)
    expires_at: datetime
    extra: Mapping[str, Any] = field(factory=_nothing, repr=False)


@frozen(eq=False, repr=False)
class Voice(Value):
    """Who speaks. ``id`` is the provider's name of a voice, or the id of a custom one; ``speed`` is a factor."""

    id: str
    speed: float | None = None


@frozen(eq=False, repr=False)
class TurnDetection(Value):
    """Who decides that the human has finished speaking, and what follows.

    Make one with :meth:`server_vad`, :meth:`semantic_vad` or :meth:`off`. ``create_response=False`` and
    ``interrupt_response=False`` keep the detection but leave the reply, or the running reply, alone.
    """

    mode: Literal["server_vad", "semantic_vad", "off"] = "server_vad"
    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    idle_timeout_ms: int | None = None
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None

    @classmethod
    def server_vad(
        cls,
        *,
        threshold: float | None = None,
        prefix_padding_ms: int | None = None,
        silence_duration_ms: int | None = None,
        idle_timeout_ms: int | None = None,
        create_response: bool | None = None,
        interrupt_response: bool | None = None,
    ) -> TurnDetection:
        """Speech is found by its energy. ``threshold`` is 0 to 1."""
        return cls(
            "server_vad",
            threshold,
            prefix_padding_ms,
            silence_duration_ms,
            idle_timeout_ms,
            None,
            create_response,
            interrupt_response,
        )

    @classmethod
    def semantic_vad(
        cls,
        *,
        eagerness: Literal["low", "medium", "high", "auto"] | None = None,
        create_response: bool | None = None,
        interrupt_response: bool | None = None,
    ) -> TurnDetection:
        """A model judges from the words whether the speaker has finished."""
        return cls(
            "semantic_vad",
            eagerness=eagerness,
            create_response=create_response,
            interrupt_response=interrupt_response,
        )

    @classmethod
    def off(cls) -> TurnDetection:
        """Push-to-talk: the user's turn ends with :meth:`RealtimeSession.commit`."""
        return cls("off")


@frozen(eq=False, repr=False)
class InputTranscription(Value):
    """Write down what the human says. Off at most providers unless asked for."""

    model: str | None = None
    language: str | None = None
    languages: Sequence[str] | None = field(default=None, converter=_tuple)
    prompt: str | None = None
    keywords: Sequence[str] | None = field(default=None, converter=_tuple)
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


@frozen(eq=False, repr=False)
class NoiseReduction(Value):
    """``near_field`` for a headset, ``far_field`` for a room, ``off`` to turn it off; ``strength`` is 0 to 1."""

    type: Literal["near_field", "far_field", "off"]
    strength: float | None = None


@frozen(eq=False, repr=False)
class Truncation(Value):
    """What the provider forgets when the conversation outgrows its context window.

    ``retention_ratio`` (0 to 1) says how much to keep when it cuts; ``post_instructions_tokens`` caps what is kept.
    """

    strategy: Literal["auto", "disabled", "retention_ratio"] = "auto"
    retention_ratio: float | None = None
    post_instructions_tokens: int | None = None


@frozen(eq=False, repr=False)
class Tracing(Value):
    """The provider's own traces: ``auto``, ``off``, or named."""

    mode: Literal["auto", "off", "custom"] = "auto"
    workflow_name: str | None = None
    group_id: str | None = None
    metadata: Mapping[str, Any] | None = None


@frozen(eq=False, repr=False)
class PromptReference(Value):
    """A prompt template that is stored at the provider."""

    id: str
    version: str | None = None
    variables: Mapping[str, Any] | None = None


@frozen(eq=False, repr=False)
class Reasoning(Value):
    """How much a reasoning model thinks before it speaks."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"]


@frozen(eq=False, repr=False)
class ToolDefinition(Value):
    """A function as the model sees it; ``parameters`` is a JSON schema of an object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(factory=_nothing)


def _secret(text: str | Secret | None) -> Secret | None:
    return None if text is None else Secret(text)


@frozen(eq=False, repr=False)
class McpServer(Value):
    """A tool server that the *provider* calls by itself."""

    label: str
    url: str | None = None
    connector_id: str | None = None
    tunnel_id: str | None = None
    authorization: Secret | None = field(default=None, converter=_secret)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    description: str | None = None
    allowed_tools: Sequence[str] | Mapping[str, Any] | None = None
    allowed_callers: Sequence[str] | None = field(default=None, converter=_tuple)
    require_approval: Literal["always", "never"] | Mapping[str, Any] | None = None
    defer_loading: bool | None = None


@frozen(eq=False, repr=False)
class ToolChoice(Value):
    """``auto``, ``none``, ``required``, or one named ``function``, or an ``mcp`` server (``server_label``,
    ``name``).
    """

    mode: ToolChoiceMode = "auto"
    name: str | None = None
    server_label: str | None = None


def _voice(voice: Voice | str | None) -> Voice | None:
    return Voice(voice) if isinstance(voice, str) else voice


def _tool_choice(choice: ToolChoice | ToolChoiceMode | None) -> ToolChoice | None:
    return ToolChoice(choice) if isinstance(choice, str) else choice


@frozen(eq=False, repr=False)
class SessionConfig(Value):
    """Everything that can be said about a session. What stays ``None`` is the provider's default.

    A provider that cannot do what is asked raises :class:`MisconfiguredError` before it connects.
    ``output_modality`` is one word because providers speak or write, never both. ``extra`` goes onto the wire as it
    is, over the provider's session object, for what this vocabulary lacks.
    """

    instructions: str | None = None
    output_modality: Modality | None = None
    voice: Voice | None = field(default=None, converter=_voice)
    input_format: AudioFormat | None = None
    output_format: AudioFormat | None = None
    turn_detection: TurnDetection | None = None
    transcription: InputTranscription | Literal["off"] | None = None
    noise_reduction: NoiseReduction | None = None
    tools: Sequence[ToolDefinition | McpServer] | None = field(default=None, converter=_tuple)
    tool_choice: ToolChoice | None = field(default=None, converter=_tool_choice)
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | Literal["inf"] | None = None
    reasoning: Reasoning | None = None
    truncation: Truncation | None = None
    tracing: Tracing | None = None
    prompt: PromptReference | None = None
    include: Sequence[str] | None = field(default=None, converter=_tuple)
    extra: Mapping[str, Any] = field(factory=_nothing)

    def merged(self, over: SessionConfig) -> SessionConfig:
        """This configuration with everything that ``over`` says laid over it."""
        said = {name: value for name in _SESSION_FIELDS if (value := getattr(over, name)) is not None}
        return evolve(self, **said, extra={**self.extra, **over.extra})


_SESSION_FIELDS = tuple(attribute.name for attribute in fields(SessionConfig) if attribute.name != "extra")


@frozen(eq=False, repr=False)
class ResponseConfig(Value):
    """One reply's own wishes, laid over the session's. ``conversation="none"`` asks beside the conversation."""

    instructions: str | None = None
    output_modality: Modality | None = None
    voice: Voice | None = None
    output_format: AudioFormat | None = None
    tools: Sequence[ToolDefinition | McpServer] | None = field(default=None, converter=_tuple)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | Literal["inf"] | None = None
    reasoning: Reasoning | None = None
    prompt: PromptReference | None = None
    conversation: Literal["auto", "none"] | None = None
    input: Sequence[Any] | None = field(default=None, converter=_tuple)
    metadata: Mapping[str, str] | None = None
    extra: Mapping[str, Any] = field(factory=_nothing)


def _formats(formats: Iterable[AudioFormat]) -> tuple[AudioFormat, ...]:
    return tuple(formats)


@frozen(eq=False, repr=False)
class Capabilities(Value):
    """What a model can do. The machine asks these flags and never the provider's name.

    ``can_cancel``: a running reply can be stopped. ``can_truncate``: the provider can be told how much of a reply was
    heard. ``can_delete``: items can be removed. ``manual_turns``: turn detection can be off. ``text_output``: it can
    write instead of speak. ``answers_on_commit``: a commit brings a reply without being asked.
    ``answers_on_message``: so does a message of the user's, so one that wants no reply must say so.
    ``echoes_metadata``: a reply names the request that it answers, by its ``metadata``.
    ``continues_after_tools``: a tool result brings a reply without being asked. ``synthesises_turns``: the wire has no
    reply boundaries, the codec infers them. ``max_duration``: seconds until the provider ends a session, ``None`` for
    no known limit. ``full_duplex``: it hears and speaks at the same time and sees to overlapping speech itself, so that
    a human who speaks interrupts nothing here. ``mutes_on_wire``: the provider is told of ``session.mute()``.
    ``replays_on_resume``: a resumed session begins with the items that the provider has kept, and what is not among
    them is told again. Formats are in order of preference.
    """

    input_formats: Sequence[AudioFormat] = field(default=(PCM16_24K,), converter=_formats)
    output_formats: Sequence[AudioFormat] = field(default=(PCM16_24K,), converter=_formats)
    can_cancel: bool = True
    can_truncate: bool = True
    can_delete: bool = True
    can_update: bool = True
    manual_turns: bool = True
    text_output: bool = True
    image_input: bool = True
    answers_on_commit: bool = False
    answers_on_message: bool = False
    echoes_metadata: bool = False
    continues_after_tools: bool = False
    synthesises_turns: bool = False
    confirms_configuration: bool = True
    can_resume: bool = False
    full_duplex: bool = False
    mutes_on_wire: bool = False
    replays_on_resume: bool = False
    max_duration: float | None = None


@frozen(eq=False, repr=False)
class ConnectOptions(Value):
    """How to connect. ``timeout`` (seconds) bounds dialling, the handshake and the provider's word on the
    configuration.

    ``headers`` are added to the request; ``max_message_size`` is in bytes, a larger message ends the link with 1009;
    ``session_config`` is laid over the agent's; ``resume`` is a handle that the provider gave in an earlier session.
    """

    timeout: float = 10.0
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    max_message_size: int = 4 * 2**20
    session_config: SessionConfig | None = None
    resume: str | None = None

    def __attrs_post_init__(self) -> None:
        if not self.timeout > 0:
            raise MisconfiguredError(f"connect timeout {self.timeout!r} must be more than 0 seconds")
        if self.max_message_size < 1:
            raise MisconfiguredError(f"max_message_size {self.max_message_size!r} must be at least 1 byte")
