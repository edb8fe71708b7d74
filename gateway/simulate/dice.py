"""Pure: the dice of a provider whose time to the first token varies.

In: a script and the number of a request. Out: the script for that request, with a fixed TTFT. The invariant: only the
seed and the number decide, so that the n-th request waits equally long in every run.
"""

import hashlib
from dataclasses import replace

from gateway.simulate.script import Script


def settled(script: Script, number: int) -> Script:
    """The script for request `number`: its TTFT is fixed, as slow or with the jitter that the dice give."""
    if not script.slow_share and not script.ttft_jitter_ms:
        return _loaded(script, number) if script.load_ms else script
    fate, place = _throws(script.seed, number)
    usual = script.ttft_ms + (2 * place - 1) * script.ttft_jitter_ms
    ttft_ms = script.slow_ttft_ms if fate < script.slow_share else usual
    return _loaded(replace(script, ttft_ms=ttft_ms, ttft_jitter_ms=0.0, slow_share=0.0), number)


def _loaded(script: Script, number: int) -> Script:
    """The script with the wait for the model, which only the first request has."""
    wait = script.load_ms if number == 1 else 0.0
    return replace(script, head_ms=script.head_ms + wait, ttft_ms=script.ttft_ms + wait, load_ms=0.0)


def _throws(seed: int, number: int) -> tuple[float, float]:
    """Two numbers from 0 to below 1."""
    digest = hashlib.blake2b(b"%d %d" % (seed, number), digest_size=12).digest()
    return int.from_bytes(digest[:6], "big") / 2**48, int.from_bytes(digest[6:], "big") / 2**48
