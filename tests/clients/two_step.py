"""An unmodified boto3 program: only AWS_ENDPOINT_URL_KINESIS_VIDEO points at kvs-edge, the JWT is the session token.

Prints one JSON object with what it got.
"""
import datetime
import hashlib
import json
import sys

import boto3

now = datetime.datetime.now(datetime.timezone.utc)
start, end = now - datetime.timedelta(seconds=60), now - datetime.timedelta(seconds=20)
control = boto3.client("kinesisvideo")


def media(api):
    endpoint = control.get_data_endpoint(StreamName="cam-1", APIName=api)["DataEndpoint"]
    return boto3.client("kinesis-video-archived-media", endpoint_url=endpoint), endpoint


out = {}
client, out["endpoint"] = media("GET_CLIP")
selector = {
    "FragmentSelectorType": "SERVER_TIMESTAMP",
    "TimestampRange": {"StartTimestamp": start, "EndTimestamp": end},
}
clip = client.get_clip(StreamName="cam-1", ClipFragmentSelector=selector)["Payload"].read()
out["clip"] = {"bytes": len(clip), "sha256": hashlib.sha256(clip).hexdigest()}
if len(sys.argv) > 1:
    with open(sys.argv[1], "wb") as file:
        file.write(clip)

client, _ = media("LIST_FRAGMENTS")
pages = client.get_paginator("list_fragments").paginate(
    StreamName="cam-1", FragmentSelector=selector, PaginationConfig={"PageSize": 7}
)
numbers = [fragment["FragmentNumber"] for page in pages for fragment in page["Fragments"]]
out["fragments"] = {"count": len(numbers), "distinct": len(set(numbers))}

client, _ = media("GET_IMAGES")
images = client.get_images(
    StreamName="cam-1",
    ImageSelectorType="SERVER_TIMESTAMP",
    StartTimestamp=start,
    EndTimestamp=end,
    SamplingInterval=3000,
    Format="JPEG",
)["Images"]
out["images"] = sum(1 for image in images if image.get("ImageContent"))

client, _ = media("GET_MEDIA_FOR_FRAGMENT_LIST")
mkv = client.get_media_for_fragment_list(StreamName="cam-1", Fragments=sorted(numbers)[:3])["Payload"].read()
out["mkv"] = mkv.count(bytes.fromhex("1A45DFA3"))

client, _ = media("GET_HLS_STREAMING_SESSION_URL")
out["hls"] = client.get_hls_streaming_session_url(StreamName="cam-1")["HLSStreamingSessionURL"]
client, _ = media("GET_DASH_STREAMING_SESSION_URL")
out["dash"] = client.get_dash_streaming_session_url(StreamName="cam-1")["DASHStreamingSessionURL"]

out["streams"] = [
    stream["StreamName"]
    for page in control.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 1})
    for stream in page["StreamInfoList"]
]
out["described"] = control.describe_stream(StreamName="cam-1")["StreamInfo"]["Status"]
print(json.dumps(out))
