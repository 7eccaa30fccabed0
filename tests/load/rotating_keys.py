"""An issuer whose keys rotate, while strangers send thousands of tokens a second with random `kid`s.

    python3 tests/load/rotating_keys.py target/perf/kvs-edge [PORT]

Starts `kvs-edge serve` with a JWKS on a small HTTP server here, `wrk` as the strangers, and honest callers with a fresh
token for each request. The issuer publishes its next key, signs with it when every reader has had 16 s, and then
withdraws the old one. Prints how often the issuer was asked and who was refused; exits 1 if an honest caller was, if the
strangers came to less than 2,000 requests a second, or if two reads that they caused are less than 15 s apart. Takes a
minute. `docs/PERFORMANCE.md` tells what was seen; `tests/it/authentication.rs` is the smaller version for `make test`.
"""
import http.client
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM, PORT = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 21080
ISSUER, SECONDS = "https://rotating.test/", 56
PUBLISHED, USED, WITHDRAWN = 5, 22, 36  # seconds after the start

CONFIG = """
[server]
listen = "127.0.0.1:{port}"
[admin]
listen = "127.0.0.1:{admin}"
[[aws]]
name = "main"
region = "eu-west-1"
account = "123456789012"
endpoint_url = "http://127.0.0.1:9"
access_key_id = "file:playback-key"
secret_access_key = "file:playback-key"
[[issuer]]
issuer = "{issuer}"
audience = ["kvs-edge"]
algorithms = ["ES256"]
jwks = "http://127.0.0.1:{keys}/keys"
claims = {{ subject = "/sub", groups = "/groups" }}
[policy]
files = ["p.cedar"]
[playback]
keys = ["file:playback-key"]
[log]
audit = "file:audit.log"
"""

# A header with a random kid, and the payload and signature of a token that is right in all but its key.
STRANGERS = """
local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local function base64url(text)
  return (text:gsub("..?.?", function(group)
    local a, b, c = group:byte(1, 3)
    local bits, out = a * 65536 + (b or 0) * 256 + (c or 0), ""
    for place = 3, 3 - #group, -1 do
      local six = math.floor(bits / 64 ^ place) % 64
      out = out .. letters:sub(six + 1, six + 1)
    end
    return out
  end))
end
local rest, name = "REST", 0
init = function() math.randomseed(os.time()) end
request = function()
  local kid = string.format("%d-%d", math.random(0, 2 ^ 30), math.random(0, 2 ^ 30))
  local header = base64url('{"alg":"ES256","kid":"' .. kid .. '"}')
  return wrk.format("POST", "/getDataEndpoint", { ["Authorization"] = "Bearer " .. header .. "." .. rest },
    '{"StreamName":"cam-1","APIName":"GET_CLIP"}')
end
"""

folder = tempfile.mkdtemp()
at = lambda name: os.path.join(folder, name)


def write(name, text):
    with open(at(name), "w") as file:
        file.write(text)


class Issuer(http.server.BaseHTTPRequestHandler):
    document, asked = b"", []

    def do_GET(self):
        Issuer.asked.append(time.monotonic())
        self.send_response(200)
        self.send_header("Content-Length", str(len(Issuer.document)))
        self.end_headers()
        self.wfile.write(Issuer.document)

    def log_message(self, *_):
        pass


def new_key(name):
    subprocess.run([PROGRAM, "token", "--new-key", at(name), "--jwks", at(name + ".json")], check=True, stdout=subprocess.DEVNULL)
    return json.load(open(at(name + ".json")))["keys"]


def mint(key, subject):
    command = [PROGRAM, "token", "--key", at(key), "--issuer", ISSUER, "--audience", "kvs-edge", "--groups", "investigators"]
    return subprocess.run(command + ["--subject", subject], check=True, capture_output=True, text=True).stdout.strip()


old, new = new_key("old"), new_key("new")
publish = lambda keys: setattr(Issuer, "document", json.dumps({"keys": keys}).encode())
publish(old)
issuer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
threading.Thread(target=issuer.serve_forever, daemon=True).start()
write("p.cedar", "permit (principal, action, resource);")
write("playback-key", "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=")
write("edge.toml", CONFIG.format(port=PORT, admin=PORT + 1, issuer=ISSUER, keys=issuer.server_port))
tokens = {key: [mint(key, f"ann-{key}-{n}") for n in range(400)] for key in ("old", "new")}
write("strangers.lua", STRANGERS.replace("REST", tokens["old"][0].split(".", 1)[1][:-4] + "AAAA"))

log = open(at("log"), "w")
edge = subprocess.Popen([PROGRAM, "serve", "--config", at("edge.toml")], stdout=log, stderr=log)
try:
    for _ in range(100):
        try:
            http.client.HTTPConnection("127.0.0.1", PORT, timeout=1).connect()
            break
        except OSError:
            time.sleep(0.1)
    begun = time.monotonic()
    first_read = len(Issuer.asked)
    wrk = subprocess.Popen(
        ["wrk", "-t1", "-c32", f"-d{SECONDS}s", "--latency", "-s", at("strangers.lua"), f"http://127.0.0.1:{PORT}"],
        stdout=subprocess.PIPE, text=True,
    )
    refused, served, slowest, turn = [], {"old": 0, "new": 0}, 0.0, 0
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    while (now := time.monotonic() - begun) < SECONDS - 1:
        publish(old if now < PUBLISHED else old + new if now < WITHDRAWN else new)
        # The issuer stops using the old key a moment before it withdraws it.
        good = (["old"] if now < WITHDRAWN - 1 else []) + (["new"] if now > USED else [])
        for key in good:
            turn += 1
            sent = time.monotonic()
            connection.request("POST", "/getDataEndpoint", '{"StreamName":"cam-1","APIName":"GET_CLIP"}',
                               {"Authorization": "Bearer " + tokens[key][turn % len(tokens[key])]})
            answer = connection.getresponse()
            body = answer.read()
            slowest = max(slowest, time.monotonic() - sent)
            served[key] += 1
            if answer.status != 200:
                refused.append((round(now, 1), key, answer.status, body.decode()))
        time.sleep(0.02)
    report = wrk.communicate()[0]
finally:
    edge.terminate()
    edge.wait()

reads = [round(when - begun, 1) for when in Issuer.asked]
forced = Issuer.asked[first_read:]
gaps = [round(b - a, 1) for a, b in zip(forced, forced[1:])]
rate = float(next(line for line in report.splitlines() if "Requests/sec" in line).split()[-1])
strangers = int(next(line for line in report.splitlines() if "requests in" in line).split()[0])
odd = int(next((line for line in report.splitlines() if "Non-2xx" in line), "0 0").split()[-1])
print(f"strangers: {strangers} requests with random kids, {rate:.0f} a second, {odd} refused")
print(f"honest:    {served['old']} with the old key, {served['new']} with the new one, {len(refused)} refused; slowest {slowest * 1000:.0f} ms")
print(f"the issuer was asked {len(reads)} times, at {reads} s; between reads that strangers caused: {gaps} s")
for one in refused[:5]:
    print("refused:", one)
bad = bool(refused) or rate < 2000 or odd != strangers or any(gap < 15 for gap in gaps)
print("log:", at("log"))
sys.exit(1 if bad else 0)
