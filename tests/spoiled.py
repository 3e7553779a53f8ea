"""Ways to replace a task's record by invalid data, for each store."""

import sqlite3
from functools import partial

import asyncpg
from redis.asyncio import Redis

HEAD = b'{"state":"succeeded","replay":0,"attempt":0,"expires_at":%b,"created_at":%b,\n"progress":%b,\n'
REST = b'"updated_at":1.0,"task":"shop.sync","queue":"orders"}'
LATER = b"99999999999.0"


def of_redis(url, namespace):
    """Return the ways for Redis."""

    async def put(value, task_id):
        async with Redis.from_url(url) as client:
            await client.set(f"{namespace}:task:{task_id}", value)

    async def put_list(task_id):
        async with Redis.from_url(url) as client:
            key = f"{namespace}:task:{task_id}"
            await client.delete(key)
            await client.rpush(key, "a", "b")

    async def list_ids(task_id):
        """Put invalid ids into the lists."""
        async with Redis.from_url(url) as client:
            for slot in await client.zrange(f"{namespace}:tasks", 0, -1):
                await client.rpush(f"{namespace}:tasks:{slot.decode()}", b"\xff\xfe", "unknown")
            await client.zadd(f"{namespace}:tasks", {"7": 7})
            await client.set(f"{namespace}:tasks:7", "a text")

    values = {
        "nothing": b"",
        "junk": b"\xff\x00junk",
        "a number": b"5\n6\n7",
        "another's JSON": b'{"user": 1}',
        "a progress that is a text": HEAD % (LATER, b"1.0", b'"x"') + REST,
        "a progress with other fields": HEAD % (LATER, b"1.0", b'{"a":1}') + REST,
        "an unknown state": (HEAD % (LATER, b"1.0", b"null")).replace(b"succeeded", b"eaten")
        + REST,
        "a time that is a word": HEAD % (LATER, b"soon", b"null") + REST,
        "a time beyond the calendar": HEAD % (LATER, b"1e300", b"null") + REST,
        "an expiry that is a word": HEAD % (b"never", b"1.0", b"null") + REST,
        "no progress at all": (HEAD % (LATER, b"1.0", b"x")).replace(b"succeeded", b"running")[:-4],
        "a task that is a list": HEAD % (LATER, b"1.0", b"null")
        + REST.replace(b'"shop.sync"', b"[]"),
        "an unknown field": HEAD % (LATER, b"1.0", b"null") + REST.replace(b"queue", b"queues"),
        "deep meta": HEAD % (LATER, b"1.0", b"null")
        + REST[:-1]
        + b',"meta":'
        + b"[" * 3000
        + b"]" * 3000
        + b"}",
    }
    ways = {name: partial(put, value) for name, value in values.items()}
    return {**ways, "a key of another type": put_list, "ids that are none": list_ids}


def of_postgres(url, namespace):
    """Return the ways for PostgreSQL, whose columns have fixed types."""

    async def put(change, task_id):
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(
                f"UPDATE stem_tasks SET {change} WHERE namespace = $1 AND task_id = $2",
                namespace,
                task_id,
            )
        finally:
            await connection.close()

    changes = [
        "state = 'eaten'",
        "attempt = -1",
        "created_at = 'NaN'",
        "created_at = 'infinity'",
        "updated_at = 1e300",
        "next_run = 'NaN'",
        "meta = '[1]'::json",
        "meta = '\"text\"'::json",
        r"""meta = '{"a": "\ud800"}'::json""",
        "progress = '5'::json",
        "progress = '{\"a\": 1}'::json",
        'progress = \'{"fraction": "x", "message": 1, "data": 1, "at": 1}\'::json',
    ]
    return {change: partial(put, change) for change in changes}


def of_sqlite(path):
    """Return the ways for SQLite, whose columns accept values of any type."""

    async def put(change, task_id):
        connection = sqlite3.connect(path)
        with connection:
            connection.execute(f"UPDATE stem_tasks SET {change} WHERE task_id = ?", (task_id,))
        connection.close()

    changes = [
        "state = 'eaten'",
        "state = x'ff'",
        "attempt = 'many'",
        "attempt = -1",
        "created_at = 'soon'",
        "created_at = x'ff'",
        "created_at = 9e999",
        "task = CAST(x'ff00' AS TEXT)",
        "task = x'ff00'",
        "queue = 5",
        "worker = 5",
        "meta = 'text'",
        "meta = x'ff'",
        "meta = '[1]'",
        "progress = '5'",
        "progress = '{\"a\": 1}'",
        "result = 'text'",
    ]
    return {change: partial(put, change) for change in changes}


def of_journal(path):
    """Return the ways for the journal, a file that may contain lines of other programs."""

    async def put(line, task_id):
        with path.open("ab") as file:
            file.write(line + b"\n")

    lines = [
        b"junk",
        b"5",
        b"[]",
        b'["transition", 1, {"changes": [{}]}]',
        b'["transition", 1, {"changes": 5}]',
        b'["transition", "soon", {"changes": []}]',
        b'["close", 1, {}]',
        b'["report_progress", 1, {"updates": [{"progress": 1}]}]',
        b'["claim_key", 1, {"key": []}]',
    ]
    return {line.decode(): partial(put, line) for line in lines}
