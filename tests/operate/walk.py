"""An operator's walk through docs/OPERATIONS.md: each sentence that can be tried on one machine is tried on the running
program, and said. Needs openssl. See world.py.

    python3 tests/operate/walk.py target/debug/kvs-edge
"""

import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

from world import World, get, until

bad = []
CORS = "https://app.example.com"
base = int(os.environ.get("BASE", 26500))


def check(what, good, told=""):
    print(f"{'good' if good else 'BAD '} {what}{'' if good else ': ' + str(told)[:400]}", flush=True)
    if not good:
        bad.append(what)


def certificate(folder, name, ca=None):
    signer = ["-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-addext", "basicConstraints=critical,CA:FALSE"] if ca else []
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", f"/CN={name}", *signer,
                    "-addext", f"subjectAltName=DNS:{name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"], cwd=folder, check=True, capture_output=True)


def raw(port, data, path=None, seconds=5):
    """Everything that comes back for these bytes."""
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as peer:
        peer.settimeout(seconds)
        peer.connect(path or ("127.0.0.1", port))
        answer = b""
        try:
            peer.sendall(data)
            while piece := peer.recv(1 << 16):
                answer += piece
        except OSError:
            pass
        return answer.decode(errors="replace")


def logged(world, name="edge-0"):
    lines = (world.folder / f"{name}.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def ask(token, *headers):
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"GET /streams HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{lines}\r\n".encode()


def settings(world, old, new):
    file = world.folder / "edge.toml"
    file.write_text(file.read_text().replace(old, new))


def restart(world):
    world.processes["edge-0"].kill()
    world.processes["edge-0"].wait()
    world.replica(0)


def names(port, server_name, client=None):
    """The name on the certificate that is shown for `server_name`, and the protocol agreed on."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    if client:
        context.load_cert_chain(f"{client}.crt", f"{client}.key")
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5), server_hostname=server_name) as peer:
        shown = ssl.DER_cert_to_PEM_cert(peer.getpeercert(True))
        subject = subprocess.run(["openssl", "x509", "-noout", "-subject", "-serial"], input=shown, capture_output=True, text=True).stdout
        peer.do_handshake()
        alpn = peer.selected_alpn_protocol()
        peer.settimeout(2)
        try:  # TLS 1.3: a refused client certificate shows at the first read
            peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            alive = len(peer.recv(9)) > 0
        except OSError:
            alive = False
        return subject, alpn, alive


class Notified:
    """What a service tells systemd."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.told = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            self.told += self.socket.recv(4096).decode().splitlines()


world = World(sys.argv[1], base, more="")
try:
    token, port, admin = world.token(), base + 10, base + 30

    # Ten minutes
    place = ("--config", "edge.toml")
    check("check says nothing but a summary", "configuration is good" in world.run("check", *place))
    (world.folder / "bad.toml").write_text("[server]\nlisten = 'nowhere'\n")
    wrong = subprocess.run([world.binary, "check", "--config", "bad.toml"], cwd=world.folder, capture_output=True, text=True)
    check("a bad file: exit 2, file, line, column", wrong.returncode == 2 and "bad.toml:2:" in wrong.stdout + wrong.stderr, wrong.stderr)
    check("check --online reaches KVS and the issuers", "KVS answer" in world.run("check", *place, "--online"))
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/sessions", 200), ("/config", 200)):
        check(f"admin {path}", get(admin, path)[0] == status)
    check("the public port shows none of it", get(port, "/metrics")[0] == 404)
    check("/config shows no secret", b"operate" not in get(admin, "/config")[1].replace(b"operate.test", b""))

    # In front of it
    raw(port, ask(token, "X-Forwarded-For: 198.51.100.7", "X-Request-Id: not-mine"))
    until("the line is there", lambda: any(line.get("op") == "ListStreams" or line.get("target") == "access" for line in logged(world)))
    last = [line for line in logged(world) if line.get("target") == "access"][-1]
    check("X-Forwarded-For of a stranger is not believed", last["client_ip"] == "127.0.0.1", last)
    check("x-request-id of a stranger is not taken over", last["request_id"] != "not-mine", last)
    settings(world, "[server]\n", f'[server]\ntrusted_proxies = ["127.0.0.1/32"]\ncors_origins = ["{CORS}"]\n')
    restart(world)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    raw(port, ask(token, "X-Forwarded-For: 203.0.113.9, 198.51.100.7", "X-Request-Id: proxy-1", f"traceparent: 00-{trace}-00f067aa0ba902b7-01",
                  "Forwarded: for=192.0.2.1"))
    time.sleep(0.5)
    last = [line for line in logged(world) if line.get("target") == "access"][-1]
    check("a trusted proxy is: the rightmost address that is no proxy", last["client_ip"] == "198.51.100.7", last)
    check("its request id and its trace are in the line", (last["request_id"], last.get("trace_id")) == ("proxy-1", trace), last)
    preflight = "OPTIONS /getClip HTTP/1.1\r\nHost: a\r\nOrigin: {}\r\nAccess-Control-Request-Method: POST\r\nConnection: close\r\n\r\n"
    mine, other = (raw(port, preflight.format(origin).encode()).lower() for origin in (CORS, "https://evil.example"))
    check("CORS: the exact origin gets the SDK's headers", "x-amz-user-agent" in mine and f"allow-origin: {CORS}" in mine, mine)
    check("CORS: another gets nothing", "allow-origin" not in other, other)
    settings(world, "[server]\n", '[server]\nforwarded = "forwarded"\n')
    restart(world)
    raw(port, ask(token, "X-Forwarded-For: 198.51.100.7", 'Forwarded: for="[2001:db8::7]"'))
    time.sleep(0.5)
    last = [line for line in logged(world) if line.get("target") == "access"][-1]
    check("with forwarded = \"forwarded\" only Forwarded counts", last["client_ip"] == "2001:db8::7", last)
    settings(world, 'forwarded = "forwarded"\n', "proxy_protocol = true\n")
    world.processes["edge-0"].kill()
    world.replica(0)
    one = b"PROXY TCP4 198.51.100.20 127.0.0.1 5000 80\r\n"
    two = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([198, 51, 100, 21, 127, 0, 0, 1, 19, 136, 0, 80])
    for version, header, address in ((1, one, "198.51.100.20"), (2, two, "198.51.100.21")):
        answer = raw(port, header + ask(token))
        time.sleep(0.5)
        last = [line for line in logged(world) if line.get("target") == "access"][-1]
        check(f"PROXY protocol v{version}", "200 OK" in answer and last["client_ip"] == address, (answer[:100], last))
    check("without its header the connection closes", raw(port, ask(token)) == "")
    settings(world, "proxy_protocol = true\n", "")

    # A socket for a sidecar
    world.processes["edge-0"].kill()
    places = {"KVS_EDGE__SERVER__LISTEN": f"unix:{world.folder}/edge.sock", "KVS_EDGE__ADMIN__LISTEN": f"127.0.0.1:{admin}",
              "KVS_EDGE__LOG__AUDIT": "file:audit-0.log"}
    world.start("edge-0", "serve", *place, environment=places)
    until("ready", lambda: get(admin, "/readyz")[0] == 200)
    check("a Unix socket serves", "200 OK" in raw(0, ask(token), path=f"{world.folder}/edge.sock"))
    world.processes["edge-0"].kill()

    # TLS
    os.chdir(world.folder)
    for name in ("video.test", "other.test", "ca"):
        certificate(world.folder, name)
    certificate(world.folder, "client", ca="ca")
    settings(world, "[server]\n", '[server]\ntls = { certificate = "video.test.crt", key = "video.test.key", '
             'more = [{ certificate = "other.test.crt", key = "other.test.key" }] }\n')
    world.replica(0)
    shown, alpn, _ = names(port, "video.test")
    check("TLS: the first certificate, HTTP/2 by ALPN", "video.test" in shown and alpn == "h2", (shown, alpn))
    check("TLS: another name, another certificate (SNI)", "other.test" in names(port, "other.test")[0])
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        old.wrap_socket(socket.create_connection(("127.0.0.1", port), 5))
        check("TLS 1.1 is refused", False)
    except (ssl.SSLError, OSError):
        check("TLS 1.1 is refused", True)
    certificate(world.folder, "video.test")
    until("the new certificate is shown", lambda: names(port, "video.test")[0] != shown)
    check("TLS: a replaced certificate is taken by the next connection", True)
    (world.folder / "video.test.crt").write_text("nonsense")
    until("it is refused", lambda: world.metric("kvs_edge_config_last_reload_successful") == 0)
    check("TLS: a broken one is refused, the last good one stays", "video.test" in names(port, "video.test")[0])
    certificate(world.folder, "video.test")
    settings(world, 'key = "video.test.key", ', 'key = "video.test.key", client_ca = "ca.crt", ')
    until("it is taken", lambda: world.metric("kvs_edge_config_last_reload_successful") == 1)
    time.sleep(1)
    try:
        without = names(port, "video.test")[2]
    except (ssl.SSLError, OSError):
        without = False
    check("TLS: with client_ca nobody without a certificate", not without)
    check("TLS: and who has one is served", names(port, "video.test", "client")[2])
    text = (world.folder / "edge.toml").read_text()
    (world.folder / "edge.toml").write_text("\n".join(line for line in text.splitlines() if not line.startswith("tls =")))

    # Stop, reload, systemd
    world.processes["edge-0"].kill()
    notified = Notified(world.folder)
    listening = socket.create_server(("127.0.0.1", port))
    environment = {"KVS_EDGE__SERVER__LISTEN": "systemd", "KVS_EDGE__ADMIN__LISTEN": f"127.0.0.1:{admin}", "KVS_EDGE__LOG__AUDIT": "file:audit-0.log",
                   "KVS_EDGE__SERVER__DRAIN_TIMEOUT": "20s", "NOTIFY_SOCKET": notified.path, "WATCHDOG_USEC": "1000000", "LISTEN_FDS": "1"}
    command = f"exec 3<&{listening.fileno()}; exec env LISTEN_PID=$$ {world.binary} serve --config edge.toml"
    log = open(world.folder / "edge-0.log", "a")
    process = subprocess.Popen(["sh", "-c", command], cwd=world.folder, stdout=log, stderr=log, env={**os.environ, **environment}, pass_fds=[listening.fileno()])
    world.processes["edge-0"] = process
    until("READY=1", lambda: "READY=1" in notified.told)
    check("systemd: READY=1, by socket activation", get(port, "/streams", token)[0] == 200)
    count = notified.told.count("WATCHDOG=1")
    time.sleep(2.5)
    check("systemd: WATCHDOG=1 at least every second", notified.told.count("WATCHDOG=1") >= count + 2, notified.told)
    os.kill(process.pid, signal.SIGHUP)
    until("RELOADING=1", lambda: "RELOADING=1" in notified.told)
    until("READY=1 again", lambda: notified.told.count("READY=1") >= 2)
    check("systemd: SIGHUP is RELOADING=1 with a clock, then READY=1", any(line.startswith("MONOTONIC_USEC=") for line in notified.told), notified.told)
    keep = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    keep.request("GET", "/streams", headers={"Authorization": f"Bearer {token}"})
    keep.getresponse().read()
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    until("not ready", lambda: get(admin, "/readyz")[0] == 503)
    check("SIGTERM: /readyz fails at once and says why", time.monotonic() - began < 1 and b"draining" in get(admin, "/readyz")[1])
    check("SIGTERM: in the grace new work is taken", get(port, "/streams", token)[0] == 200)
    check("systemd: STOPPING=1", "STOPPING=1" in notified.told)
    process.wait(30)
    check("SIGTERM: ends by itself, exit 0, idle connections let go", process.returncode == 0 and time.monotonic() - began < 10)
    listening.close()
    world.replica(0)
    process = world.processes["edge-0"]
    slow = socket.create_connection(("127.0.0.1", port))
    slow.sendall(b"POST /describeStream HTTP/1.1\r\nHost: a\r\n")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.wait(30)
    check("a second signal ends now", time.monotonic() - began < 2, time.monotonic() - began)
finally:
    world.end()
print(f"{len(bad)} not as said")
sys.exit(1 if bad else 0)
