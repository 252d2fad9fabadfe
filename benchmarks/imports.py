"""How long ``import kernl_rt`` takes, against what every asyncio program with TLS and JSON imports anyway.

``python benchmarks/imports.py``. CPU and wall time inside fresh interpreters, bytecode compiled before.
"""

from __future__ import annotations

import compileall
import json
import os
import subprocess
import sys
from pathlib import Path

from _measure import Load, show

import kernl_rt

ROUNDS = 4
FLOOR = "asyncio, ssl, json, logging"
CASES = {
    FLOOR: "import asyncio, ssl, json, logging",
    "kernl_rt": "import kernl_rt",
    "kernl_rt + openai": "import kernl_rt, kernl_rt.providers.openai",
    "kernl_rt, after anyio and attrs": "import asyncio, anyio.lowlevel, attrs, cattrs, msgspec\n#\nimport kernl_rt",
}
_PROGRAM = """
import time, json
{before}
cpu, wall = time.process_time(), time.perf_counter()
{what}
print(json.dumps([(time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000]))
"""


def run(code: str) -> list[float]:
    before, _, what = code.rpartition("\n#\n")
    program = _PROGRAM.format(before=before, what=what)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    times: list[float] = json.loads(done.stdout)
    return times


def main() -> None:
    load = Load()
    compileall.compile_dir(Path(kernl_rt.__file__).parent, quiet=1)
    found: dict[str, list[list[float]]] = {name: [] for name in CASES}
    for number in range(ROUNDS + 1):
        for name, code in CASES.items():
            times = run(code)
            if number:  # the first round reads the files from the disk
                found[name].append(times)
    for index, kind in enumerate(("CPU", "wall")):
        each = {name: [times[index] for times in runs] for name, runs in found.items()}
        show(f"import, {kind}", each, FLOOR, unit="ms", digits=0)
    print(load)


if __name__ == "__main__":
    main()
