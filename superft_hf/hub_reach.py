"""Whether the Hugging Face Hub can be reached, found out once in a while and within seconds.

The Hub's own client repeats a failed request for 23 s and more. Whoever is offline gets an answer, or the
copies in the local cache, at once instead.
"""

import os
import queue
import socket
import threading
import time
import urllib.parse
import urllib.request
from functools import lru_cache

PROBE_S = 3.0
REMEMBERED_S = 30.0


def is_hub_reachable() -> bool:
    """Whether requests to the Hub are allowed and have a chance.

    `HF_HUB_OFFLINE` forbids them. Behind a proxy the answer is always True, since only the proxy knows.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    address = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT") or constants.ENDPOINT)
    host = address.hostname or ""
    proxies = urllib.request.getproxies()
    if (address.scheme in proxies or "all" in proxies) and not urllib.request.proxy_bypass(host):
        return True
    port = address.port or (443 if address.scheme == "https" else 80)
    return _answers(host, port, int(time.monotonic() // REMEMBERED_S))


def offline_words() -> str:
    """Why nothing comes from the Hub, as the end of a sentence."""
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub cannot be reached"


def forget() -> None:
    """Forgets the last answer, for a person who asks again."""
    _answers.cache_clear()


@lru_cache(maxsize=8)
def _answers(host: str, port: int, period: int) -> bool:  # a new period asks again
    """Whether a connection to the host can be opened within PROBE_S.

    In a thread of its own, since looking up a name obeys no time limit.
    """
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=PROBE_S).close()
        except OSError:
            answers.put(False)
        else:
            answers.put(True)

    threading.Thread(target=connect, name="hub-probe", daemon=True).start()
    try:
        return answers.get(timeout=PROBE_S + 0.5)
    except queue.Empty:
        return False
