"""Realtime models, one package per provider: ``from kernl_rt.providers import openai``."""
