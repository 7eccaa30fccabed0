"""Spans as a real receiver reads them: kvs-edge exports by OTLP, this decodes with OpenTelemetry's own protobuf classes
(`opentelemetry-proto` from PyPI) and draws one trace of each kind of request. See world.py."""

import http.server
import os
import sys
import threading
import time
import urllib.parse

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from world import World, get, until

base = int(os.environ.get("BASE", 26800))
spans, batches = [], []


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = ExportTraceServiceRequest.FromString(body)
        batches.append((self.path, len(body), self.headers["Content-Type"]))
        for of in request.resource_spans:
            service = {one.key: one.value.string_value for one in of.resource.attributes}["service.name"]
            spans.extend((service, span) for scope in of.scope_spans for span in scope.spans)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


receiver = http.server.ThreadingHTTPServer(("127.0.0.1", base + 1), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
world = World(sys.argv[1], base, more=f'[trace]\nendpoint = "http://127.0.0.1:{base + 1}"\nsample = 1.0\n')
try:
    token, port, end = world.token(), base + 10, int(time.time()) - 120
    clip = f"/streams/cam-1/clip.mp4?start={end - 20}&end={end}"
    for path in (clip, clip, "/streams/cam-1/snapshot.jpg", "/streams/cam-9/snapshot.jpg"):
        get(port, path, token)
    folder = urllib.parse.urlparse(get(port, "/streams/cam-1/live.m3u8", token)[2]["location"]).path.rsplit("/", 1)[0]
    text = get(port, f"{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=1")[1].decode()
    get(port, folder + "/" + [line for line in text.splitlines() if line.startswith("getMP4MediaFragment")][0])
    until("seven requests are told", lambda: sum(1 for _, span in spans if span.kind == 2) >= 7)
    print(f"{len(spans)} spans in {len(batches)} batches: {batches[0]}")
    for service, root in spans:
        if root.kind != 2:
            continue
        attributes = {one.key: one.value.string_value or one.value.int_value or one.value.bool_value for one in root.attributes}
        took = (root.end_time_unix_nano - root.start_time_unix_nano) / 1e6
        print(f"{service} {root.trace_id.hex()} {root.name} {took:.2f} ms {attributes} {root.status.message}")
        steps = [span for _, span in spans if span.parent_span_id == root.span_id]
        for span in sorted(steps, key=lambda span: span.start_time_unix_nano):
            at, took = (span.start_time_unix_nano - root.start_time_unix_nano) / 1e6, (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
            print(f"    at {at:7.2f} ms {span.name:13} {took:8.2f} ms")
    secret = [span for _, span in spans if token[:20] in str(span) or "alice" in str(span) or "SessionToken" in str(span)]
    print(f"{len(secret)} spans with a token or a name")
    sys.exit(1 if secret else 0)
finally:
    world.end()
