"""``python -m kernl_rt`` is the command ``kernl-rt``."""

from __future__ import annotations

import sys

from kernl_rt.cli import main

if __name__ == "__main__":
    sys.exit(main())
