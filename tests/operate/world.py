"""A world to operate kvs-edge in: an emulator, replicas as processes of their own, tokens, players. Standard library only.

Each program here is one command, takes the binary's path (a `perf` or `release` build) and prints what it saw:

    python3 tests/operate/numbers.py  target/perf/kvs-edge      Prometheus, promtool, every query of the dashboard
    python3 tests/operate/reloads.py  target/perf/kvs-edge      100 reloads under load, good and bad in turn
    python3 tests/operate/rolling.py  target/perf/kvs-edge      20 restarts of two replicas behind HAProxy
    python3 tests/operate/slow.py     target/perf/kvs-edge      slowhttptest's four modes, a probe beside them

They need Debian's prometheus, haproxy, slowhttptest, ffmpeg, whichever they name, and take minutes.
"""

import base64
import collections
import http.client
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
ISSUER = "https://operate.test/"


class World:
    """Everything on loopback, from port `base` on: emulator, replicas at +10, their admin listeners at +30."""

    def __init__(self, binary, base, replicas=1, front=None, more="", environment=None):
        self.binary, self.base, self.replicas = os.path.abspath(binary), base, replicas
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kvs-edge-operate-"))
        self.front = front or base + 10
        self.environment = environment or {}
        self.processes = {}
        self.run("token", "--new-key", "dev.pem", "--jwks", "jwks.json")
        shutil.copy(ROOT / "config/policies/demo.cedar", self.folder / "policy.cedar")
        (self.folder / "playback-key").write_text(base64.b64encode(secrets.token_bytes(32)).decode())
        (self.folder / "emulator.toml").write_text('access_key = "AKIAEMULATOR00000001"\nsecret_key = "operate"\n')
        (self.folder / "secret").write_text("operate")
        (self.folder / "id").write_text("AKIAEMULATOR00000001")
        (self.folder / "edge.toml").write_text(f"""
[server]
public_url = "http://127.0.0.1:{self.front}"
drain_grace = "3s"
[[aws]]
name = "emulator"
region = "eu-west-1"
account = "123456789012"
endpoint_url = "http://127.0.0.1:{base}"
access_key_id = "file:id"
secret_access_key = "file:secret"
[[issuer]]
issuer = "{ISSUER}"
audience = ["kvs-edge"]
algorithms = ["ES256"]
jwks = "file:jwks.json"
claims = {{ subject = "/sub", groups = "/groups" }}
[policy]
files = ["policy.cedar"]
stream_sets = {{ lobby = ["cam-1"], public = ["cam-1", "cam-2"], all = ["*"] }}
[playback]
keys = ["file:playback-key"]
[log]
audit = "file:audit.log"
{more}""")
        self.start("emulator", "emulate", "--listen", f"127.0.0.1:{base}", "--config", "emulator.toml")
        until("the emulator listens", lambda: get(base, "/_emulator/requests")[0] > 0)
        for n in range(replicas):
            self.replica(n)

    def run(self, *arguments):
        return subprocess.run([self.binary, *arguments], cwd=self.folder, check=True, text=True, capture_output=True).stdout

    def start(self, name, *arguments, environment=None):
        log = open(self.folder / f"{name}.log", "a")
        everything = {**os.environ, **self.environment, **(environment or {})}
        self.processes[name] = subprocess.Popen(
            [self.binary, *arguments], cwd=self.folder, stdout=log, stderr=log, env=everything)
        return self.processes[name]

    def replica(self, n):
        """Starts a replica and waits until it says that it is ready."""
        places = {
            "KVS_EDGE__SERVER__LISTEN": f"127.0.0.1:{self.base + 10 + n}",
            "KVS_EDGE__ADMIN__LISTEN": f"127.0.0.1:{self.base + 30 + n}",
            "KVS_EDGE__LOG__AUDIT": f"file:audit-{n}.log",
        }
        self.start(f"edge-{n}", "serve", "--config", "edge.toml", environment=places)
        until("the replica is ready", lambda: self.alive(n) and get(self.admin(n), "/readyz")[0] == 200)

    def alive(self, n):
        if self.processes[f"edge-{n}"].poll() is not None:
            sys.exit((self.folder / f"edge-{n}.log").read_text()[-500:])
        return True

    def admin(self, n=0):
        return self.base + 30 + n

    def pid(self, n=0):
        return self.processes[f"edge-{n}"].pid

    def token(self, subject="alice", groups="investigators"):
        out = self.run("token", "--key", "dev.pem", "--issuer", ISSUER, "--audience", "kvs-edge",
                       "--subject", subject, "--groups", groups, "--ttl", "10h")
        return out.strip().splitlines()[-1]

    def metric(self, family, *labels, n=0):
        text = get(self.admin(n), "/metrics")[1].decode()
        lines = (line for line in text.splitlines() if re.match(rf"{family}[{{ ]", line))
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in labels))

    def end(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        print(f"logs: {self.folder}")


def get(port, path, token=None, method="GET", body=None, timeout=15, source="127.0.0.1"):
    """Status, body, headers over a connection of its own; status 0 if there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout, source_address=(source, 0))
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error).encode(), {}
    finally:
        connection.close()


def until(what, check, seconds=60):
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            sys.exit(f"waited in vain until {what}")
        time.sleep(0.05)


def resident(pid):
    """MiB in memory."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


class Crowd:
    """People who ask all the time, each in a thread; what became of it."""

    def __init__(self):
        self.stop = threading.Event()
        self.statuses, self.failures, self.times = collections.Counter(), [], []
        self.threads, self.lock = [], threading.Lock()

    def add(self, work, *arguments):
        self.threads.append(threading.Thread(target=work, args=(self, *arguments), daemon=True))
        self.threads[-1].start()

    def ask(self, port, path, token=None):
        began = time.monotonic()
        status, body, headers = get(port, path, token)
        with self.lock:
            self.statuses[status] += 1
            self.times.append(time.monotonic() - began)
            if status not in (200, 206, 302, 304):
                self.failures.append((round(time.time(), 2), status, path[:60], body[:120]))
        return status, body, headers

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(30)
        return f"{sum(self.statuses.values())} requests {dict(self.statuses)}, {len(self.failures)} failed"


def asks(crowd, port, token, pause, *paths):
    """Somebody who asks for one path after the other."""
    n = 0
    while not crowd.stop.is_set():
        end = int(time.time()) - 120 - 20 * (n // len(paths) % 5)
        crowd.ask(port, paths[n % len(paths)].format(start=end - 10, end=end), token)
        n += 1
        time.sleep(pause)


def plays(crowd, port, token, camera, seen):
    """A player: follows a live playlist and loads each new segment once. `seen` tells what it noticed."""
    status, _, headers = crowd.ask(port, f"/streams/{camera}/live.m3u8", token)
    if status != 302:
        return
    folder = urllib.parse.urlparse(headers["location"]).path.rsplit("/", 1)[0]
    loaded, last = set(), 0
    while not crowd.stop.is_set():
        status, text, _ = crowd.ask(port, f"{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=1")
        if status == 200:
            text = text.decode()
            number = int(re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", text)[1])
            if number < last:
                seen.append(f"{camera}: MEDIA-SEQUENCE went back from {last} to {number}")
            last = number
            for line in text.splitlines():
                if line.startswith("getMP4MediaFragment") and line not in loaded:
                    loaded.add(line)
                    crowd.ask(port, f"{folder}/{line}")
        time.sleep(1)
    if not loaded:
        seen.append(f"{camera}: no segment")


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")
