"""kernl_rt on asyncio, in the peers' benchmark: see ``_client.py``."""

from __future__ import annotations

from _client import KernlClient
from common import main


class KernlRT(KernlClient):
    name = "kernl_rt_asyncio"
    backend = "asyncio"


if __name__ == "__main__":
    main(KernlRT)
