"""urllib and urllib3 (what requests is made of) follow a redirect with their own header: URL, token."""

import sys
import urllib.request

import urllib3

url, token = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}"}
with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
    assert answer.read().startswith(b"#EXTM3U"), "urllib"
answer = urllib3.PoolManager().request("GET", url, headers=headers)
assert answer.status == 200 and answer.data.startswith(b"#EXTM3U"), answer.data
