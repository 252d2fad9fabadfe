"""Recorded frames of the real services, and a model of every frame the protocol knows, for tests."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import yaml

from tests.conftest import recordings
