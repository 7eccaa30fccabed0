"""Posts whose answer comes before the body, each followed by a good request through the same connection object of
Python's http.client, and the same through urllib3's pool. Prints how many of the good requests were answered.

    early_answers.py HOST:PORT TOKEN ROUNDS
"""

import http.client
import json
import sys
import time

import urllib3

address, token, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
good = {"Authorization": f"Bearer {token}"}
body = json.dumps({"StreamName": "cam-1", "Filler": "x" * 40_000}).encode()


def slowly():
    """A body that comes a moment after its head."""
    for at in range(0, len(body), 10_000):
        time.sleep(0.01)
        yield body[at : at + 10_000]


def with_http_client():
    answered, early = 0, 0
    connection = http.client.HTTPConnection(address, timeout=10)
    for _ in range(rounds):
        try:
            # No credentials: the answer is made from the head alone.
            connection.request("POST", "/getClip", body=slowly(), headers={"Content-Length": str(len(body))})
            answer = connection.getresponse()
            answer.read()
            early += answer.status == 401
            connection.request("GET", "/streams/cam-1", headers=good)
            answer = connection.getresponse()
            answer.read()
            answered += answer.status == 200
        except (OSError, http.client.HTTPException) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            connection.close()
    return {"early": early, "good": answered}


def with_urllib3():
    answered, early = 0, 0
    pool = urllib3.HTTPConnectionPool(*address.split(":"), maxsize=1, retries=False, timeout=10)
    for _ in range(rounds):
        try:
            early += pool.request("POST", "/getClip", body=body).status == 401
            answered += pool.request("GET", "/streams/cam-1", headers=good).status == 200
        except urllib3.exceptions.HTTPError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return {"early": early, "good": answered}


print(json.dumps({"http.client": with_http_client(), "urllib3": with_urllib3()}))
