"""Tools to test programs that use kernl_rt, and adapters written for it."""

from kernl_rt.testing._check_channel import check_channel as check_channel
from kernl_rt.testing._check_transport import check_transport as check_transport
from kernl_rt.testing._clock import Deadlock as Deadlock, VirtualLoop as VirtualLoop, virtual_backend as virtual_backend
from kernl_rt.testing._grammar import BrokenPromise as BrokenPromise, TraceGrammar as TraceGrammar
from kernl_rt.testing._scripted import ModelPeer as ModelPeer, ScriptedModel as ScriptedModel
