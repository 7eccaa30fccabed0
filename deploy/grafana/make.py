#!/usr/bin/env python3
"""Writes kvs-edge.json, the dashboard. Rows, panels and queries are listed below; run it after a change.

    deploy/grafana/make.py            write the file
    deploy/grafana/make.py --check    fail if the file is not what this would write
"""
import json
import pathlib
import sys

FILE = pathlib.Path(__file__).with_name("kvs-edge.json")
SOURCE = {"type": "prometheus", "uid": "${source}"}
HLS = 'api=~"GetHLS.*|GetMP4.*|GetTS.*"'
OTHER = 'api!~"GetHLS.*|GetMP4.*|GetTS.*|Console|Other"'
HERE = 'instance=~"$instance"'


def rate(metric, by="", labels="", over="$__rate_interval"):
    labels = ",".join(part for part in (HERE, labels) if part)
    head = f"sum by ({by})" if by else "sum"
    return f"{head}(rate({metric}{{{labels}}}[{over}]))"


def quantile(q, metric, by):
    return f"histogram_quantile({q}, {rate(metric + '_bucket', by + ', le')})"


def usd(metric, hls_price="$hls_price", price="$price"):
    return (f"({rate(metric, labels=HLS)} * {hls_price} + {rate(metric, labels=OTHER)} * {price})"
            " * 3600 / 2^30")


def saved():
    # Of both kinds together: viewers' HLS is packaged from fragments, which KVS bills at the other price.
    return f"({usd('kvs_edge_outgoing_bytes_total')}) - ({usd('kvs_edge_upstream_bytes_total')})"


# title, unit, [(query, legend)], what it tells; a fifth element "stat" makes it one number
ROWS = [
    ("Requests (RED)", [
        ("Requests", "reqps", [(rate("kvs_edge_requests_total", "api"), "{{api}}")],
         "Answered requests by CloudWatch's operation names."),
        ("Errors", "reqps", [(rate("kvs_edge_requests_total", "api, code", 'code!~"2..|3.."'), "{{api}} {{code}}")],
         "Answers that are no success. 401 and 403 are callers', 429 and 502 to 504 KVS's or ours."),
        ("Time to first byte, p50 and p99", "s",
         [(quantile(0.5, "kvs_edge_request_duration_seconds", "api"), "p50 {{api}}"),
          (quantile(0.99, "kvs_edge_request_duration_seconds", "api"), "p99 {{api}}")],
         "From the request's head to the first body byte."),
        ("Time to first byte by cache outcome, p99", "s",
         [(quantile(0.99, "kvs_edge_request_duration_seconds", "cache"), "{{cache}}")],
         "What a hit saves."),
        ("Transfer time, p99", "s",
         [(quantile(0.99, "kvs_edge_response_transfer_seconds", "api"), "{{api}}")],
         "From the first byte to the last: clients' networks, mostly."),
        ("Under way", "short",
         [(f"sum(kvs_edge_requests_in_flight{{{HERE}}})", "requests"),
          (f"sum(kvs_edge_connections_open{{{HERE}}})", "connections")],
         "Requests whose last byte has not left; open connections of clients."),
    ]),
    ("Process (USE)", [
        ("CPU", "percentunit", [(f"rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval])", "{{instance}}")],
         "Cores in use."),
        ("Memory", "bytes", [(f"process_resident_memory_bytes{{{HERE}}}", "{{instance}}")], "Resident memory."),
        ("File descriptors", "percentunit",
         [(f"process_open_fds{{{HERE}}} / process_max_fds{{{HERE}}}", "{{instance}}")], "Share of the limit in use."),
        ("Turned away", "reqps", [(rate("kvs_edge_requests_rejected_total", "reason"), "{{reason}}")],
         "Connections and requests refused because of a limit."),
        ("Log lines lost", "short", [(rate("kvs_edge_log_lines_dropped_total", "instance"), "{{instance}}")],
         "Standard output too slow."),
        ("Up since", "dateTimeAsIso", [(f"process_start_time_seconds{{{HERE}}} * 1000", "{{instance}}")],
         "Start of each process.", "stat"),
    ]),
    ("KVS", [
        ("Quota in use", "percentunit",
         [(f"max by (stream, kind) (kvs_edge_quota_utilization_ratio{{{HERE}}})", "{{stream}} {{kind}}")],
         "Share of each stream's points used. At 100 % KVS throttles."),
        ("Requests to KVS", "reqps", [(rate("kvs_edge_upstream_requests_total", "api, code"), "{{api}} {{code}}")],
         "By status, or by what came instead of one."),
        ("Time to KVS's answer, p99", "s",
         [(quantile(0.99, "kvs_edge_upstream_request_duration_seconds", "api"), "{{api}}")],
         "From sending to the head of the answer."),
        ("Throttles and retries", "reqps",
         [(rate("kvs_edge_upstream_throttled_total", "api"), "throttled {{api}}"),
          (rate("kvs_edge_upstream_retries_total", "reason"), "retried: {{reason}}")],
         "What KVS refused for now and what was sent again."),
        ("Endpoint lookups", "reqps", [(rate("kvs_edge_endpoint_lookups_total", "result"), "{{result}}")],
         "GetDataEndpoint, remembered for 40 minutes."),
        ("Shared sessions", "short",
         [(f"sum by (protocol) (kvs_edge_sessions_active{{{HERE}}})", "{{protocol}}"),
          (rate("kvs_edge_session_renewals_total", "result", over="5m") + " * 60", "{{result}} a minute")],
         "Upstream playback sessions held open, and how renewing them goes."),
        ("Quota points", "short", [(rate("kvs_edge_quota_points_total", "kind"), "{{kind}}")],
         "Points used a second, all streams."),
        ("Viewers", "short", [(f"topk(20, sum by (stream) (kvs_edge_viewers_active{{{HERE}}}))", "{{stream}}")],
         "Viewers seen lately; the twenty busiest streams."),
    ]),
    ("Cache", [
        ("Hit ratio by requests", "percentunit",
         [(rate("kvs_edge_requests_total", labels='cache=~"hit|collapsed|stale"') + " / ("
           + rate("kvs_edge_requests_total", labels='cache=~"hit|collapsed|stale|miss"') + " > 0)", "answered without KVS")],
         "Found, joined, or still good enough."),
        ("Lookups", "reqps", [(rate("kvs_edge_cache_requests_total", "tier, result"), "{{tier}} {{result}}")],
         "By tier and result."),
        ("Size", "bytes", [(f"sum by (tier) (kvs_edge_cache_bytes{{{HERE}}})", "{{tier}}")], "Bytes held."),
        ("Entries", "short", [(f"sum by (tier) (kvs_edge_cache_entries{{{HERE}}})", "{{tier}}")], "Entries held."),
        ("Evictions", "short", [(rate("kvs_edge_cache_evictions_total", "tier, reason"), "{{tier}} {{reason}}")],
         "Why entries went. `size` all the time: the tier is too small."),
    ]),
    ("Fleet", [
        ("Shared store", "bool_on_off", [(f"kvs_edge_shared_up{{{HERE}}}", "{{instance}} {{store}}")],
         "Whether the store that replicas share answers."),
        ("Operations", "ops", [(rate("kvs_edge_shared_operations_total", "op, result"), "{{op}} {{result}}")],
         "Of the shared store, by what became of them."),
        ("Time of operations, p99", "s",
         [(quantile(0.99, "kvs_edge_shared_operation_duration_seconds", "op"), "{{op}}")], "Of those that were answered."),
        ("Leases", "ops", [(rate("kvs_edge_fleet_leases_total", "kind, result"), "{{kind}} {{result}}")],
         "Who loads for all. `lost`: it took longer than a lease lasts."),
        ("Rejected and rebuilt", "short",
         [(rate("kvs_edge_shared_rejected_total", "reason"), "rejected: {{reason}}"),
          (rate("kvs_edge_shared_rebuilt_total", "instance"), "rebuilt: {{instance}}")],
         "Values that did not open; connections that were replaced."),
        ("Alone", "short", [(f"sum by (instance) (kvs_edge_fleet_alone{{{HERE}}})", "{{instance}}")],
         "Streams that are played without the shared store."),
        ("Replicas", "short",
         [(f"max(kvs_edge_fleet_replicas{{{HERE}}})", "replicas"),
          (f"max(kvs_edge_fleet_configurations{{{HERE}}})", "configurations")],
         "More than one configuration: see the runbook.", "stat"),
        ("Age of the log of purges", "s", [(f"max by (instance) (kvs_edge_fleet_purge_lag_seconds{{{HERE}}})", "{{instance}}")],
         "A purge takes effect when it is read."),
    ]),
    ("Money", [
        ("USD per hour now", "currencyUSD", [(usd("kvs_edge_upstream_bytes_total"), "with kvs-edge")],
         "What KVS bills for the bytes it sends to us.", "stat"),
        ("USD per hour without a cache", "currencyUSD", [(usd("kvs_edge_outgoing_bytes_total"), "without")],
         "What the same viewers would cost directly.", "stat"),
        ("Saved per 30 days", "currencyUSD", [(f"({saved()}) * 720", "saved")], "At the present rate.", "stat"),
        ("Billed and delivered bytes", "Bps",
         [(rate("kvs_edge_upstream_bytes_total"), "billed by KVS"), (rate("kvs_edge_outgoing_bytes_total"), "to clients")],
         "Bytes to clients are not free either, where they leave AWS."),
        ("Billed bytes by operation", "Bps", [(rate("kvs_edge_upstream_bytes_total", "api"), "{{api}}")], "Where they go."),
        ("Streams that cost most", "Bps",
         [(f"topk(10, {rate('kvs_edge_upstream_bytes_total', 'stream')})", "{{stream}}")], "By billed bytes."),
    ]),
    ("Security", [
        ("Decisions", "reqps", [(rate("kvs_edge_auth_decisions_total", "result, reason"), "{{result}}: {{reason}}")],
         "Who was let through, who was not, why."),
        ("Age of keys", "s", [(f"max by (issuer) (kvs_edge_jwks_age_seconds{{{HERE}}})", "{{issuer}}")],
         "Since the issuer's keys were last read."),
        ("Key refreshes", "short", [(rate("kvs_edge_jwks_refresh_total", "issuer, result", over="5m") + " * 60", "{{issuer}} {{result}}")],
         "A minute."),
        ("AWS credentials end in", "s",
         [(f"min by (aws) (kvs_edge_credentials_expiry_timestamp_seconds{{{HERE}}}) - time()", "{{aws}}")],
         "They are renewed ahead of this.", "stat"),
        ("TLS certificate ends in", "s",
         [(f"min by (instance) (kvs_edge_tls_certificate_expiry_timestamp_seconds{{{HERE}}}) - time()", "{{instance}}")],
         "Negative by decades: no TLS here.", "stat"),
        ("Last reload", "bool_yes_no", [(f"kvs_edge_config_last_reload_successful{{{HERE}}}", "{{instance}}")],
         "Whether the settings in the file are in force.", "stat"),
        ("Version", "short", [(f"sum by (version) (kvs_edge_build_info{{{HERE}}})", "{{version}}")],
         "How many replicas run which build.", "stat"),
        ("Settings since", "dateTimeAsIso",
         [(f"kvs_edge_config_last_reload_success_timestamp_seconds{{{HERE}}} * 1000", "{{instance}}")],
         "When they were last taken into force.", "stat"),
    ]),
]


def panel(number, x, y, title, unit, queries, about, kind="timeseries"):
    targets = [{"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
               for n, (expr, legend) in enumerate(queries)]
    made = {
        "id": number, "type": kind, "title": title, "description": about, "datasource": SOURCE, "targets": targets,
        "gridPos": {"x": x, "y": y, "w": 8, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit, "custom": {"fillOpacity": 8}} if kind == "timeseries"
                        else {"unit": unit}, "overrides": []},
    }
    made["options"] = ({"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
                       if kind == "timeseries" else {"reduceOptions": {"calcs": ["lastNotNull"]}})
    if unit == "percentunit":
        made["fieldConfig"]["defaults"]["min"] = 0
    return made


def variable(name, label, value):
    return {"name": name, "label": label, "type": "textbox", "query": value,
            "current": {"text": value, "value": value}, "options": [{"text": value, "value": value}]}


def dashboard():
    panels, y, number = [], 0, 1
    for row, (title, contents) in enumerate(ROWS):
        panels.append({"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        number, y = number + 1, y + 1
        for n, content in enumerate(contents):
            panels.append(panel(number, n % 3 * 8, y + n // 3 * 8, *content))
            number += 1
        y += (len(contents) + 2) // 3 * 8
    return {
        "uid": "kvs-edge", "title": "kvs-edge", "tags": ["kvs-edge"], "schemaVersion": 39, "version": 1,
        "editable": True, "refresh": "30s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "templating": {"list": [
            {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
            {"name": "instance", "label": "Replica", "type": "query", "datasource": SOURCE, "refresh": 2,
             "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
             "query": {"query": "label_values(kvs_edge_build_info, instance)", "refId": "instance"}},
            variable("hls_price", "USD per GiB, HLS", "0.0119"),
            variable("price", "USD per GiB, other", "0.0085"),
        ]},
        "panels": panels,
    }


def main():
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" in sys.argv:
        sys.exit(0 if FILE.read_text() == text else f"{FILE} is not what make.py writes: run it")
    FILE.write_text(text)


main()
