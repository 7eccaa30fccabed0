#!/usr/bin/env python3
"""Runs every query of the dashboard against a Prometheus and says which return nothing.

    deploy/grafana/check.py http://127.0.0.1:9091 [--may-be-empty "Title,Title"]

Exits 1 when a panel has no data. Panels of things that did not happen (throttles) have series at 0, which is data.
"""
import json
import pathlib
import sys
import urllib.parse
import urllib.request

VALUES = {"$__rate_interval": "1m", "$instance": ".*", "$hls_price": "0.0119", "$price": "0.0085"}


def main():
    base = sys.argv[1].rstrip("/")
    excused = sys.argv[sys.argv.index("--may-be-empty") + 1].split(",") if "--may-be-empty" in sys.argv else []
    dashboard = json.loads(pathlib.Path(__file__).with_name("kvs-edge.json").read_text())
    empty = total = 0
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in VALUES.items():
                query = query.replace(name, value)
            url = f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": query})
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    result = json.load(answer)["data"]["result"]
            except urllib.error.HTTPError as error:
                sys.exit(f"{panel['title']}: {query}\n  {error.read().decode()}")
            total += 1
            real = [r for r in result if r["value"][1] != "NaN"]
            if not real and panel["title"] not in excused:
                empty += 1
                print(f"no data: {panel['title']} [{target['refId']}]: {query}")
    print(f"{total - empty} of {total} queries return data")
    sys.exit(1 if empty else 0)


main()
