"""100 reloads under load, good and bad in turn, by POST /reload, SIGHUP and a changed file: no request fails, players
play on, a bad one changes nothing. See world.py."""

import os
import signal
import sys
import time

from world import Crowd, World, asks, get, plays, until

world = World(sys.argv[1], int(os.environ.get("BASE", 26100)))
try:
    token, port, admin = world.token(), world.base + 10, world.admin()
    crowd, seen = Crowd(), []
    for camera in ("cam-1", "cam-2", "cam-3"):
        crowd.add(plays, port, token, camera, seen)
    for _ in range(4):
        crowd.add(asks, port, token, 0.02, "/streams", "/streams/cam-1/snapshot.jpg", "/streams/cam-1/clip.mp4?start={start}&end={end}")
    time.sleep(5)
    policy, config = world.folder / "policy.cedar", world.folder / "edge.toml"
    good = {policy: policy.read_text(), config: config.read_text()}
    bad = {policy: good[policy] + "\npermit (prinzipal, action, resource);\n", config: good[config] + "\n[nonsense]\nx = 1\n"}
    successes = refusals = 0
    for n in range(100):
        file = policy if n % 4 < 2 else config
        want = 0 if n % 2 == 0 else 1
        file.write_text(bad[file] if want == 0 else good[file] + f"\n{'//' if file == policy else '#'} reload {n}\n")
        if n % 10 == 8:
            os.kill(world.pid(), signal.SIGHUP)
        elif n % 10 == 9:
            pass  # the change is noticed by itself
        else:
            status, body, _ = get(admin, "/reload", method="POST", body=b"")
            if want == 0:
                assert status == 422 and file.name.encode() in body, (status, body)
            else:
                assert status == 200, (status, body)
        until(f"reload {n} is told", lambda: world.metric("kvs_edge_config_last_reload_successful") == want)
        successes, refusals = successes + want, refusals + 1 - want
        time.sleep(0.3)
    time.sleep(3)
    told = crowd.end()
    print(f"{successes} good and {refusals} bad reloads; {told}; players: {seen or 'played on'}")
    sys.exit(1 if crowd.failures or seen else 0)
finally:
    world.end()
