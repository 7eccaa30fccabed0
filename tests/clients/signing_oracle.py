"""Signs each request of the file REQUESTS as botocore does, and prints those whose Authorization differs.

One JSON object a line: method, url, content_type, body (base64), key, secret, token (or null), region, seconds, and
authorization, which is what kvs-edge made of it.
"""
import base64
import datetime
import json
import os
import sys

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

different = 0
count = 0
with open(os.environ["REQUESTS"], encoding="utf-8") as lines:
    for line in lines:
        case = json.loads(line)
        now = datetime.datetime.fromtimestamp(case["seconds"], datetime.timezone.utc).replace(tzinfo=None)
        botocore.auth.get_current_datetime = lambda remove_tzinfo=True, now=now: now
        headers = {"Content-Type": case["content_type"]} if case["content_type"] else {}
        request = AWSRequest(case["method"], case["url"], headers, base64.b64decode(case["body"]))
        credentials = Credentials(case["key"], case["secret"], case["token"])
        botocore.auth.SigV4Auth(credentials, "kinesisvideo", case["region"]).add_auth(request)
        count += 1
        if request.headers["Authorization"] != case["authorization"]:
            different += 1
            print(json.dumps({**case, "botocore": request.headers["Authorization"]}))
print(f"{count} requests, {different} differ")
sys.exit(1 if different or not count else 0)
