"""20 restarts of two replicas, one at a time, behind HAProxy and under load: no request fails, players play on, ffmpeg
among them. See world.py."""

import os
import signal
import subprocess
import sys
import time

from world import Crowd, World, asks, plays

RESTARTS = int(os.environ.get("RESTARTS", 20))
base = int(os.environ.get("BASE", 26200))
front = base + 1
world = World(sys.argv[1], base, replicas=2, front=front)
HAPROXY = f"""
global
  maxconn 2000
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 30s
  timeout check 2s
  # A replica that ends a connection just as a request is sent on it: the request goes to the other one.
  option redispatch
  retries 3
  retry-on conn-failure empty-response
frontend viewers
  bind 127.0.0.1:{front}
  default_backend replicas
backend replicas
  balance roundrobin
  option httpchk GET /readyz
  default-server check inter 500ms fall 2 rise 1 pool-purge-delay 1s
  server a 127.0.0.1:{base + 10} port {base + 30}
  server b 127.0.0.1:{base + 11} port {base + 31}
"""
(world.folder / "haproxy.cfg").write_text(HAPROXY)
proxy = subprocess.Popen(["haproxy", "-db", "-f", str(world.folder / "haproxy.cfg")],
                         stdout=open(world.folder / "haproxy.log", "w"), stderr=subprocess.STDOUT)
try:
    time.sleep(1)
    token = world.token()
    crowd, seen = Crowd(), []
    for n in range(6):
        crowd.add(plays, front, token, f"cam-{n % 3 + 1}", seen)
    for _ in range(4):
        crowd.add(asks, front, token, 0.05, "/streams", "/streams/cam-1/snapshot.jpg", "/streams/cam-1/clip.mp4?start={start}&end={end}")
    status, _, headers = crowd.ask(front, "/streams/cam-1/live.m3u8", token)
    ffmpeg = subprocess.Popen(["ffmpeg", "-nostdin", "-v", "warning", "-re", "-i", f"http://127.0.0.1:{front}{urllib.parse.urlparse(headers['location']).path}", "-t", str(RESTARTS * 4),
                               "-c", "copy", "-f", "null", "-"], stderr=open(world.folder / "ffmpeg.log", "w"))
    time.sleep(5)
    began, longest = time.monotonic(), 0
    for n in range(RESTARTS):
        replica = n % 2
        process, asked = world.processes[f"edge-{replica}"], time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
        longest = max(longest, time.monotonic() - asked)
        if code != 0:
            seen.append(f"restart {n}: exit {code}")
        world.replica(replica)
        time.sleep(1.5)  # HAProxy looks every 500 ms
    took = time.monotonic() - began
    time.sleep(3)
    ended = ffmpeg.wait(RESTARTS * 8 + 60)
    complaints = (world.folder / "ffmpeg.log").read_text().strip()
    told = crowd.end()
    print(f"{RESTARTS} restarts in {took:.0f} s, longest drain {longest:.1f} s; {told}; players: {seen or 'played on'}; "
          f"ffmpeg: exit {ended}, {complaints[-400:] or 'no warning'}")
    for failure in crowd.failures[:10]:
        print(failure)
    sys.exit(1 if crowd.failures or seen or ended else 0)
finally:
    proxy.kill()
    world.end()
