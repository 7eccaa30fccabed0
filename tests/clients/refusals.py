"""How each refusal reaches a boto3 program: which exception, which status, how often it was tried.

Prints one JSON object, a line per situation. The tokens come as ALICE, who may, and BOB, who may not.
"""
import datetime
import json
import os

import boto3
import botocore.exceptions

now = datetime.datetime.now(datetime.timezone.utc)
start, end = now - datetime.timedelta(seconds=110), now - datetime.timedelta(seconds=90)


def media(token):
    keys = {"aws_access_key_id": "kvsedge", "aws_secret_access_key": "kvsedge", "aws_session_token": token}
    session = boto3.session.Session(**keys)
    control = session.client("kinesisvideo")
    endpoint = control.get_data_endpoint(StreamName="cam-1", APIName="LIST_FRAGMENTS")["DataEndpoint"]
    return session.client("kinesis-video-archived-media", endpoint_url=endpoint), control


def clip(client, stream, start=start, end=end):
    selector = {
        "FragmentSelectorType": "SERVER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": start, "EndTimestamp": end},
    }
    return client.get_clip(StreamName=stream, ClipFragmentSelector=selector)


def told(call):
    try:
        call()
    except botocore.exceptions.ClientError as error:
        answer = error.response
        return {
            "class": type(error).__name__,
            "code": answer["Error"]["Code"],
            "status": answer["ResponseMetadata"]["HTTPStatusCode"],
            "message": answer["Error"]["Message"],
            "retries": answer["ResponseMetadata"]["RetryAttempts"],
        }
    return {"class": None}


alice, control = media(os.environ["ALICE"])
bob, _ = media(os.environ["BOB"])
nobody = boto3.client(
    "kinesisvideo", aws_access_key_id="k", aws_secret_access_key="k", aws_session_token="not.a.token"
)
print(
    json.dumps(
        {
            "allowed": told(lambda: clip(alice, "cam-1")),
            "unknown": told(lambda: nobody.describe_stream(StreamName="cam-1")),
            "denied": told(lambda: clip(bob, "cam-1")),
            "missing": told(lambda: control.describe_stream(StreamName="cam-9")),
            "invalid": told(lambda: clip(alice, "cam-1", end, start)),
            "throttled": told(lambda: clip(alice, "cam-2")),
        }
    )
)
