"""A scenario of Debian's python3-etcd3 (gRPC's C core): what a program written for etcd does, printed line by line.

Ids, times and sizes are not printed, so that the transcripts of two servers can be compared as text.
Usage: grpc_client.py HOST PORT
"""

import sys
import threading

import etcd3
import grpc
from etcd3 import exceptions

HOST, PORT = sys.argv[1], int(sys.argv[2])
WAIT_SECONDS = 15


def show(title, *values):
    print(title + ":", *values, flush=True)


def pair(value, meta):
    if meta is None:
        return (value, None)
    return (meta.key, value, meta.version, meta.create_revision, meta.mod_revision, meta.lease_id != 0)


def event(one):
    previous = (one.prev_value, one.prev_mod_revision)
    return (type(one).__name__, one.key, one.value, one.version, one.create_revision, one.mod_revision, previous)


def refused(title, call):
    try:
        show(title, "answered", call())
    except grpc.RpcError as error:
        show(title, error.code().name, error.details())
    except Exception as error:  # what the library makes of a status
        show(title, type(error).__name__, str(error))


class Watched:
    """The responses of one watch, awaited one by one."""

    def __init__(self, client, key, **options):
        self.responses = []
        self.arrived = threading.Condition()
        self.client = client
        self.id = client.add_watch_callback(key, self.take, **options)

    def take(self, response):
        with self.arrived:
            self.responses.append(response)
            self.arrived.notify_all()

    def events(self, count):
        """The first `count` events and removes them; a failure stands for an event."""
        with self.arrived:
            found = self.arrived.wait_for(lambda: len(self.flat()) >= count, WAIT_SECONDS)
            assert found, "%s instead of %s events" % (len(self.flat()), count)
            flat, self.responses = self.flat(), []
            return flat

    def flat(self):
        flat = []
        for response in self.responses:
            if isinstance(response, Exception):
                flat.append((type(response).__name__, getattr(response, "compacted_revision", None)))
            else:
                flat.extend(event(one) for one in response.events)
        return flat

    def cancel(self):
        self.client.cancel_watch(self.id)


def keys_and_values(client):
    client.put("key", "value")
    show("get", pair(*client.get("key")))
    show("previous", client.put("key", b"\x00\xff binary", prev_kv=True).prev_kv.value)
    show("binary", pair(*client.get("key")))
    show("serializable", pair(*client.get("key", serializable=True)))
    show("none", pair(*client.get("none")))
    for i in range(5):
        client.put("many/%d" % i, "value %d" % (9 - i))
    show("prefix", [pair(*one) for one in client.get_prefix("many/")])
    show("descending", [m.key for _, m in client.get_prefix("many/", sort_order="descend", sort_target="key")])
    show("by value", [m.key for _, m in client.get_prefix("many/", sort_order="ascend", sort_target="value")])
    show("range", [m.key for _, m in client.get_range("many/1", "many/3")])
    show("keys only", [pair(*one) for one in client.get_prefix("many/", keys_only=True)])
    show("all", [m.key for _, m in client.get_all()])
    show("replace", client.replace("key", "not this", "x"), client.replace("key", b"\x00\xff binary", "replaced"))
    show("put if not exists", client.put_if_not_exists("key", "y"), client.put_if_not_exists("fresh", "z"))
    show("delete", client.delete("key"), client.delete("key"))
    show("delete with pair", client.delete("fresh", prev_kv=True, return_response=True).prev_kvs[0].value)
    show("delete prefix", client.delete_prefix("many/").deleted)
    refused("empty key", lambda: client.put("", "value"))


def transactions(client):
    t = client.transactions
    client.put("t/a", "1")
    compare = [t.value("t/a") == "1", t.version("t/a") > 0, t.create("t/none") == 0, t.mod("t/a") != 0]
    done, answers = client.transaction(
        compare=compare,
        success=[t.put("t/b", "2"), t.get("t/b"), t.delete("t/a", prev_kv=True)],
        failure=[t.get("t/a")],
    )
    show("transaction", done, [pair(*one) for one in answers[1]], answers[2].response_delete_range.deleted)
    done, answers = client.transaction(
        compare=[t.version("t/a") > 0],
        success=[],
        failure=[t.txn(compare=[t.value("t/b") == "2"], success=[t.get("t/b")], failure=[])],
    )
    show("nested", done, len(answers))
    refused(
        "one key twice",
        lambda: client.transaction(compare=[], success=[t.put("t/c", "1"), t.put("t/c", "2")], failure=[]),
    )


def watches(client):
    client.put("w/a", "before")
    first = client.get("w/a")[1].mod_revision
    client.put("w/a", "history")
    client.delete("w/a")
    past = Watched(client, "w/", range_end="w0", start_revision=first, prev_kv=True)
    show("history", past.events(3))
    one = Watched(client, "w/b", prev_kv=True)
    for value in ("1", "2"):
        client.put("w/b", value)
        show("put", one.events(1), past.events(1))
    client.delete_prefix("w/")
    show("delete", one.events(1), past.events(1))
    one.cancel()
    client.put("w/b", "for the others")
    show("cancelled", past.events(1), one.responses)
    past.cancel()
    last = client.get("w/b")[1].mod_revision
    client.compact(last)
    refused("compact again", lambda: client.compact(last))
    compacted = Watched(client, "w/b", start_revision=2)
    show("compacted", compacted.events(1))
    events, cancel = client.watch_prefix("w/", start_revision=last)
    show("iterated", event(next(events)))
    cancel()
    try:
        client.watch_once("w/quiet", timeout=0.2)
    except exceptions.WatchTimedOut:
        show("timed out", "as asked")


def leases(client):
    lease = client.lease(60, lease_id=12345)
    show("lease", lease.id, lease.ttl, lease.granted_ttl, 0 < lease.remaining_ttl <= 60)
    client.put("l/b", "1", lease=lease)
    client.put("l/a", "1", lease=12345)
    show("attached", sorted(lease.keys), pair(*client.get("l/a")))
    show("refreshed", [(answer.ID, answer.TTL) for answer in lease.refresh()])
    refused("same id", lambda: client.lease(60, lease_id=12345))
    chosen = client.lease(30)
    show("chosen by the server", chosen.id > 0, chosen.ttl)
    chosen.revoke()
    start = client.get("l/a")[1].mod_revision
    seen = Watched(client, "l/", range_end="l0", start_revision=start + 1)
    lease.revoke()
    show("revoked", seen.events(2))
    refused("revoke again", lease.revoke)
    show("refresh of none", [answer.TTL for answer in lease.refresh()])
    show("time of none", lease.remaining_ttl, lease.granted_ttl)
    refused("put with none", lambda: client.put("l/a", "1", lease=12345))
    short = client.lease(1)
    client.put("l/y", "short", lease=short)
    client.put("l/x", "short", lease=short)
    show("short", short.ttl, seen.events(2))
    show("expired", [(one[0], one[1], one[5]) for one in seen.events(2)])
    seen.cancel()


def locks(client):
    other = etcd3.client(host=HOST, port=PORT, timeout=WAIT_SECONDS)
    lock, rival = client.lock("mutex", ttl=20), other.lock("mutex", ttl=20)
    show("lock", lock.acquire(), lock.is_acquired(), rival.is_acquired(), rival.acquire(timeout=0))
    show("lock kept", [answer.TTL for answer in lock.refresh()])
    got = []
    # Several short attempts: a release between an attempt and its watch is not noticed by the library.
    waiting = threading.Thread(target=lambda: got.append(any(rival.acquire(timeout=1) for _ in range(WAIT_SECONDS))))
    waiting.start()
    released = lock.release()
    waiting.join()
    show("released", released, "rival", got)
    show("rival holds it", rival.is_acquired(), lock.is_acquired(), lock.release(), rival.release())
    with client.lock("mutex") as held:
        show("with", held.is_acquired())
    show("without", held.is_acquired())
    other.close()


def cluster(client):
    status = client.status()
    show("status", status.db_size > 0, status.leader is not None, status.raft_index > 0, status.raft_term > 0)
    show("members", [(len(member.client_urls), member.id > 0) for member in client.members])
    show("alarms", list(client.list_alarms()))


def main():
    client = etcd3.client(host=HOST, port=PORT, timeout=WAIT_SECONDS)
    for part in (keys_and_values, transactions, watches, leases, locks, cluster):
        print("---", part.__name__, flush=True)
        part(client)
    client.close()


main()
