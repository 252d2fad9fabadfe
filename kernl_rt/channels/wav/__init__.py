"""A channel of files: a WAV file speaks, and what would have been heard becomes a WAV file.

Timing. With ``realtime=True`` the file is spoken at the pace of the clock, in frames of 20 ms that begin with the first
``receive``, and the reply is played at the pace of the clock, so that heard positions and interruptions are as with a
human. With ``realtime=False`` the file is given as fast as it is taken (``live`` is false: nothing is dropped) and the
reply is heard at once.

After the file comes silence, so that the provider's turn detection finds the end of speech. The channel hangs up
(``receive`` raises ``anyio.EndOfStream``) when the file has ended, all sound has been played and

* it has been quiet for ``hang_up_after`` seconds, where a reply has come since speech was last heard in the file;
* nothing has come for ``reply_timeout`` seconds, where none has.

The channel cannot know that a tool is at work between two replies: call :meth:`WavChannel.hold` when one starts and
:meth:`WavChannel.release` when it has finished, or give a longer ``hang_up_after``. ``hang_up_after=None``, or no input
file, means that it never hangs up by itself: close the session, or call :meth:`WavChannel.hang_up`.

Files. The input may be of any rate from 1 to 192 kHz (another rate than the session's needs the extra ``audio``), PCM
of 8, 16, 24 or 32 bits, 32-bit float or G.711, mono or stereo (mixed down); of any length a WAV file can have, read
16 KiB at a time. The output is mono PCM16 at the session's output rate, overwritten, 4 GiB at most (24 h at 24 kHz).
It is whole after every second of sound, also if the program is killed; long quiet takes no space where the file system
knows sparse files. Both are read and written in the event loop, in steps of a few milliseconds at most on a local disk;
keep them off network drives that may stall.
"""

from kernl_rt.channels.wav._channel import WavChannel as WavChannel
