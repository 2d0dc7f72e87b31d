"""The Kite endpoint with the official clients for Python and Node, of which only the root is changed.

Upstream is a stand-in for Kite in this process, so that every byte is known. The twelve points are those a server must
keep for existing clients to work: each is checked with real clients where they can show it, and byte by byte in
tests/kite_endpoint where they cannot.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import signal
import socket
import struct
import sys
import tempfile
import time

import websockets

from tab import Failure, check, get, ok, run

HERE = pathlib.Path(__file__).resolve().parent
INFY, NIFTY_50, TCS, RELIANCE = 408065, 256265, 2953217, 738561
API_KEY, ACCESS_TOKEN = "s3cretkey", "s3cret+token"
LINGER_S, LONG_LINGER_S = 3, 8
PATIENCE = 60.0
"""Seconds after which what has not come is a failure. Only ever spent by a test that fails. The clients try again after
1, 2, 4, 8 s, and so does the gateway."""


def full(token, number):
    """A full packet; `number` is its volume, its price follows it."""
    price = 100_000 + number
    head = struct.pack(">IiIiIIIiiii", token, price, 7, price, number, 11, 13, price, price, price, 99_000)
    rows = b"".join(struct.pack(">IiHH", number + row, price + row, row, 0) for row in range(10))
    return head + struct.pack(">IIIII", 1_785_124_499, 17, 19, 5, 1_785_124_500) + rows


def message(*packets):
    return struct.pack(">H", len(packets)) + b"".join(struct.pack(">H", len(packet)) + packet for packet in packets)


class Disturbed(Failure):
    """A client's connection did not last. Either the gateway is to blame, or the client was held up itself: Node's
    closes its connection when it has read nothing for 5 s."""


class Port:
    """A port that is kept while nobody listens on it: bound, so that no other program is given it, and shared with
    whoever names it. Connections are refused meanwhile."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.number = self.socket.getsockname()[1]


class Upstream:
    """What Kite is to the gateway. Keeps what it was asked for."""

    def __init__(self):
        self.asked = []
        self.sockets = set()
        self.server = None
        self.place = Port()
        self.port = self.place.number

    async def start(self):
        self.server = await websockets.serve(
            self.serve, "127.0.0.1", self.port, max_size=None, compression=None, reuse_address=True
        )

    async def stop(self):
        self.server.close()
        await self.server.wait_closed()

    async def serve(self, socket):
        self.sockets.add(socket)
        heartbeats = asyncio.ensure_future(self.heartbeats(socket))
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in socket:
                self.asked.append(json.loads(text))
        heartbeats.cancel()
        self.sockets.discard(socket)

    async def heartbeats(self, socket):
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await asyncio.sleep(1)
                await socket.send(b"\0")

    async def send(self, data):
        for socket in list(self.sockets):
            await socket.send(data)

    def modes(self, since=0):
        """What is wanted now of each token, by what was asked since then."""
        wanted = {}
        for request in self.asked[since:]:
            action, value = request["a"], request["v"]
            for token in value[1] if action == "mode" else value:
                if action == "unsubscribe":
                    wanted.pop(token, None)
                else:
                    wanted[token] = value[0] if action == "mode" else wanted.get(token, "quote")
        return wanted


class Gateway:
    def __init__(self, program, upstream):
        self.program, self.upstream = program, upstream
        self.log = tempfile.NamedTemporaryFile(prefix="tickfan-kite-", suffix=".log")
        self.place = Port()
        self.port, self.process = self.place.number, None

    async def start(self, linger_s=LINGER_S):
        await until("the one before leaves upstream", lambda: not self.upstream.sockets)
        # What that one had asked for says nothing of this one.
        self.upstream.asked.clear()
        self.process = await asyncio.create_subprocess_exec(
            self.program, "--listen", f"127.0.0.1:{self.port}", "--feed", "kite", "--kite-root",
            f"ws://127.0.0.1:{self.upstream.port}/", "--data-dir", "none", "--log", "trace", "--demand-linger-ms",
            str(linger_s * 1000),
            # Heartbeats come from this process, which may be held up.
            "--kite-watchdog-ms", "20000", "--max-connections", "3",
            env={**os.environ, "KITE_API_KEY": "upkey", "KITE_ACCESS_TOKEN": "uptoken"},
            stdout=asyncio.subprocess.PIPE, stderr=self.log, stdin=asyncio.subprocess.DEVNULL,
        )
        line = (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)).decode()
        check("listening on http://" in line, f"the gateway does not start: {line} {self.logged()[-2000:]}")
        await until("the gateway connects upstream", lambda: self.upstream.sockets)

    async def stop(self):
        self.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self.process.wait(), PATIENCE)

    def health(self):
        return get(f"http://127.0.0.1:{self.port}", "/ws/health")["websocket_stats"]

    async def until_left(self):
        """Waits until nothing is counted of the clients of the test before."""

        def is_left():
            health = self.health()
            return health["connected_clients"] == 0 and not any(health["token_subscribers"].values())

        await until("all clients have left", is_left, self.health)

    async def until_wanted(self, tokens, count):
        """Waits until so many clients have said that they want each of these."""

        def subscribers():
            counts = self.health()["token_subscribers"]
            return {counts.get(str(token), 0) for token in tokens}

        await until(f"{count} clients have subscribed", lambda: subscribers() == {count}, subscribers)

    async def until_subscribed(self, mode, count):
        """Waits until so many clients have said what they want of INFY, and upstream has heard of it."""
        await self.until_wanted([INFY], count)
        await until("upstream is asked", lambda: self.upstream.modes().get(INFY) == mode, self.upstream.modes)

    def logged(self):
        return pathlib.Path(self.log.name).read_text(encoding="utf-8", errors="replace")


class Client:
    """A process with an official client in it."""

    def __init__(self, name, process):
        self.name, self.process = name, process
        self.events = []
        self.reader = asyncio.ensure_future(self.read())

    @classmethod
    async def open(cls, name, gateway, *wishes, access_token=ACCESS_TOKEN, holds=False):
        command = {"python": [sys.executable, HERE / "kite_client.py"], "node": ["node", HERE / "kite_client.mjs"]}
        process = await asyncio.create_subprocess_exec(
            *command[name], f"ws://127.0.0.1:{gateway.port}", API_KEY, access_token, limit=1 << 24,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "TZ": "Asia/Kolkata"},
        )
        client = cls(name, process)
        for wish in wishes:
            client.say("wish", *wish)
        if holds:
            client.say("hold")
        client.say("connect")
        return client

    async def read(self):
        while line := await self.process.stdout.readline():
            self.events.append(json.loads(line))

    def say(self, *order):
        self.process.stdin.write(json.dumps(order).encode() + b"\n")

    def of(self, event, since=0):
        return [found for found in self.events[since:] if found["event"] == event]

    def ticks(self):
        return [tick for found in self.of("ticks") for tick in found["ticks"]]

    def last(self, token):
        ticks = [tick for tick in self.ticks() if tick["instrument_token"] == token]
        return ticks[-1] if ticks else {}

    async def until(self, what, done):
        await until(f"{self.name}: {what}", done, lambda: f"{self.events[-5:]}")

    async def until_connected(self, times=1):
        await self.until("connects", lambda: len(self.of("connect")) >= times)

    async def until_back(self):
        """Lets it go on, again and again: it may have been held up before it stopped itself."""

        def is_back():
            self.process.send_signal(signal.SIGCONT)
            return len(self.of("connect")) >= 2

        await self.until("comes back", is_back)

    async def until_volume(self, token, number):
        await self.until(f"volume {number} of {token}", lambda: self.last(token).get("volume_traded") == number)

    def lengths(self):
        """Of the packets of each message, on average, with the fields that tell them."""
        both = zip(self.of("message"), self.of("ticks"))
        return [(found["bytes"] - 2) / len(told["ticks"]) for found, told in both]

    def check_undisturbed(self, since, why):
        noise = [event for event in self.events[since:] if event["event"] in ("close", "reconnect", "error", "pong")]
        if noise:
            raise Disturbed(f"{self.name}: {why}: {noise}")

    async def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        self.reader.cancel()


async def until(what, done, more=lambda: ""):
    end = time.monotonic() + PATIENCE
    while not done():
        check(time.monotonic() < end, f"waited in vain: {what} {more()}")
        await asyncio.sleep(0.01)


async def undisturbed(gateway, stage):
    """Three times if need be: a gateway that disturbs its clients does so each time, a machine does not."""
    for _ in range(2):
        try:
            return await stage()
        except Disturbed as disturbed:
            print(f"once more: {disturbed}", flush=True)
        await gateway.until_left()
    await stage()


async def same_values(gateway, upstream, vectors):
    """1: with only the root changed, the clients' ticks are those of the vectors."""
    if vectors is None:
        return print("skipped: the vectors are not there; set TICKFAN_SHARED", flush=True)
    names = {"python": "pykiteconnect", "node": "kiteconnectjs"}

    # Where a frame is broken, clients differ; the gateway sends on what is good, in whole frames.
    def is_whole(vector):
        data, at = bytes.fromhex(vector["hex"]), 2
        if len(data) < 2:
            return False
        for _ in range(int.from_bytes(data[:2], "big")):
            length = int.from_bytes(data[at : at + 2], "big")
            at += 2 + length
            if length not in (8, 28, 32, 44, 184) or at > len(data):
                return False
        return at == len(data)

    whole = [vector for vector in vectors if is_whole(vector) and vector["pykiteconnect"].get("ticks")]
    tokens = {tick["instrument_token"] for vector in whole for tick in vector["pykiteconnect"]["ticks"]} | {RELIANCE}
    for name, theirs in names.items():
        client = await Client.open(name, gateway, ("set_mode", "full", sorted(tokens)))
        await gateway.until_wanted(tokens, 1)
        await until("upstream is asked", lambda: set(upstream.modes()) >= tokens)
        # The first value of a token may be conflated with the second: one before all others.
        for token in sorted(tokens):
            await upstream.send(message(full(token, 1)))
        await upstream.send(message(full(RELIANCE, 2)))
        await client.until_volume(RELIANCE, 2)
        for number, vector in enumerate(whole, 3):
            since = len(client.ticks())
            await upstream.send(bytes.fromhex(vector["hex"]))
            await upstream.send(message(full(RELIANCE, number)))
            await client.until_volume(RELIANCE, number)
            got = [tick for tick in client.ticks()[since:] if tick["instrument_token"] != RELIANCE]
            expected = vector[theirs]["ticks"]
            check(got == without_naive(expected), f"{name}, {vector['name']}: {got} and not {without_naive(expected)}")
        await client.close()
        await gateway.until_left()
        ok(f"1: {name} gets the values of {len(whole)} vectors")


def without_naive(value):
    if isinstance(value, dict):
        return {key: without_naive(item) for key, item in value.items() if key != "naive"}
    return [without_naive(item) for item in value] if isinstance(value, list) else value


async def silence_and_outage(gateway, upstream, silence, outage):
    """2, 3 and 8: neither a silent market nor a dead upstream costs a client its connection; no pong comes unasked."""
    wishes = [("subscribe", [INFY]), ("set_mode", "full", [INFY])]
    clients = [await Client.open(name, gateway, *wishes) for name in ("python", "node")]
    try:
        await gateway.until_subscribed("full", 2)
        since = [len(client.events) for client in clients]
        await asyncio.sleep(silence)
        for client, at in zip(clients, since):
            await client.until("heartbeats", lambda: len(client.of("heartbeat", at)) >= silence // 2)
            client.check_undisturbed(at, "reconnects in a silent market")
        ok(f"2: {silence} s of silence disturb neither client; 8: no pong came unasked")

        since, told = [len(client.events) for client in clients], len(upstream.asked)
        await upstream.stop()
        try:
            await asyncio.sleep(outage)
            for client, at in zip(clients, since):
                client.check_undisturbed(at, "reconnects because upstream is down")
        finally:
            await upstream.start()
        await until("upstream is asked again", lambda: upstream.modes(told).get(INFY) == "full", lambda: upstream.asked)
        await upstream.send(message(full(INFY, 33)))
        for client, at in zip(clients, since):
            await client.until_volume(INFY, 33)
            client.check_undisturbed(at, "reconnects because upstream is back")
        ok(f"3: {outage} s without upstream close no socket, and ticks go on")
    finally:
        for client in clients:
            await client.close()


async def modes(gateway, upstream):
    """4 and 5: a mode alone subscribes; each client gets its own mode."""
    ltp = await Client.open("node", gateway, ("set_mode", "ltp", [INFY]))
    whole = await Client.open("python", gateway, ("set_mode", "full", [INFY]))
    await gateway.until_subscribed("full", 2)
    await upstream.send(message(full(INFY, 1)))
    await ltp.until("an ltp tick", ltp.ticks)
    await whole.until_volume(INFY, 1)
    check(ltp.lengths()[-1] == 2 + 8, f"{ltp.of('message')}")
    check(whole.lengths()[-1] == 2 + 184, f"{whole.of('message')}")
    ok("4: a mode alone subscribes")
    await whole.close()
    await gateway.until_subscribed("ltp", 1)
    for number in range(2, 6):
        await upstream.send(message(full(INFY, number)[:8]))
        await ltp.until("no gap", lambda: ltp.last(INFY).get("last_price") == (100_000 + number) / 100)
    prices = [tick["last_price"] for tick in ltp.ticks()]
    check(prices[-5:] == [(100_000 + number) / 100 for number in range(1, 6)], f"ltp: {prices}")
    await ltp.close()
    ok("5: each client has its mode; when the one in full leaves, upstream goes down and the other sees no gap")


async def drops(gateway, upstream):
    """6: what Python says twice after a drop does not reach upstream. It comes back after a second, or later when it is
    held up, but within the long linger."""
    wishes = [("subscribe", [INFY, NIFTY_50]), ("set_mode", "full", [INFY])]
    client = await Client.open("python", gateway, *wishes)
    await gateway.until_subscribed("full", 1)
    await until("only these are wanted", lambda: upstream.modes() == {INFY: "full", NIFTY_50: "quote"}, upstream.modes)
    told = len(upstream.asked)
    client.say("drop")
    await client.until_connected(2)
    await gateway.until_subscribed("full", 1)
    await upstream.send(message(full(INFY, 5)))
    await client.until_volume(INFY, 5)
    await asyncio.sleep(LONG_LINGER_S + 1)
    check(len(upstream.asked) == told, f"upstream was asked: {upstream.asked[told:]}")
    ok("6: a drop and Python's doubled resubscription cause no upstream traffic")

    client.say("subscribe", ["INFY"])
    await client.until("an error", lambda: [error for error in client.of("error") if error["code"] == 0])
    reason = [error for error in client.of("error") if error["code"] == 0][0]["reason"]
    check(isinstance(reason, str) and "instrument token" in reason, f"the error is {reason!r}")
    await upstream.send(message(full(INFY, 6)))
    await client.until_volume(INFY, 6)
    await client.close()
    ok("7: an error is a text, and the socket stays")


async def frozen(gateway, upstream, freeze):
    """10: a client that does not read delays nobody, and has the latest values afterwards."""
    wishes = [("subscribe", [INFY]), ("set_mode", "full", [INFY])]
    sleeper = await Client.open("python", gateway, *wishes)
    reader = await Client.open("node", gateway, *wishes)
    try:
        await gateway.until_subscribed("full", 2)
        sleeper.process.send_signal(signal.SIGSTOP)
        since, number = len(reader.events), 100
        end = time.monotonic() + freeze
        while time.monotonic() < end:
            for _ in range(200):
                number += 1
                await upstream.send(message(full(INFY, number)))
            await reader.until_volume(INFY, number)
        reader.check_undisturbed(since, "is disturbed by one that does not read")
        sleeper.process.send_signal(signal.SIGCONT)
        await sleeper.until_volume(INFY, number)
    finally:
        await sleeper.close()
        await reader.close()
    ok(f"10: one that was frozen for {freeze} s delayed nobody and has the latest of {number} values")


async def refusals(gateway):
    """12: a refusal is plain HTTP."""
    client = await Client.open("python", gateway, access_token="")
    await client.until("is refused", lambda: client.of("close"))
    reason = client.of("close")[0]["reason"]
    check("403" in reason and "Forbidden" in reason, f"refused with {reason}")
    await client.close()
    others = [await Client.open("python", gateway) for _ in range(3)]
    for client in others:
        await client.until_connected()
    client = await Client.open("node", gateway)
    await client.until("is refused", lambda: client.of("error"))
    check("429" in client.of("error")[0]["reason"], f"refused with {client.of('error')}")
    for client in [client, *others]:
        await client.close()
    ok("12: 403 and 429 reach the clients as HTTP")


async def restart(gateway, upstream):
    """9: a restart closes with 1001, and the clients come back."""
    wishes = [("subscribe", [INFY]), ("set_mode", "full", [INFY])]
    clients = [await Client.open(name, gateway, *wishes, holds=name == "node") for name in ("python", "node")]
    for client in clients:
        await client.until_connected()
    await gateway.stop()
    for client in clients:
        await client.until("is closed", lambda: client.of("close"))
        check(client.of("close")[0]["code"] == 1001, f"{client.name}: closed with {client.of('close')}")
    await gateway.start()
    for client in clients:
        await client.until_back()
    await gateway.until_subscribed("full", 2)
    await upstream.send(message(full(INFY, 77)))
    for client in clients:
        await client.until_volume(INFY, 77)
        await client.close()
    ok("9: a restart closes with 1001, and both clients come back by themselves")


def vectors():
    shared = pathlib.Path(os.environ.get("TICKFAN_SHARED") or HERE.parents[1].parent / "shared")
    try:
        return json.loads((shared / "kite/vectors.json").read_text())["vectors"]
    except FileNotFoundError:
        return None


async def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--gateway", required=True, help="the program")
    arguments.add_argument("--silence", type=float, default=12, help="seconds without a tick; the point says 30")
    arguments.add_argument("--outage", type=float, default=8, help="seconds without upstream; the point says 60")
    arguments.add_argument("--freeze", type=float, default=8, help="seconds a client does not read; the point says 30")
    options = arguments.parse_args()
    upstream = Upstream()
    await upstream.start()
    gateway = Gateway(options.gateway, upstream)
    stages = [
        lambda: same_values(gateway, upstream, vectors()),
        lambda: modes(gateway, upstream),
        lambda: undisturbed(gateway, lambda: silence_and_outage(gateway, upstream, options.silence, options.outage)),
        lambda: undisturbed(gateway, lambda: frozen(gateway, upstream, options.freeze)),
        lambda: refusals(gateway),
        lambda: restart(gateway, upstream),
    ]
    await gateway.start(LONG_LINGER_S)
    try:
        await drops(gateway, upstream)
        await gateway.stop()
        await gateway.start()
        for stage in stages:
            await stage()
            await gateway.until_left()
    finally:
        with contextlib.suppress(ProcessLookupError):
            await gateway.stop()
    log = gateway.logged()
    check("listening" in log or "starting" in log, "the gateway has no log")
    check("s3cret" not in log and "access_token=" not in log, "the log holds a query")
    ok("11: no query string is in the log, which was at level trace")


if __name__ == "__main__":
    run(main())
