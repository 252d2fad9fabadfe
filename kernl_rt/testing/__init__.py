"""Tools to test programs that use kernl_rt, and adapters written for it."""

from kernl_rt.testing._clock import Deadlock as Deadlock, VirtualLoop as VirtualLoop, virtual_backend as virtual_backend
from kernl_rt.testing._scripted import ModelPeer as ModelPeer, ScriptedModel as ScriptedModel
