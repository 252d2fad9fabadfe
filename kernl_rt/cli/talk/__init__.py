"""``kernl-rt talk``: talk to a model with this machine's microphone and loudspeaker, or with two files.

============  =========================================================
``_person``   by microphone and loudspeaker
``_files``    a WAV file asks, a WAV file gets the answer
``_view``     what a person reads meanwhile, in a terminal and elsewhere
``_devices``  the list of microphones and loudspeakers
``_record``   the option that has it written down
============  =========================================================
"""

from __future__ import annotations

from argparse import Namespace

__all__ = ["command"]


async def command(arguments: Namespace) -> int:
    """What the options ask for: the list of devices, a conversation of files, or one with a person."""
    if arguments.devices:
        from kernl_rt.cli.talk._devices import print_devices

        return await print_devices()
    if arguments.question is not None:
        from kernl_rt.cli.talk._files import talk_with_files

        return await talk_with_files(arguments)
    from kernl_rt.cli.talk._person import talk_with_person

    return await talk_with_person(arguments)
