"""The official Python client, unchanged but for its root: told what to do and telling what happens, one JSON a line."""

import datetime
import json
import sys

from kiteconnect import KiteTicker
from kiteconnect.ticker import KiteTickerClientProtocol
from twisted.internet import reactor, stdio
from twisted.protocols.basic import LineReceiver


def tell(event, **more):
    orders.sendLine(json.dumps({"event": event, **more}).encode())


def plain(value):
    """What a tick holds, as JSON has it; a time as its epoch."""
    if isinstance(value, datetime.datetime):
        return {"epoch": int(value.timestamp())}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def on_pong(self, payload):
    tell("pong")
    original_on_pong(self, payload)


original_on_pong, KiteTickerClientProtocol.onPong = KiteTickerClientProtocol.onPong, on_pong

root, api_key, access_token = sys.argv[1:]
ticker = KiteTicker(api_key, access_token, root=root)
wishes = []


class Orders(LineReceiver):
    """What the test says. Before `connect`: each `wish`, asked for at each connection. `drop` cuts the connection,
    everything else is asked for now."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def lineReceived(self, line):
        order, *rest = json.loads(line)
        if order == "wish":
            wishes.append(rest)
        elif order == "connect":
            ticker.connect()
        elif order == "drop":
            ticker.ws.transport.abortConnection()
        else:
            ask(order, *rest)

    def connectionLost(self, _):
        reactor.stop()


def ask(order, *rest):
    getattr(ticker, order)(*rest)


def on_connect(_, __):
    for wish in wishes:
        ask(*wish)
    tell("connect")


def on_message(_, payload, is_binary):
    if not is_binary:
        tell("text", text=json.loads(payload))
    elif payload == b"\0":
        tell("heartbeat")
    else:
        tell("message", bytes=len(payload))


ticker.on_connect = on_connect
ticker.on_message = on_message
ticker.on_ticks = lambda _, ticks: tell("ticks", ticks=plain(ticks))
ticker.on_close = lambda _, code, reason: tell("close", code=code, reason=str(reason))
ticker.on_error = lambda _, code, reason: tell("error", code=code, reason=reason if code == 0 else str(reason))
ticker.on_reconnect = lambda _, attempts: tell("reconnect", attempts=attempts)
orders = Orders()
stdio.StandardIO(orders)
reactor.run()
