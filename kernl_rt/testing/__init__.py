"""Tools to test programs that use kernl_rt, and adapters written for it."""

from kernl_rt.testing._campaign import (
    TROUBLES as TROUBLES,
    CallFailed as CallFailed,
    CallRun as CallRun,
    CampaignReport as CampaignReport,
    campaign as campaign,
    run_call as run_call,
)
from kernl_rt.testing._carrier import FakeCarrier as FakeCarrier
from kernl_rt.testing._check_channel import check_channel as check_channel
from kernl_rt.testing._check_model import Prompts as Prompts, check_model as check_model
from kernl_rt.testing._check_transport import check_transport as check_transport
from kernl_rt.testing._clock import Deadlock as Deadlock, VirtualLoop as VirtualLoop, virtual_backend as virtual_backend
from kernl_rt.testing._faulty import FaultyStream as FaultyStream
from kernl_rt.testing._faulty_transport import FaultyTransport as FaultyTransport, byte_streams as byte_streams
from kernl_rt.testing._grammar import BrokenPromise as BrokenPromise, TraceGrammar as TraceGrammar
from kernl_rt.testing._hostile import (
    hostile_bytes as hostile_bytes,
    hostile_corpus as hostile_corpus,
    hostile_frames as hostile_frames,
)
from kernl_rt.testing._probe import Flavour as Flavour, Livelock as Livelock, Probe as Probe, Victim as Victim
from kernl_rt.testing._promises import PromiseChecker as PromiseChecker
from kernl_rt.testing._scripted import ModelPeer as ModelPeer, ScriptedModel as ScriptedModel
from kernl_rt.testing._sweep import (
    Run as Run,
    SweepFailed as SweepFailed,
    SweepReport as SweepReport,
    Violation as Violation,
    run_once as run_once,
    sweep as sweep,
)
from kernl_rt.testing._toxics import Toxics as Toxics
from kernl_rt.testing._wellformed import Malformed as Malformed, check_well_formed as check_well_formed
