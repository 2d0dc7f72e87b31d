"""Indicators with an independent client library: sessions of their own, tabs of an API key, HTTP.

The gateway is started here, with a secret, a key and the embedded market.
"""

import argparse
import asyncio
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import websockets

from tab import PATIENCE, Tab, check, ok, run

SECRET = "0123456789abcdef0123456789abcdef"


def output(gateway, *arguments):
    """What a command of the gateway prints, and what it says beside it."""
    environment = os.environ | {"TICKFAN_JWT_SECRET": SECRET}
    done = subprocess.run([gateway, *arguments], env=environment, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def token(gateway, user):
    return output(gateway, "token", "--sub", user, "--email", f"{user}@example.com")[0].strip()


class Server:
    """The gateway, for as long as it is needed. It has no history: what is asked for has a value from the first bar."""

    def __init__(self, gateway, folder):
        keys = pathlib.Path(folder, "keys.toml")
        entry, told = output(gateway, "hash-key", "desk")
        keys.write_text(entry)
        self.key = told.splitlines()[0].strip()
        environment = os.environ | {"TICKFAN_JWT_SECRET": SECRET}
        command = [gateway, "--listen", "127.0.0.1:0", "--feed", "market", "--market-rate", "5000", "--forming-ms",
                   "50", "--api-keys-file", str(keys)]
        self.errors = open(pathlib.Path(folder, "errors"), "w")
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        for line in self.process.stdout:
            if found := re.search(r"listening on (http:\S+)", line):
                self.url = found[1]
                return
        sys.exit("the gateway did not say where it listens")

    def end(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


async def session(url, jwt):
    tab = await Tab.open(url, f"/indicators/v2/stream?token={jwt}")
    greeting, _ = await tab.until("success")
    check(re.fullmatch(r"ws_[0-9a-f]{12}", greeting["data"]["ws_conn_id"]), f"the greeting is {greeting}")
    return tab


async def subscribe(tab, symbol, timeframe, indicators):
    await tab.send(action="subscribe", symbol=symbol, timeframe=timeframe, indicators=indicators)
    return await tab.until("success")


def keys(messages):
    return {(m["symbol"], m["timeframe"], m["indicator_id"]) for m in messages if m["type"] == "indicator_update"}


async def only(tab, *expected):
    """Waits until all these have been updated, and listens on: nothing else may be."""
    messages = await tab.collect(lambda messages: set(expected) <= keys(messages), f"updates of {expected}")
    seen = keys(messages + await tab.listen(1.5))
    check(seen == set(expected), f"updates of {seen}, asked for {expected}")


async def protocol(url, jwt):
    tab = await session(url, jwt("ann"))
    reply, _ = await subscribe(tab, "RELIANCE", "1min", [{"name": "SMA", "params": {"length": 2}}, "vwap"])
    check(reply["message"] == "Subscribed to 2 indicators", f"subscribe: {reply}")
    check(reply["data"]["indicators"] == ["SMA_2", "VWAP"], f"canonical ids: {reply}")
    check(set(reply["data"]["initial_values"]) == {"SMA_2", "VWAP"}, f"initial values: {reply}")
    update, _ = await tab.until("indicator_update")
    expected = {"type", "symbol", "timeframe", "indicator_id", "value", "timestamp", "candle_time"}
    check(expected <= update.keys(), f"an update lacks {expected - update.keys()}")
    check(update["timestamp"].endswith("Z") and update["candle_time"].endswith("Z"), f"times of {update}")
    ok("a subscription is answered as documented and updates follow")

    await subscribe(tab, "INFY", "5m", ["VWAP"])
    await subscribe(tab, "RELIANCE", "1", ["OBV"])
    await only(tab, ("INFY", "5m", "VWAP"), ("RELIANCE", "1", "OBV"))
    ok("another instrument is added, the same one replaced, in the client's words")

    for request, code in (
        ({"action": "dance"}, "UNKNOWN_ACTION"),
        ({"action": "subscribe"}, "VALIDATION_ERROR"),
        ({"action": "subscribe", "symbol": "INFY", "timeframe": "5m", "indicators": ["MOON"]}, "INVALID_INDICATOR"),
        ({"action": "subscribe", "symbol": "NO-SUCH", "timeframe": "5m", "indicators": ["RSI"]}, "SUBSCRIBE_ERROR"),
        ({"action": "unsubscribe", "symbol": "NO-SUCH"}, "UNSUBSCRIBE_ERROR"),
    ):
        error = await tab.ask("error", **request)
        check(error["error_code"] == code and error["message"], f"{request}: {error}")
    await tab.socket.send("no JSON")
    error, _ = await tab.until("error")
    check(error["error_code"] == "JSON_ERROR", f"no JSON: {error}")
    pong = await tab.ask("pong", action="ping")
    check(pong["timestamp"].endswith("Z"), f"pong: {pong}")
    ok("errors have their codes and leave the connection open")

    await tab.send(action="unsubscribe")
    reply, _ = await tab.until("success")
    check(sorted(reply["data"]["indicators_removed"]) == ["OBV", "VWAP"], f"unsubscribe: {reply}")
    check(not keys(await tab.listen(1)), "updates after the unsubscription")
    await tab.socket.close()
    ok("nothing follows an unsubscription")


async def refusals(url):
    for path, reason in (("/indicators/v2/stream", "Missing JWT token"),
                         ("/indicators/stream?api_key=x", "Invalid API key"),
                         ("/indicators/v2/stream?token=x.y.z", "Invalid token")):
        tab = await Tab.open(url, path)
        try:
            await asyncio.wait_for(tab.socket.recv(), PATIENCE)
            check(False, f"{path} was let in")
        except websockets.ConnectionClosed as closed:
            check((closed.rcvd.code, closed.rcvd.reason) == (1008, reason), f"{path}: {closed}")
    ok("who shows nothing good is closed with 1008 and the reason")


async def isolation(url, jwt):
    one, two, bob = await session(url, jwt("ann")), await session(url, jwt("ann")), await session(url, jwt("bob"))
    await subscribe(one, "INFY", "1min", ["OBV"])
    await subscribe(two, "INFY", "1min", ["VWAP"])
    await subscribe(bob, "RELIANCE", "1min", ["VWAP"])
    own = {one: ("INFY", "1min", "OBV"), two: ("INFY", "1min", "VWAP"), bob: ("RELIANCE", "1min", "VWAP")}
    await asyncio.gather(*(only(tab, expected) for tab, expected in own.items()))
    await one.socket.close()
    await asyncio.gather(only(two, own[two]), only(bob, own[bob]))
    await asyncio.gather(two.socket.close(), bob.socket.close())
    ok("tabs of one user, and of two, get their own; closing one leaves the others alone")


async def clients(url, key):
    tabs = [await Tab.open(url, f"/indicators/stream?api_key={key}") for _ in range(2)]
    for tab in tabs:
        await tab.until("success")
    reply, _ = await subscribe(tabs[0], "TCS", "1min", ["OBV"])
    check(reply["data"]["subscriptions"] == ["OBV"], f"legacy subscribe: {reply}")
    await asyncio.gather(*(only(tab, ("TCS", "1min", "OBV")) for tab in tabs))
    reply = await ask_http(url, key, "/indicators/unsubscribe", {"symbol": "TCS"})
    check(reply["data"]["unsubscribed"] == ["OBV"], f"unsubscribe by HTTP: {reply}")
    # What was on its way comes before the answer to a ping.
    await asyncio.gather(*(tab.ask("pong", action="ping") for tab in tabs))
    heard = await asyncio.gather(*(tab.listen(1) for tab in tabs))
    check(not any(keys(messages) for messages in heard), "updates after an unsubscription by HTTP")
    for tab in tabs:
        await tab.socket.close()
    ok("tabs of one API key share what the key has, also by HTTP")


def http(url, credential, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Authorization": f"Bearer {credential}"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        return json.load(reply)


async def ask_http(*arguments):
    return await asyncio.to_thread(http, *arguments)


async def by_http(url, jwt, key):
    series = "symbol=INFY&timeframe=1min"
    for credential in (jwt("ann"), key):
        current = await ask_http(url, credential, f"/indicators/current?{series}&indicators=SMA_2,EMA_2")
        check(set(current["values"]) == {"SMA_2", "EMA_2"}, f"current: {current}")
        check({"value", "timestamp", "cached"} <= current["values"]["SMA_2"].keys(), f"current: {current}")
        history = await ask_http(url, credential, f"/indicators/history?{series}&indicator=SMA_2&lookback=5")
        check(history["indicator_id"] == "SMA_2" and isinstance(history["series"], list), f"history: {history}")
        offset = await ask_http(url, credential, f"/indicators/at-offset?{series}&indicators=SMA_2&offset=0")
        check("value" in offset["values"]["SMA_2"], f"at-offset: {offset}")
    body = {"symbol": "INFY", "timeframes": ["1min", "5min"], "indicators": ["SMA_2"]}
    batch = await ask_http(url, key, "/indicators/batch", body)
    check(set(batch["timeframes"]) == {"1min", "5min"}, f"batch: {batch}")
    try:
        await ask_http(url, "nonsense", f"/indicators/current?{series}&indicators=SMA_2")
        check(False, "nonsense was let in")
    except urllib.error.HTTPError as error:
        check(error.code == 401, f"nonsense got {error.code}")
    end = time.monotonic() + PATIENCE
    # Whoever has just left may be counted a moment longer.
    while (health := await ask_http(url, "", "/indicators/v2/health"))["active_sessions"] and time.monotonic() < end:
        await asyncio.sleep(0.1)
    check(health["status"] == "healthy" and health["active_sessions"] == 0, f"health: {health}")
    ok("the HTTP endpoints answer in their documented shapes")


async def main(options):
    with tempfile.TemporaryDirectory() as folder:
        server = Server(options.gateway, folder)
        try:
            jwt = lambda user: token(options.gateway, user)
            await protocol(server.url, jwt)
            await refusals(server.url)
            await isolation(server.url, jwt)
            await clients(server.url, server.key)
            await by_http(server.url, jwt, server.key)
            check(server.process.poll() is None, "the gateway has ended")
        finally:
            server.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", required=True, help="the program")
    run(main(parser.parse_args()))
