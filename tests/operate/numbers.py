"""What Prometheus and Grafana see: the demo under traffic for two minutes, scraped by a real Prometheus with our rules.
promtool checks the metrics, the rules and their tests; every query of the dashboard must return data. See world.py."""

import os
import subprocess
import sys
import time

from world import ROOT, Crowd, World, asks, get, plays, until

base = int(os.environ.get("BASE", 26400))
world = World(sys.argv[1], base, more="[cache]\nmemory = '64MiB'\ndisk = { path = 'disk', size = '1GiB' }\n")
deploy = ROOT / "deploy"
bad = 0


def check(what, *command, stdin=None):
    global bad
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    told = (done.stdout + done.stderr).strip()
    print(f"{what}: {'clean' if done.returncode == 0 else 'FAILED'}: {told.splitlines()[-1] if told else ''}")
    if done.returncode:
        print(told)
        bad += 1


config = f"""
global: {{ scrape_interval: 5s, evaluation_interval: 5s }}
rule_files: ["{deploy}/prometheus/rules.yml"]
scrape_configs:
  - job_name: kvs-edge
    static_configs: [{{ targets: ["127.0.0.1:{world.admin()}"] }}]
"""
(world.folder / "prometheus.yml").write_text(config)
prometheus = subprocess.Popen(
    ["prometheus", f"--config.file={world.folder}/prometheus.yml", f"--storage.tsdb.path={world.folder}/tsdb",
     f"--web.listen-address=127.0.0.1:{base + 1}"], stdout=open(world.folder / "prometheus.log", "w"), stderr=subprocess.STDOUT)
try:
    token, guard, port = world.token(), world.token("bob", "guards"), world.base + 10
    crowd, seen = Crowd(), []
    for camera in ("cam-1", "cam-2", "cam-3"):
        crowd.add(plays, port, token, camera, seen)
    crowd.add(asks, port, token, 0.3, "/streams", "/streams/cam-1/snapshot.jpg", "/streams/cam-1/clip.mp4?start={start}&end={end}",
              "/streams/cam-2/fragments?start={start}&end={end}")
    crowd.add(asks, port, guard, 1, "/streams/cam-3", "/streams/cam-2/clip.mp4?start={start}&end={end}")  # denied
    crowd.add(asks, port, "nobody", 1, "/streams")
    time.sleep(125)
    check("promtool check metrics", "promtool", "check", "metrics", stdin=get(world.admin(), "/metrics")[1].decode())
    check("promtool check rules", "promtool", "check", "rules", str(deploy / "prometheus/rules.yml"))
    check("promtool test rules", "promtool", "test", "rules", str(deploy / "prometheus/rules_test.yml"))
    check("dashboard", sys.executable, str(deploy / "grafana/check.py"), f"http://127.0.0.1:{base + 1}")
    print(f"the traffic: {crowd.end()} (nobody and the guard are refused on purpose)")
finally:
    prometheus.kill()
    world.end()
sys.exit(bad)
