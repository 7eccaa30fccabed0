"""Lists the caller's streams in pages of two, with boto3's own paginator; prints the pages."""
import json

import boto3

control = boto3.client("kinesisvideo")
pages = control.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 2})
print(json.dumps([[stream["StreamName"] for stream in page["StreamInfoList"]] for page in pages]))
