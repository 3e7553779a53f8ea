"""Test what is checked when a composition is built: arguments, types, places, sizes."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from stem_amqp import (
    ArgumentsError,
    ConfigurationError,
    FailedMember,
    Stem,
    chain,
    chord,
    group,
)
from stem_amqp.clock import SystemClock
from stem_amqp.composition.compile import nodes_of
from stem_amqp.composition.enqueue import check_groups, composition_id
from stem_amqp.composition.model import (
    Chain,
    Group,
    Link,
    PartialChain,
    PartialGroup,
    PartialLink,
    check_enqueuable,
)
from stem_amqp.errors import MessageTooLargeError
from stem_amqp.messages.links import GroupNode, LinkNode
from stem_amqp.producer.linking.results import GroupResults
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore


class Order(BaseModel):
    """What a task returns."""

    id: str
    lines: int


class Parcel(BaseModel):
    """Another model, with a field that orders lack."""

    id: str
    weight: float


def application():
    return Stem(broker_url="memory://", backend_url="memory://")


stem = application()


@stem.task("count", priority=3, expires="1h", result_ttl="2h")
async def count(order_id: str) -> int:
    return len(order_id)


@stem.task("add", queue="sums")
def add(first: int, second: int) -> int:
    return first + second


@stem.task("scale")
def scale(number: int, factor: int = 2) -> int:
    return number * factor


@stem.task("scale.any")
def scale_any(text: str = "") -> int:
    return len(text)


@stem.task("load")
async def load(number: int) -> Order:
    return Order(id="o", lines=number)


@stem.task("pack")
async def pack(order: Order) -> Parcel:
    return Parcel(id=order.id, weight=1.0)


@stem.task("send")
async def send(parcel: Parcel) -> None: ...


@stem.task("total")
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@stem.task("total.read")
async def total_read(numbers: GroupResults[int]) -> int:
    return sum([number async for number in numbers])


@stem.task("tick")
async def tick() -> int:
    return 1


@stem.task("keywords")
async def keywords(*, only: int) -> int:
    return only


@stem.task("judged")
async def judged(results: list[int | FailedMember]) -> None: ...


@stem.task("anything")
async def anything(value):
    return value


def queue_of(step):
    return step.options.queue or (step.definition.options.queue if step.definition else "") or "q"


def nodes(part, now=0.0):
    return nodes_of(part.steps, queue_of, now)


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (lambda: add.s(1, 2), Link),
        (lambda: add.s(2), PartialLink),
        (lambda: scale.s(3), Link),
        (lambda: add.si(1, 2), Link),
        (lambda: count.s("1") | add.s(2), Chain),
        (lambda: add.s(2) | scale.s(), PartialChain),
        (lambda: group(add.s(1, 2), count.s("1") | scale.s()), Group),
        (lambda: group(add.s(1), add.s(2)), PartialGroup),
        (group, Group),
        (lambda: group([]) | total.s(), Chain),
        (lambda: count.s("1") | group(add.s(1)) | total.s(), Chain),
        (lambda: chain(count.s("1")), Chain),
        (lambda: chain([count.s("1"), add.s(1)]), Chain),
        (lambda: chord(count.map(["a", "b"]), total.s()), Chain),
        (lambda: stem.link("elsewhere", {"a": 1}), Link),
        (lambda: stem.link("elsewhere", takes="a"), PartialLink),
    ],
)
def test_what_a_part_is(part, kind):
    """It shows whether it can be enqueued."""
    assert type(part()) is kind


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: add.s("x", 1), "first: Input should be a valid integer"),
        (lambda: add.s(1, 2, 3), "too many positional arguments"),
        (add.s, r"missing a required argument: 'second'|missing a required argument"),
        (lambda: add.si(1), "missing a required argument: 'second'"),
        (lambda: tick.s(1), "too many positional arguments"),
        (lambda: count.s("1") | add.s(1, 2), "all its arguments.*write add.si"),
        (lambda: count.s("1") | tick.s(), "no place for the result of count"),
        (lambda: count.s("1") | keywords.s(only=1), "no place for the result of count"),
        (
            lambda: count.s("1") | count.s(),
            "cannot follow count: it would get int as 'order_id'.*str",
        ),
        (lambda: count.s("1") | total.s(), r"would get int as 'numbers', which is list\[int\]"),
        (lambda: load.s(1) | send.s(), "would get Order as 'parcel', which is Parcel"),
        (lambda: chain(count.s("1"), add.s(1), count.s()), "count cannot follow add"),
        (lambda: group(count.s("1"), load.s(1)) | total.s(), r"list\[.*Order\]"),
        (lambda: count.s("1") | group(add.s(1), count.s()), "count cannot follow count"),
        (lambda: count.s("1").on_success(count.s()), "count cannot follow count"),
        (lambda: count.s("1").on_success(scale_any.s()), "scale.any cannot follow count"),
        (lambda: add.s(1, 2).on_failure(total.s()), "failure of add, a FailedTask, as 'numbers'"),
        (lambda: (count.s("1") | add.s(2)).on_failure(total.s()), "failure of count, a FailedTask"),
        (
            lambda: group(add.s(1, 2), policy="collect") | total.s(),
            r"annotate 'numbers' as list\[(Union\[int, FailedMember\]|int \| FailedMember)\]",
        ),
        (lambda: chord(scale.map([1]), total.s(), results="stream"), r"as GroupResults\[…\]"),
        (lambda: chord(scale.map([1]), anything.s(), results="stream"), r"as GroupResults\[…\]"),
        (lambda: chord(load.map([1]), total_read.s(), results="stream"), "cannot follow the group"),
        (lambda: chord(scale.map([1]), total.s(), results="none"), "leave out results='none'"),
        (lambda: add.map([1, "x"], 2), "call 1 of the group: add: first"),
        (lambda: add.starmap([(1, 2), (3,)]), "call 1 of the group"),
        (lambda: count.chunks([1, 2], 1), "call 0 of the group"),
    ],
)
def test_arguments_that_cannot_fit_are_errors_when_built(part, words):
    """The text names the task, what it would get, and the remedy."""
    with pytest.raises(ArgumentsError, match=f"(?s){words}"):
        part()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda: add.s(1, 2).options(task_id="a"), "no option task_id: .*pass id=… to enqueue"),
        (lambda: add.s(1, 2).options(unique="1h"), "no option unique"),
        (lambda: add.s(1, 2).options(debounce="1s"), "no option debounce"),
        (lambda: add.s(1, 2).options(delay="soon"), "soon"),
        (lambda: add.s(1, 2) | add, r"write|Write add\.s"),
        (lambda: add.s(1, 2) | 3, "made of links such as task.s"),
        (lambda: group(add), r"Write add\.s"),
        (chain, "at least one link"),
        (lambda: chain(add.s(2), scale.s()), "add is the first of the chain"),
        (lambda: group(add.s(1, 2), policy="retry"), "policy must be one of fail_fast"),
        (lambda: group(add.s(1, 2), ttl=0), "ttl of a group must be longer than 0"),
        (lambda: chord(add.s(1, 2), total.s()), "chord takes a group"),
        (lambda: chord(group(), total.s(), results="pages"), "results must be one of list"),
        (lambda: add.s(1, 2).on_success(add.s(1) | scale.s()), "not a chain or a group"),
        (lambda: chain([add.s(1, 2)] + [scale.s()] * 1000), "at most 1,000 links, not 1,001"),
        (lambda: scale.map(range(10_001)) | total.s(), '10,001 members.*results="stream"'),
        (lambda: group(add.s(1, 2), application().link("a")), "belong to several"),
        (lambda: stem.link("add", takes="second"), "the first argument takes the result"),
        (lambda: stem.link("elsewhere", {"a": 1}, takes="a"), "cannot be given too"),
        (lambda: index_chunks(0), "at least 1 item, not 0"),
    ],
)
def test_other_wrong_uses_are_errors_when_built(part, words):
    """The text says what to do instead."""
    with pytest.raises(ConfigurationError, match=f"(?s){words}"):
        part()


def index_chunks(size):
    return total.chunks([1, 2], size)


def test_nesting_is_bounded():
    """Fifteen groups inside of each other are allowed, and no more."""
    part = add.s(1, 2)
    for _ in range(15):
        part = group(part)
    assert isinstance(nodes(part)[0], GroupNode)
    with pytest.raises(ConfigurationError, match="nested deeper than 16 levels"):
        group(part)


def test_a_part_never_changes_so_none_can_contain_itself():
    """A list that is changed later, and links that are added, make no cycle."""
    members = [add.s(1, 2)]
    one = group(members)
    members.append(one)
    assert one.size == 1
    link = add.s(1, 2)
    assert link.on_success(link).steps[0].on_success[0].on_success == ()


def test_a_cycle_that_was_forced_is_an_error():
    """It is found when a part is built of it, and does not recurse without an end."""
    one = group(add.s(1, 2))
    fork = one.steps[0]
    object.__setattr__(fork, "branches", ((fork,),))
    with pytest.raises(ConfigurationError, match="contains itself"):
        group(one)


def test_a_larger_list_can_be_asked_for():
    """Only one that nobody asked for is refused."""
    assert chord(scale.map(range(10_001)), total.s(), results="list").steps[0].results == "list"
    assert (scale.map(range(10_001)) | tick.si()).steps[0].results is None


def test_a_link_takes_the_result_in_place_of_its_first_argument():
    """An optional argument that is given is then the second one, as in a call."""
    first, second, third = nodes(scale.s(3) | scale.s(4) | add.si(1, 2))
    assert (first.args, first.piped) == ({"number": 3}, None)
    assert (second.args, second.piped) == ({"factor": 4}, "number")
    assert (third.args, third.piped) == ({"first": 1, "second": 2}, None)


def test_options_of_links_travel_with_them():
    """Those of the task are included where the worker that enqueues the link may not know the task."""
    link = count.s("1").options(
        delay="5s", queue="slow", max_retries=2, headers={"x": 1}, meta={"m": 1}, priority=1
    )
    (first,) = nodes(link.options(max_retries=4))
    assert first.options == {
        "max_retries": 4,
        "result_ttl": 7200.0,
        "delay": 5.0,
        "expires": 3600.0,
        "priority": 1,
        "headers": {"x": 1},
        "meta": {"m": 1},
    }
    assert first.queue == "slow"
    assert nodes(add.s(1, 2))[0].queue == "sums"


def test_a_point_in_time_is_an_option_of_the_first_links_only():
    """Nobody knows when a later link is enqueued."""
    at = datetime.fromtimestamp(1000, UTC)
    (first,) = nodes(count.s("1").options(eta=at, expires=at + timedelta(seconds=10)), now=900.0)
    assert (first.options["delay"], first.options["expires"]) == (100.0, 110.0)
    (members,) = nodes(group(count.s("1").options(eta=at)), now=900.0)
    assert members.members[0].options["delay"] == 100.0
    with pytest.raises(ConfigurationError, match="option eta cannot be a point in time"):
        nodes(tick.s() | tick.si().options(eta=at))
    with pytest.raises(ConfigurationError, match="Use a duration"):
        nodes(tick.s() | tick.si().options(expires=at))


def test_a_group_says_how_its_results_are_passed_on():
    """Nobody reads the results for a continuation that takes none."""
    one = group(add.s(1, 2), add.s(3, 4) | scale.s(), policy="ignore", ttl="1h")
    fork, callback = nodes(one | total.s().on_failure(anything.s()))
    assert (fork.policy, fork.results, fork.ttl) == ("ignore", "list", 3600.0)
    assert isinstance(fork.members[0], LinkNode)
    assert [node.task for node in fork.members[1]] == ["add", "scale"]
    assert (callback.piped, callback.on_failure[0].piped) == ("numbers", "value")
    assert nodes(one | tick.si())[0].results == "none"
    assert nodes(one)[0].results == "list"
    assert nodes(chord(one, total_read.s(), results="stream"))[0].results == "stream"


def test_links_on_failure_of_a_chain_are_those_of_each_link():
    """The one that fails enqueues them; in a group at the end, each member."""
    part = (count.s("1") | add.s(2) | group(scale.s(), scale.s(3))).on_failure(tick.si())
    first, second, members = nodes(part)
    assert [len(node.on_failure) for node in (first, second, *members.members)] == [1, 1, 1, 1]


def test_a_failure_in_a_group_enqueues_the_links_of_its_chain_once():
    """Those of the link after the group; without such a link, those of the members."""
    one, two = group(tick.s(), count.s("1") | scale.s()), group(scale.si(1))
    first, second = nodes((one | two).on_failure(tick.si()))
    (_, inner) = first.members
    assert [len(node.on_failure) for node in (first.members[0], *inner, second.members[0])] == [
        1
    ] * 4

    first, _ = nodes((group(tick.s(), policy="ignore") | two).on_failure(tick.si()))
    assert first.members[0].on_failure == ()  # its failure is none of the chain

    ((inner, last),) = nodes(group(one | total.s()).on_failure(tick.si()))[0].members
    assert (inner.members[0].on_failure, len(last.on_failure)) == ((), 1)


@pytest.mark.parametrize(
    "part",
    [
        lambda: add.s(1, 2).on_failure(anything.s(), total.si([])),
        lambda: add.s(1, 2).on_failure(stem.link("elsewhere", takes="failed")),
        lambda: group(add.s(1, 2), policy="collect") | judged.s(),
        lambda: chord(group(tick.s(), policy="collect"), total_read.s(), results="stream"),
        lambda: chord(scale.map([1]), stem.link("elsewhere", takes="a"), results="stream"),
        lambda: chord(scale.map([1]), scale_any.s(), results="none"),
    ],
)
def test_what_may_fit_is_built(part):
    """An annotation that is not known, or that names the failure."""
    assert part().steps


def test_chunks_and_maps():
    """A chunk is a list; the further arguments are the same for each call."""
    assert [node.args for node in nodes(total.chunks(range(5), 2))[0].members] == [
        {"numbers": [0, 1]},
        {"numbers": [2, 3]},
        {"numbers": [4]},
    ]
    assert [node.args for node in nodes(add.map([1, 2], 7))[0].members] == [
        {"first": 1, "second": 7},
        {"first": 2, "second": 7},
    ]
    assert nodes(add.starmap([(1, 2)]))[0].members[0].args == {"first": 1, "second": 2}


@pytest.mark.parametrize("given", ["a.b", "x" * 101, "", "a\nb"])
def test_an_id_that_cannot_begin_the_ids_of_tasks_is_refused(given):
    """The id of the composition ends at the first dot of a task's id."""
    with pytest.raises(ConfigurationError, match="id"):
        composition_id(given)


@pytest.mark.parametrize(("limit", "words"), [(0, "can count no groups"), (1, "of 1 members")])
def test_a_group_needs_a_backend_that_can_count_it(limit, words):
    """The text says which backends can."""
    backend = MemoryBackend(MemoryStore(), SystemClock())
    backend.group_limit = limit
    part = tick.s() | group(scale.s(1) | group(add.s(1), add.s(2)))
    with pytest.raises(ConfigurationError, match=f"(?s){words}.*redis://, postgresql:// or sqlite"):
        check_groups(backend, part.steps)
    check_groups(backend, (tick.s() | scale.s()).steps)


def test_a_part_without_its_first_argument_cannot_be_enqueued():
    """The text says what is missing."""
    with pytest.raises(ConfigurationError, match="lacks its first argument"):
        check_enqueuable(add.s(2) | scale.s(), stem)
    assert check_enqueuable(scale.s(2), stem).steps


async def test_what_does_not_fit_into_a_message_is_an_error():
    """Nothing is sent, and the text names the links and the remedy."""
    app = application()
    app.reconfigure(max_body_size=1024)
    many = [app.link("elsewhere", {"number": number}) for number in range(100)]
    async with app:
        with pytest.raises(
            MessageTooLargeError, match=r"(?s)largest part is 'links'.*smaller groups"
        ):
            await (app.link("first") | group(many)).enqueue()
