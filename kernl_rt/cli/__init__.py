"""The command ``kernl-rt``.

============  =====================================================================
``demo``      a whole spoken conversation with the simulator, in twenty seconds
``talk``      with the microphone and the loudspeaker, or with WAV files
``serve``     a page to talk on, and a phone line
``replay``    a recorded conversation as text; its picture drawn anew
``simulate``  serve the simulator to any OpenAI Realtime client
``doctor``    what is installed, what is missing, and whether it works
============  =====================================================================

Exit codes: 0 for success, 1 for an error (one line on standard error says what, and the fix), 2 for wrong usage, 130
after Ctrl-C, 143 after ``SIGTERM``.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; ``argv`` is the command line without the program's name. Returns the exit code.

    Raises:
        SystemExit: wrong usage, ``--help`` or ``--version``.
    """
    import logging

    from kernl_rt.cli._parser import parse
    from kernl_rt.cli._run import perform

    # A command says itself what matters; without a handler, warnings would be written between its lines.
    logging.getLogger("kernl_rt").addHandler(logging.NullHandler())
    return perform(parse(argv))
