"""A scenario of Debian's python3-etcd3gw (etcd's JSON gateway over HTTP/1.1), printed line by line.

Ids, times and sizes are not printed, so that the transcripts of two servers can be compared as text.
Usage: gateway_client.py HOST PORT
"""

import base64
import json
import queue
import sys

import etcd3gw
import requests
from etcd3gw.client import Etcd3Client

HOST, PORT = sys.argv[1], int(sys.argv[2])
WAIT_SECONDS = 15


def show(title, *values):
    print(title + ":", *values, flush=True)


def encode(text):
    return base64.b64encode(text.encode()).decode()


def pair(value, item):
    fields = [(name, item[name]) for name in sorted(item) if name not in ("key", "lease")]
    return (item["key"], value, fields, "lease" in item)


def header(answer):
    return sorted(answer["header"]), answer["header"].get("revision")


def refused(title, call):
    try:
        show(title, "answered", call())
    except etcd3gw.exceptions.Etcd3Exception as error:
        # Some releases repeat the message as "error".
        answer = json.loads(error.detail_text)
        show(title, type(error).__name__, error.args, answer["code"], answer["message"])


class Watched:
    """The events of one watch, awaited one by one."""

    def __init__(self, client, key, **options):
        self.arrived = queue.Queue()
        self.watcher = etcd3gw.watch.Watcher(client, key, self.arrived.put, **options)

    def events(self, count):
        return [tidy(self.arrived.get(timeout=WAIT_SECONDS)) for _ in range(count)]

    def stop(self):
        self.watcher.stop()


def tidy(event):
    for pair in (event["kv"], event.get("prev_kv", {})):
        if "lease" in pair:
            pair["lease"] = "some"
    return [(name, sorted(event[name].items()) if isinstance(event[name], dict) else event[name]) for name in sorted(event)]


def keys_and_values(client):
    show("put", client.put("key", "value"))
    show("get", client.get("key"), client.get("none"))
    show("with metadata", [pair(*one) for one in client.get("key", metadata=True)])
    client.put("key", b"\x00\xff binary")
    show("binary", client.get("key"))
    client.put("empty", "")
    show("empty", [pair(*one) for one in client.get("empty", metadata=True)])
    for i in range(5):
        client.put("many/%d" % i, "value %d" % (9 - i))
    show("prefix", [pair(*one) for one in client.get_prefix("many/")])
    show("sorted", [one[1]["key"] for one in client.get_prefix("many/", sort_order="ascend", sort_target="value")])
    show("descending", [one[1]["key"] for one in client.get_prefix("many/", "descend", "key")])
    show("limit", client.get("many/", range_end=encode("many0"), limit=2), client.get("key", serializable=True))
    show("all", [one[1]["key"] for one in client.get_all(sort_order="ascend", sort_target="key")])
    show("create", client.create("fresh", "new"), client.create("fresh", "newer"))
    show("replace", client.replace("fresh", "new", "newer"), client.replace("fresh", "new", "newest"))
    show("delete", client.delete("fresh"), client.delete("fresh"), client.delete_prefix("many/"))


def transactions(client):
    answer = client.transaction(
        {
            "compare": [{"key": encode("key"), "result": "GREATER", "target": "MOD", "mod_revision": "1"}],
            "success": [
                {"request_put": {"key": encode("t"), "value": encode("1"), "prev_kv": True}},
                {"request_range": {"key": encode("t")}},
                {"request_delete_range": {"key": encode("empty"), "prev_kv": True}},
            ],
            "failure": [],
        }
    )
    for one in answer["responses"]:
        for kind, inner in one.items():
            show("response", kind, [(name, inner[name]) for name in sorted(inner) if name != "header"])
    show("succeeded", answer["succeeded"], header(answer))
    failed = client.transaction(
        {"compare": [{"key": encode("t"), "target": "VERSION", "result": 0, "version": 7}], "failure": []}
    )
    show("failed", sorted(failed), failed.get("succeeded"))
    put_twice = [{"request_put": {"key": encode("t"), "value": encode(value)}} for value in "ab"]
    refused("one key twice", lambda: client.transaction({"success": put_twice}))
    refused("empty key", lambda: client.put("", "value"))
    refused("future", lambda: client.get("key", revision=100000))


def watches(client):
    first = int(client.get("key", metadata=True)[0][1]["mod_revision"])
    past = Watched(client, "key", start_revision=first)
    show("history", past.events(1))
    prefix = Watched(client, "w/", range_end="w0", prev_kv=True)
    deletes = Watched(client, "w/", range_end="w0", filters=["NOPUT"])
    for value in ("1", "2"):
        client.put("w/a", value)
        show("put", prefix.events(1))
    client.delete("w/a")
    show("delete", prefix.events(1), deletes.events(1))
    client.put("key", "again")
    show("other", past.events(1))
    for one in (past, prefix, deletes):
        one.stop()
    client.put("w/once", "1")
    revision = int(client.get("w/once", metadata=True)[0][1]["mod_revision"])
    show("once", tidy(client.watch_prefix_once("w/", timeout=WAIT_SECONDS, start_revision=revision)))
    try:
        client.watch_once("w/quiet", timeout=0.2)
    except etcd3gw.exceptions.WatchTimedOut:
        show("timed out", "as asked")


def leases(client):
    lease = client.lease(60)
    show("lease", lease.id > 0, 0 < lease.ttl() <= 60)
    client.put("l/b", "1", lease)
    client.put("l/a", "1", lease)
    show("attached", sorted(lease.keys()), [pair(*one) for one in client.get_prefix("l/")])
    show("refreshed", lease.refresh())
    seen = Watched(client, "l/", range_end="l0")
    show("revoked", lease.revoke(), seen.events(2))
    refused("revoke again", lease.revoke)
    show("none", lease.ttl(), lease.refresh(), lease.keys())
    short = client.lease(1)
    client.put("l/y", "short", short)
    client.put("l/x", "short", short)
    show("short", seen.events(2))
    show("expired", seen.events(2))
    show("gone", client.get_prefix("l/"), short.ttl())
    seen.stop()


def locks(client):
    lock, rival = client.lock("mutex", ttl=20), client.lock("mutex", ttl=20)
    show("lock", lock.acquire(), lock.is_acquired(), rival.acquire(), rival.is_acquired())
    show("refreshed", lock.refresh())
    show("released", rival.release(), lock.release(), lock.is_acquired(), rival.acquire(), rival.release())
    with client.lock("mutex") as held:
        show("with", held.is_acquired())
    show("without", held.is_acquired())


def services(client):
    """The lock and election services, which the library does not know, over its own connection."""
    lease = client.lease(60)
    ask = lambda path, body: client.post(client.get_url(path), json=body)
    locked = ask("/lock/lock", {"name": encode("service"), "lease": lease.id})
    show("locked", base64.b64decode(locked["key"]) == b"service/%x" % lease.id, header(locked))
    show("unlocked", header(ask("/lock/unlock", {"key": locked["key"]})))
    won = ask("/election/campaign", {"name": encode("office"), "lease": lease.id, "value": encode("alice")})
    show("won", sorted(won["leader"]), won["leader"]["rev"])
    ask("/election/proclaim", {"leader": won["leader"], "value": encode("bob")})
    leader = ask("/election/leader", {"name": encode("office")})
    show("leader", base64.b64decode(leader["kv"]["value"]), leader["kv"]["create_revision"])
    show("resigned", header(ask("/election/resign", {"leader": won["leader"]})))
    refused("no leader", lambda: ask("/election/leader", {"name": encode("office")}))
    lease.revoke()


def cluster(client):
    status = client.status()
    show("status", "leader" in status, "raftTerm" in status, "dbSize" in status, sorted(status["header"]))
    show("members", [sorted(member) for member in client.members()])


def errors(client):
    """What the gateway answers to requests that are none."""
    url = client.get_url("/kv/range")
    for title, body in (("no JSON", "{"), ("bad type", '{"limit": {}}')):
        answer = requests.post(url, data=body)
        show(title, answer.status_code, answer.headers["Content-Type"])
    show("GET", requests.get(url).status_code in (405, 501))  # As the gateway library's release has it.
    show("nowhere", requests.post(client.get_url("/nothing"), data="{}").status_code)


def main():
    client = Etcd3Client(host=HOST, port=PORT, api_path="/v3/", timeout=WAIT_SECONDS)
    for part in (keys_and_values, transactions, watches, leases, locks, services, cluster, errors):
        print("---", part.__name__, flush=True)
        part(client)


main()
