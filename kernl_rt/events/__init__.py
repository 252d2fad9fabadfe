"""Events: what is said on the wire, by either side, and what the session says itself.

Each class has a dotted ``kind``; those that a caller usually listens for also have a ``topic``, the short name that
``session.on(topic)`` takes. All are frozen values: use them with ``match``.

    ============  =====================================================================
    module        holds
    ============  =====================================================================
    ``client``    what we say to the model
    ``server``    what the model says to us
    ``duplex``    what only a model says that listens and speaks at once
    ``records``   what both are made of: replies, sessions, usage
    ``session``   what the session says of itself: status, interruptions, tool outcomes
    ``channel``   what the human's side reports: captured audio, playback, activity
    ============  =====================================================================
"""

from kernl_rt.events.channel import (
    ActivityEnded as ActivityEnded,
    ActivityStarted as ActivityStarted,
    AudioCaptured as AudioCaptured,
    AudioPlayed as AudioPlayed,
    ChannelEvent as ChannelEvent,
    DtmfPressed as DtmfPressed,
)
from kernl_rt.events.client import (
    ActivityEnd as ActivityEnd,
    ActivityStart as ActivityStart,
    AudioInputAppend as AudioInputAppend,
    AudioInputClear as AudioInputClear,
    AudioInputCommit as AudioInputCommit,
    AudioOutputClear as AudioOutputClear,
    ClientEvent as ClientEvent,
    InputMute as InputMute,
    InputUnmute as InputUnmute,
    ItemCreate as ItemCreate,
    ItemDelete as ItemDelete,
    ItemRetrieve as ItemRetrieve,
    ItemTruncate as ItemTruncate,
    RawClientEvent as RawClientEvent,
    ResponseCancel as ResponseCancel,
    ResponseCreate as ResponseCreate,
    SessionUpdate as SessionUpdate,
    ToolResult as ToolResult,
)
from kernl_rt.events.duplex import (
    ContextAppended as ContextAppended,
    DelegationCreated as DelegationCreated,
    DelegationEvent as DelegationEvent,
    InputMuted as InputMuted,
    TimelineAdvanced as TimelineAdvanced,
)
from kernl_rt.events.records import (
    RateLimit as RateLimit,
    Response as Response,
    ResponseError as ResponseError,
    SessionInfo as SessionInfo,
    StatusDetails as StatusDetails,
    TokenDetails as TokenDetails,
    Usage as Usage,
)
from kernl_rt.events.server import (
    AudioDelta as AudioDelta,
    AudioDone as AudioDone,
    AudioInputCleared as AudioInputCleared,
    AudioInputCommitted as AudioInputCommitted,
    AudioInputTimedOut as AudioInputTimedOut,
    ContentPartAdded as ContentPartAdded,
    ContentPartDone as ContentPartDone,
    ConversationCreated as ConversationCreated,
    DtmfReceived as DtmfReceived,
    InputTranscript as InputTranscript,
    InputTranscriptDelta as InputTranscriptDelta,
    InputTranscriptFailed as InputTranscriptFailed,
    InputTranscriptSegment as InputTranscriptSegment,
    ItemCreated as ItemCreated,
    ItemDeleted as ItemDeleted,
    ItemDone as ItemDone,
    ItemRetrieved as ItemRetrieved,
    ItemTruncated as ItemTruncated,
    McpArguments as McpArguments,
    McpArgumentsDelta as McpArgumentsDelta,
    McpCallProgress as McpCallProgress,
    McpListToolsProgress as McpListToolsProgress,
    OutputBufferCleared as OutputBufferCleared,
    OutputBufferStarted as OutputBufferStarted,
    OutputBufferStopped as OutputBufferStopped,
    OutputItemAdded as OutputItemAdded,
    OutputItemDone as OutputItemDone,
    OutputTranscript as OutputTranscript,
    OutputTranscriptDelta as OutputTranscriptDelta,
    Ping as Ping,
    RateLimitsUpdated as RateLimitsUpdated,
    RawServerEvent as RawServerEvent,
    ResponseCreated as ResponseCreated,
    ResponseDone as ResponseDone,
    ServerEvent as ServerEvent,
    SessionCreated as SessionCreated,
    SessionError as SessionError,
    SessionExpiring as SessionExpiring,
    SessionResumable as SessionResumable,
    SessionUpdated as SessionUpdated,
    SpeechStarted as SpeechStarted,
    SpeechStopped as SpeechStopped,
    TextDelta as TextDelta,
    TextDone as TextDone,
    ToolCalled as ToolCalled,
    ToolCancelled as ToolCancelled,
    ToolDelta as ToolDelta,
    ToolStarted as ToolStarted,
    UsageReported as UsageReported,
)
from kernl_rt.events.session import (
    AgentChanged as AgentChanged,
    CustomEvent as CustomEvent,
    Draining as Draining,
    EventsDropped as EventsDropped,
    GuardrailTripped as GuardrailTripped,
    HistoryChanged as HistoryChanged,
    Interrupted as Interrupted,
    LatencyMeasured as LatencyMeasured,
    LoopStalled as LoopStalled,
    PlaybackPaused as PlaybackPaused,
    PlaybackResumed as PlaybackResumed,
    SessionEvent as SessionEvent,
    SessionStuck as SessionStuck,
    Status as Status,
    StatusChanged as StatusChanged,
    ToolApprovalRequired as ToolApprovalRequired,
    ToolFinished as ToolFinished,
    ToolOutcome as ToolOutcome,
    UsageUpdated as UsageUpdated,
    WaitingSince as WaitingSince,
)
