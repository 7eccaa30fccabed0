"""slowhttptest's four modes with 4,000 connections each, and beside them a probe that asks for a cached picture 20 times a
second: its 99th percentile against that without the attack, and the memory. See world.py.

The attacker has a good token (slowhttptest has no option for it, so it rides behind the cookie), the probe another address.
One address holds at most 256 connections by default, which makes the attack from one machine small; so this runs with
that limit out of the way as well (`open`), where all 4,000 get in."""

import os
import subprocess
import sys
import threading
import time

from world import Crowd, World, get, quantile, resident

CONNECTIONS, RATE, SECONDS = 4000, 800, int(os.environ.get("SECONDS_EACH", 30))
OPEN = "[limits]\nconnections_per_address = 10000\n"
SHUT = ""


def probe(port, token, stop, times, failures):
    while not stop.is_set():
        began = time.monotonic()
        status, _, _ = get(port, "/streams/cam-1/snapshot.jpg?at=" + PICTURE, token, source="127.0.0.2")
        times.append(time.monotonic() - began)
        if status != 200:
            failures.append(status)
        time.sleep(0.05)


def probed(port, token, work):
    stop, times, failures = threading.Event(), [], []
    thread = threading.Thread(target=probe, args=(port, token, stop, times, failures))
    thread.start()
    output = work()
    stop.set()
    thread.join()
    return output, times, failures


for name, more in (("open", OPEN), ("as by default", SHUT)):
    world = World(sys.argv[1], int(os.environ.get("BASE", 26300)), more=more)
    try:
        token, port = world.token(), world.base + 10
        PICTURE = str(int(time.time()) - 300)
        get(port, "/streams/cam-1/snapshot.jpg?at=" + PICTURE, token)
        begin = int(time.time()) - 600
        clip = f"/streams/cam-1/clip.mp4?start={begin}&end={begin + 60}"
        size = len(get(port, clip, token)[1])
        _, quiet, _ = probed(port, token, lambda: time.sleep(10))
        before = resident(world.pid())
        print(f"{name}: unloaded p50 {quantile(quiet, .5) * 1e3:.1f} ms, p99 {quantile(quiet, .99) * 1e3:.1f} ms; {before:.0f} MiB")
        url = f"http://127.0.0.1:{port}"
        common = ["slowhttptest", "-c", str(CONNECTIONS), "-r", str(RATE), "-l", str(SECONDS), "-p", "3", "-j", f"a=b\r\nAuthorization: Bearer {token}"]
        modes = {
            "slowloris (-H)": ["-H", "-i", "5", "-x", "24", "-u", url + "/streams"],
            "slow body (-B)": ["-B", "-i", "5", "-s", "8192", "-t", "POST", "-x", "10", "-u", url + "/describeStream"],
            "ranges (-R)": ["-R", "-a", "10", "-b", "3000", "-u", url + clip],
            "slow read (-X)": ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3", "-u", url + clip],
        }
        for mode, arguments in modes.items():
            peak, most, stop = [before], [0.0], threading.Event()

            def watch():
                while not stop.is_set():
                    peak.append(resident(world.pid()))
                    most.append(world.metric("kvs_edge_connections_open"))
                    time.sleep(0.5)

            watcher = threading.Thread(target=watch)
            watcher.start()
            output, times, failures = probed(port, token, lambda: subprocess.run(common + arguments, capture_output=True, text=True).stdout)
            stop.set()
            watcher.join()
            p99, base = quantile(times, .99) * 1e3, quantile(quiet, .99) * 1e3
            ended = [line.strip() for line in output.splitlines() if "Exit status" in line]
            print(f"  {mode}: probe p50 {quantile(times, .5) * 1e3:.1f} ms, p99 {p99:.1f} ms ({p99 / base:.1f} times), {len(times)} asked, "
                  f"{len(failures)} failed; most connections {max(most):.0f}; memory at most {max(peak):.0f} MiB; {' '.join(ended)}", flush=True)
            time.sleep(2)
    finally:
        world.end()
