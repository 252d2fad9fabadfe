"""A channel of files: a file speaks, and what would have been heard becomes a file. WAV, or FLAC and Ogg with an extra.

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

Input. A WAV file of PCM of 8, 16, 24 or 32 bits, 32-bit float or G.711; with the extra ``files`` also FLAC and Ogg
(Vorbis, Opus), known by its content. Any rate from 1 to 192 kHz, mono or stereo (mixed down), of any length; 16 KiB or
4,096 frames are read at a time. The channel offers the file's own rate first; another one, where the model does not
know that, needs the extra ``audio``.

Output. Mono at the session's output rate, overwritten; the suffix says what: ``.wav`` (PCM16, 4 GiB at most, 24 h at
24 kHz), with the extra ``files`` also ``.flac`` and ``.ogg`` (Vorbis). A WAV file is whole after every second of sound,
also if the program is killed, and long quiet takes no space in it where the file system knows sparse files. FLAC and
Ogg are whole once they are closed; killed, they lose their last seconds.

Both are read and written in the event loop, in steps of a few milliseconds on a local disk; keep them off network
drives that may stall.
"""

from kernl_rt.channels.wav._channel import WavChannel as WavChannel
