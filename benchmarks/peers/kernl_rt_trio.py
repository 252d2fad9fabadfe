"""kernl_rt on trio, in the peers' benchmark: see ``_client.py``."""

from __future__ import annotations

from _client import KernlClient
from common import main


class KernlRT(KernlClient):
    name = "kernl_rt_trio"
    backend = "trio"


if __name__ == "__main__":
    main(KernlRT)
