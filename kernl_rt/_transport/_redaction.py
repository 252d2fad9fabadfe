"""Keep what was sent as a credential out of what our dependencies log."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kernl_rt._transport._address import Headers

__all__ = ["HTTPCORE", "TRIO_WEBSOCKET", "redacting"]

#: At DEBUG they write what the other side says: the head of its answer, the reason for which it closes. What we send
#: they do not write, but some servers quote it back. picows and websockets get a logger that prints nothing at all;
#: these take no logger from us.
HTTPCORE = ("httpcore.connection", "httpcore.http11", "httpx")
TRIO_WEBSOCKET = ("trio-websocket",)


class _Filter(logging.Filter):
    """One for each logger, there as long as somebody's credentials are under way."""

    def __init__(self) -> None:
        super().__init__()
        self.active: list[Headers] = []

    def filter(self, record: logging.LogRecord) -> bool:
        said = text = record.getMessage()
        for headers in self.active:
            text = headers.redact(text)
        if text != said:
            record.msg, record.args, record.exc_info = text, None, None
        return True


_filters: dict[str, _Filter] = {}


@contextmanager
def redacting(names: Sequence[str], headers: Headers) -> Iterator[None]:
    """While this is open, these loggers print nothing of ``headers``' credentials."""
    filters = [(logging.getLogger(name), _filters.setdefault(name, _Filter())) for name in names]
    for logger, each in filters:
        each.active.append(headers)
        logger.addFilter(each)  # which does nothing if it is there
    try:
        yield
    finally:
        for logger, each in filters:
            each.active = [other for other in each.active if other is not headers]
            if not each.active:
                logger.removeFilter(each)
