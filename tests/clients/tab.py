"""One browser tab, as the Python tests see it."""

import asyncio
import json
import sys
import time
import urllib.request

import msgpack
import websockets

PATIENCE = 5.0
"""Seconds after which a reply that has not come is a failure."""


class Failure(Exception):
    """What the gateway did wrong."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def ok(message):
    print(f"ok - {message}", flush=True)


def run(main):
    """Runs the coroutine; a failure is one line and exit code 1."""
    try:
        asyncio.run(main)
    except Failure as failure:
        sys.exit(f"not ok - {failure}")


def get(url, path):
    with urllib.request.urlopen(url + path, timeout=PATIENCE) as reply:
        return json.load(reply)


def decode(message):
    if isinstance(message, bytes):
        return msgpack.unpackb(message)
    return json.loads(message)


class Tab:
    """A connection. Messages keep their arrival time, in seconds of the monotonic clock, under `at`."""

    def __init__(self, socket):
        self.socket = socket

    @classmethod
    async def open(cls, url):
        address = url.replace("http://", "ws://", 1) + "/ws/stream"
        # The default of 16 waiting messages would let the library's own flow control be taken for a slow gateway.
        return cls(await websockets.connect(address, max_queue=None, compression=None, ping_interval=None))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.socket.close()

    async def send(self, **request):
        await self.socket.send(json.dumps(request))

    async def next(self, patience=PATIENCE):
        try:
            message = await asyncio.wait_for(self.socket.recv(), patience)
        except asyncio.TimeoutError:
            raise Failure(f"nothing came within {patience} s") from None
        except websockets.ConnectionClosed as closed:
            raise Failure(f"the connection was closed: {closed}") from None
        message_at = time.monotonic()
        decoded = decode(message)
        decoded["at"] = message_at
        decoded["binary"] = isinstance(message, bytes)
        return decoded

    async def until(self, kind, patience=PATIENCE):
        """The next message of that type, and those before it."""
        before = []
        end = time.monotonic() + patience
        while True:
            left = end - time.monotonic()
            check(left > 0, f"no {kind!r} within {patience} s; came: {sorted({str(m.get('type')) for m in before})}")
            try:
                message = await self.next(left)
            except Failure as failure:
                raise Failure(f"waiting for {kind!r}: {failure}") from None
            if message.get("type") == kind:
                return message, before
            check(
                message.get("type") != "error" or kind == "error", f"waiting for {kind!r} came the error {message}"
            )
            before.append(message)

    async def ask(self, reply, **request):
        await self.send(**request)
        return (await self.until(reply))[0]

    async def listen(self, seconds):
        """Everything that comes within that time."""
        messages = []
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                messages.append(await self.next(left))
            except Failure as failure:
                check("nothing came" in str(failure), str(failure))
        return messages


def ticks(messages):
    return [message for message in messages if message.get("type") == "tick"]
