"""Stem in a FastAPI application, on an in-memory broker."""

import asyncio
import uuid
from contextlib import asynccontextmanager

import pytest
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from httpx import ASGITransport, AsyncClient
from support import eventually

from stem_amqp import Stem, StemError, TaskContext
from stem_amqp.health.examination import check_health
from stem_amqp.integrations.fastapi import (
    RequestIds,
    StemDependency,
    lifespan,
    readiness,
)
from stem_amqp.integrations.request_id import CarryRequestId, request_id


@pytest.fixture
def stem():
    """Return an application that passes on request ids."""
    url = f"memory://{uuid.uuid4().hex}"
    return Stem(broker_url=url, backend_url=url, namespace="t", middleware=[CarryRequestId()])


@asynccontextmanager
async def client_of(app):
    """Start an application, and yield a client."""
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


@pytest.fixture
def shop(stem):
    """Return an application whose task returns its request id, and every way to enqueue it."""

    @stem.task("which", queue="q")
    async def which(ctx: TaskContext, deeper: bool = False) -> list:
        inner = await (await which.enqueue()).result(timeout=60) if deeper else []
        return [ctx.meta.get("request_id"), *inner]

    app = FastAPI(lifespan=lifespan(stem))
    app.add_middleware(RequestIds)

    @app.post("/async")
    async def enqueue(stem: StemDependency) -> str:
        return (await stem.enqueue("which", {"deeper": True})).id

    @app.post("/blocking")
    def enqueue_blocking() -> str:
        return which.enqueue_blocking().id

    @app.post("/background")
    async def enqueue_later(later: BackgroundTasks) -> str:
        later.add_task(which.options(task_id="later").enqueue)
        return "later"

    @app.post("/own")
    async def enqueue_with_own() -> str:
        return (await which.options(meta={"request_id": "own"}).enqueue()).id

    return app


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/async", ["r-1", "r-1"]),
        ("/blocking", ["r-1"]),
        ("/background", ["r-1"]),
        ("/own", ["own"]),
    ],
)
async def test_tasks_carry_the_id_of_their_request(stem, shop, path, expected):
    """This holds for every way to enqueue, and for their own tasks; the caller's metadata stays."""
    async with client_of(shop) as client, stem.worker().running():
        answer = await client.post(path, headers={"X-Request-ID": "r-1"})
        assert answer.headers["X-Request-ID"] == "r-1"
        assert await stem.handle(answer.json()).result(timeout=60) == expected
        assert request_id.get() is None


@pytest.mark.parametrize("given", [None, "", "x" * 129, "two words", "é"])
async def test_a_request_without_a_usable_id_gets_a_new_one(stem, shop, given):
    """The response contains it."""
    headers = {} if given is None else {"X-Request-ID": given.encode()}
    async with client_of(shop) as client, stem.worker().running():
        answers = [await client.post("/blocking", headers=headers) for _ in range(2)]
        ids = [answer.headers["X-Request-ID"] for answer in answers]
        assert len({*ids, given}) == 3
        assert await stem.handle(answers[0].json()).result(timeout=60) == [ids[0]]


async def test_an_id_from_outside_need_not_be_trusted(stem):
    """With ``trust=False`` each request gets a new id; the header may have another name."""
    app = FastAPI()
    app.add_middleware(RequestIds, header="X-Trace", trust=False)
    async with client_of(app) as client:
        answer = await client.get("/", headers={"X-Trace": "mine"})
    assert len(answer.headers.get_list("X-Trace")) == 1
    assert answer.headers["X-Trace"] != "mine"


async def test_outside_of_a_request_nothing_is_carried(stem, shop):
    """Tasks that a script enqueues have no request id."""
    async with stem, stem.worker().running():
        handle = await stem.enqueue("which")
        assert await handle.result(timeout=60) == [None]


async def test_the_lifespan_encloses_the_applications_own(stem):
    """The application is connected for the whole of its own lifespan, also when that fails."""
    journal = []

    @asynccontextmanager
    async def own(app):
        journal.append(stem.connected is not None)
        yield {"pool": "mine"}
        journal.append(stem.connected is not None)

    app = FastAPI(lifespan=lifespan(stem, also=own))
    async with app.router.lifespan_context(app) as state:
        assert state["pool"] == "mine"
        assert journal == [True]
    assert journal == [True, True]
    with pytest.raises(StemError, match="not connected"):
        _ = stem.connected

    @asynccontextmanager
    async def fails(app):
        raise KeyError
        yield

    app = FastAPI(lifespan=lifespan(stem, also=fails))
    with pytest.raises(KeyError):
        async with app.router.lifespan_context(app):
            raise AssertionError
    with pytest.raises(StemError, match="not connected"):
        _ = stem.connected


async def test_the_dependency_works_in_mounted_applications_and_websockets(stem):
    """The lifespan's state is passed on as servers do; accepting has the request's id."""

    async def state(request: Request, stem: StemDependency) -> list:
        return [request.state.pool, stem.settings.namespace]

    async def socket(websocket: WebSocket, stem: StemDependency) -> None:
        await websocket.accept()
        await websocket.send_text(stem.settings.namespace)

    @asynccontextmanager
    async def own(app):
        yield {"pool": "mine"}

    app, inner = FastAPI(lifespan=lifespan(stem, own)), FastAPI()
    app.add_middleware(RequestIds)
    inner.add_api_route("/state", state)
    inner.add_api_websocket_route("/socket", socket)
    app.mount("/inner", inner)
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    async with app.router.lifespan_context(app) as found:

        async def served(scope, receive, send):
            await app({**scope, "state": dict(found)}, receive, send)

        async with AsyncClient(transport=ASGITransport(served), base_url="http://test") as client:
            assert (await client.get("/inner/state")).json() == ["mine", "t"]
        headers = [(b"x-request-id", b"r-1")]
        scope = {"type": "websocket", "path": "/inner/socket", "headers": headers}
        await served({**scope, "query_string": b"", "root_path": ""}, receive, send)
    accepted, text = sent[:2]
    assert (b"x-request-id", b"r-1") in [(k.lower(), v) for k, v in accepted["headers"]]
    assert text["text"] == "t"


async def test_an_application_without_the_lifespan_says_so(stem):
    """The error has the remedy."""
    app = FastAPI()

    @app.get("/")
    async def root(stem: StemDependency) -> None: ...

    async with client_of(app) as client:
        with pytest.raises(StemError, match=r"FastAPI\(lifespan=lifespan\(stem\)\)"):
            await client.get("/")


async def test_readiness_is_that_of_the_health_checks(stem):
    """The answer is 200 if all is well, and 503 if not; findings are shown only on demand."""

    @stem.task("work", queue="q")
    async def work() -> None: ...

    app = FastAPI(lifespan=lifespan(stem))
    app.add_api_route("/ready", readiness(stem, require_consumers=["q"], every=0))
    app.add_api_route("/told", readiness(stem, require_consumers=["q"], details=True))
    async with client_of(app) as client:
        answer = await client.get("/ready")
        assert answer.status_code == 503
        assert answer.json()["healthy"] is False
        assert answer.json()["checks"]["broker"] is True
        assert answer.json()["checks"]["consumers"] is False
        told = (await client.get("/told")).json()["checks"]["consumers"]
        assert "no worker consumes q" in told["detail"]
        async with stem.worker().running():
            answer = await client.get("/ready")
            assert (answer.status_code, answer.json()["healthy"]) == (200, True)


@pytest.mark.parametrize("every", [0, 60])
async def test_many_readiness_requests_make_one_check(stem, every, monkeypatch):
    """Each check opens a connection, so that many requests must not open many."""
    made = []
    asked = asyncio.Event()

    async def counted(stem, **options):
        made.append(options)
        await asked.wait()
        return await check_health(stem, **options)

    monkeypatch.setattr("stem_amqp.integrations.fastapi.check_health", counted)
    app = FastAPI(lifespan=lifespan(stem))
    app.add_api_route("/ready", readiness(stem, every=every))
    async with client_of(app) as client:
        async with asyncio.TaskGroup() as group:
            requests = [group.create_task(client.get("/ready")) for _ in range(50)]
            gone = group.create_task(client.get("/ready"))
            await eventually(lambda: made, "the first check")
            gone.cancel()
            asked.set()
        assert {request.result().status_code for request in requests} == {200}
        assert len(made) == 1
        await client.get("/ready")
        assert len(made) == (1 if every else 2)


async def test_a_readiness_check_that_failed_is_made_again(stem, monkeypatch):
    """An error of the check itself is not kept as its answer."""
    errors = [RuntimeError("broken")]

    async def failing(stem, **options):
        if errors:
            raise errors.pop()
        return await check_health(stem, **options)

    monkeypatch.setattr("stem_amqp.integrations.fastapi.check_health", failing)
    ready = readiness(stem, every=60)
    async with stem:
        with pytest.raises(RuntimeError):
            await ready()
        assert (await ready()).status_code == 200


async def test_requests_at_once_do_not_mix_their_ids(stem, shop):
    """Each request has its own context."""
    async with client_of(shop) as client, stem.worker().running():
        ids = [f"r-{n}" for n in range(20)]
        answers = await asyncio.gather(
            *(client.post("/blocking", headers={"X-Request-ID": one}) for one in ids)
        )
        for one, answer in zip(ids, answers, strict=True):
            assert await stem.handle(answer.json()).result(timeout=60) == [one]
