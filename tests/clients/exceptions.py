"""Makes every call of TABLE with boto3 and prints what became of each: the exception's class, code, status, message.

TABLE is a JSON list of {operation, url, token, input}. Nothing is tried twice: retries are another test's.
"""
import json
import os
import re

import boto3
import botocore.config
import botocore.exceptions

CONTROL = {"GetDataEndpoint", "DescribeStream", "ListStreams"}
once = botocore.config.Config(retries={"total_max_attempts": 1})
clients = {}


def client(row):
    service = "kinesisvideo" if row["operation"] in CONTROL else "kinesis-video-archived-media"
    if (service, row["url"]) not in clients:
        clients[service, row["url"]] = boto3.client(
            service,
            endpoint_url=row["url"],
            aws_access_key_id="kvsedge",
            aws_secret_access_key="kvsedge",
            aws_session_token=row["token"],
            config=once,
        )
    return clients[service, row["url"]]


def method(operation):
    """GetHLSStreamingSessionURL is get_hls_streaming_session_url."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", operation).lower()


def told(row):
    try:
        answer = getattr(client(row), method(row["operation"]))(**row["input"])
        if "Payload" in answer:
            answer["Payload"].read()
    except botocore.exceptions.ClientError as error:
        answer = error.response
        return {
            "class": type(error).__name__,
            "code": answer["Error"]["Code"],
            "status": answer["ResponseMetadata"]["HTTPStatusCode"],
            "message": answer["Error"]["Message"],
        }
    return {"class": None}


print(json.dumps([told(row) for row in json.loads(os.environ["TABLE"])]))
