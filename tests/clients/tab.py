"""One browser tab, as the Python tests see it."""

import asyncio
import json
import sys
import time
import urllib.request

import msgpack
import websockets

PATIENCE = 20.0
"""Seconds after which what has not come is a failure. Only ever spent by a test that fails."""


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


async def connect(url, path, max_queue=None):
    """A WebSocket. The library's default of 16 waiting messages would let its own flow control be taken for a slow
    gateway."""
    address = url.replace("http://", "ws://", 1) + path
    return await websockets.connect(
        address, max_queue=max_queue, compression=None, ping_interval=None, open_timeout=PATIENCE
    )


class Tab:
    """A connection. Messages keep their arrival time, in seconds of the monotonic clock under `at`, of the wall clock
    under `at_unix`.

    A machine can hold a program up for seconds: a test waits for what must come and bounds no arrival from above.
    """

    def __init__(self, socket):
        self.socket = socket

    @classmethod
    async def open(cls, url, path="/ws/stream"):
        return cls(await connect(url, path))

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
            raise Failure(f"nothing came within {patience:.1f} s") from None
        except websockets.ConnectionClosed as closed:
            raise Failure(f"the connection was closed: {closed}") from None
        at, at_unix = time.monotonic(), time.time()
        decoded = decode(message)
        decoded["at"], decoded["at_unix"] = at, at_unix
        decoded["binary"] = isinstance(message, bytes)
        return decoded

    async def collect(self, enough, what, patience=PATIENCE):
        """What comes until it is enough."""
        messages, end = [], time.monotonic() + patience
        while not enough(messages):
            try:
                left = end - time.monotonic()
                check(left > 0, f"not within {patience:g} s")
                messages.append(await self.next(left))
            except Failure as failure:
                kinds = sorted({str(message.get("type")) for message in messages})
                raise Failure(f"waiting for {what}: {failure}; came: {kinds}") from None
        return messages

    async def until(self, kind):
        """The next message of that type, and those before it."""

        def enough(messages):
            return messages and messages[-1].get("type") in (kind, "error")

        *before, message = await self.collect(enough, repr(kind))
        check(message["type"] == kind, f"waiting for {kind!r} came the error {message}")
        return message, before

    async def ask(self, reply, **request):
        await self.send(**request)
        return (await self.until(reply))[0]

    async def listen(self, seconds):
        """Everything that comes within that time, and before the answer to a ping at its end: what was sent and is not
        read yet, since this process was held up, is not missed."""
        messages = []
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                messages.append(await self.next(left))
            except Failure as failure:
                check("nothing came" in str(failure), str(failure))
        await self.send(action="ping")
        return messages + (await self.until("pong"))[1]


def ticks(messages):
    return [message for message in messages if message.get("type") == "tick"]


def live(messages):
    """The ticks that are no snapshots."""
    return [tick for tick in ticks(messages) if not tick.get("snapshot")]


def tokens(messages):
    """Of what there are ticks."""
    return {tick["token"] for tick in ticks(messages)}


def conflated(messages):
    """How many values the server says it has left out."""
    return sum(message["count"] for message in messages if message.get("type") == "conflated")


def later_than(end):
    """Enough for `collect`: the newest message is from after that time of the server's clock."""
    return lambda messages: messages and messages[-1].get("timestamp", 0) > end
