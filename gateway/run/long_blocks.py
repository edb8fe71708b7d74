"""Shell: how the C library gives memory to buffers of megabytes, such as one event that holds an image.

glibc takes a long block from the kernel as pages of its own, and a buffer that grows there is moved without a copy of
its bytes. But each such block that is freed raises the limit from which on it does so, up to 32 MiB; then a buffer
that grows beyond the limit is copied, which takes 30 ms. A limit that is set stays where it is (mallopt(3)).
"""

import ctypes

LONG_BLOCK_BYTES = 1 << 20  # a block of this size has pages of its own, which the kernel gets back from it
_M_MMAP_THRESHOLD = -3


def keep_long_blocks_apart() -> bool:
    """Set the limit for this process; returns whether the C library knows it."""
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LONG_BLOCK_BYTES))
    except (AttributeError, OSError, TypeError):  # another C library, or another platform
        return False
