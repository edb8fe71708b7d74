"""An answer of HTTP/1.1 read in the test's own event loop: its head, and its body by transfer chunks."""

import asyncio


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """The status, and the headers by their names in lower case."""
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return int(status_line.split(" ")[1]), {name.lower(): value for name, _, value in pairs}


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """One transfer chunk; empty for the last."""
    size = int(await reader.readuntil(b"\r\n"), 16)
    return (await reader.readexactly(size + 2))[:-2]


async def read_chunks(reader: asyncio.StreamReader) -> list[bytes]:
    """All transfer chunks of a body; the empty last chunk is left out."""
    chunks = []
    while chunk := await read_chunk(reader):
        chunks.append(chunk)
    return chunks
