#!/usr/bin/env python3
"""Two crowds in front of a running kvs-edge, timed. See README.md.

  herds.py --edge 127.0.0.1:8080 --origin 127.0.0.1:18080 --token JWT [--pid PID]

together  200 clients ask at once for one uncached object of 2 MiB that trickles over about a second.
paces     50 readers of one: each at a speed of its own, one stalls after its first bytes until all others are done.
Times are from sending the request, in ms. --pid: whose peak memory is told.
"""
import argparse, asyncio, json, time, urllib.request

def stats(origin): return json.load(urllib.request.urlopen(f"http://{origin}/stats"))["total"]

async def read(edge, token, path, rate=None, stall=None, alone=None):
    """First byte, last byte, length; `rate` in bytes a second; `stall`: waits for this event after the first bytes."""
    host, port = edge.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 16)
    if alone: await alone.wait()
    begun = time.monotonic()
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {edge}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0], head
    length = int([l for l in head.lower().split(b"\r\n") if l.startswith(b"content-length")][0].split(b":")[1])
    body, first = b"", None
    while len(body) < length:
        chunk = await reader.read(1 << 16)
        if not chunk: raise RuntimeError(f"short: {len(body)} of {length}")
        first = first or time.monotonic() - begun
        body += chunk
        if stall: await stall.wait(); stall = None
        if rate:
            wait = len(body) / rate - (time.monotonic() - begun)
            if wait > 0: await asyncio.sleep(wait)
    writer.close()
    return first * 1e3, (time.monotonic() - begun) * 1e3, body

def peak(pid):
    return next(int(l.split()[1]) / 1024 for l in open(f"/proc/{pid}/status") if l.startswith("VmHWM"))

async def main():
    a = argparse.ArgumentParser()
    for name in ("--edge", "--origin", "--token"): a.add_argument(name, required=True)
    a.add_argument("--pid"); a = a.parse_args()
    key = 1_600_000_000_000 + int(time.time() * 10) % 10_000_000_000
    def path(n):
        ms = key + n * 2000
        return f"/streams/cam-4/clip.mp4?start={ms // 1000}.{ms % 1000:03d}&end={ms // 1000 + 1}.{ms % 1000:03d}"
    await read(a.edge, a.token, path(0).replace("cam-4", "cam-1"))
    alone = await read(a.edge, a.token, path(1))
    before = stats(a.origin)
    go = asyncio.Event()
    crowd = [asyncio.create_task(read(a.edge, a.token, path(2), alone=go)) for _ in range(200)]
    await asyncio.sleep(1); go.set()
    got = await asyncio.gather(*crowd)
    firsts, lasts = sorted(g[0] for g in got), sorted(g[1] for g in got)
    print(f"alone: first {alone[0]:.1f}, last {alone[1]:.1f}")
    print(f"together: {stats(a.origin) - before} request(s); first byte: first reader {firsts[0]:.1f}, last reader {firsts[-1]:.1f}"
          f" ({firsts[-1] / firsts[0]:.2f}); last byte {lasts[0]:.1f} to {lasts[-1]:.1f} ({lasts[-1] / alone[1]:.2f} of alone); "
          f"equal bytes: {all(g[2] == got[0][2] for g in got)}")
    before, done = stats(a.origin), asyncio.Event()
    stalled = asyncio.create_task(read(a.edge, a.token, path(3), stall=done))
    speeds = [None] * 20 + [(1 << 20) * (1 + n / 2) for n in range(29)]
    others = await asyncio.gather(*(read(a.edge, a.token, path(3), rate=r) for r in speeds))
    done.set(); last = await stalled
    free = [o[1] for o, r in zip(others, speeds) if r is None]
    late = max(o[1] - 2 * (1 << 20) / r * 1e3 for o, r in zip(others, speeds) if r and r < 1.9 * (1 << 20))
    print(f"paces: {stats(a.origin) - before} request(s); unpaced readers done after {min(free):.1f} to {max(free):.1f} ({max(free) / alone[1]:.2f} of alone); "
          f"slowest paced ones late by {late:.0f} at most; equal bytes: {all(o[2] == last[2] for o in others)}"
          + (f"; peak resident {peak(a.pid):.0f} MiB" if a.pid else ""))

asyncio.run(main())
