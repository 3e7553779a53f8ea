"""Claims the group of a continuation, and reads the results that it takes, before it runs."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import tenacity

from stem_amqp.errors import ArgumentsError, BackendUnavailableError, ResultUnavailableError
from stem_amqp.messages.links import COLLECT, Source
from stem_amqp.outcome import Dead, Failure, Outcome, Repeated
from stem_amqp.producer.linking.members import entry_of, members_of
from stem_amqp.producer.linking.results import GroupResults
from stem_amqp.results.base import ResultBackend
from stem_amqp.states import Reason
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")


async def take_results(backend: ResultBackend, job: Job) -> Outcome | None:
    """Claim the group of a continuation, and give the job the results that its task takes.

    While the backend is unavailable, this is repeated without a limit.

    Args:
        backend: the result backend.
        job: a job with a message that names a group.

    Returns:
        An outcome if the task must not run: another copy of the continuation has claimed the group, or
        the group is gone. None if it runs.
    """
    links = job.message.links if job.message is not None else None
    if links is None or links.source is None:
        return None
    source, token = links.source, links.token
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(BackendUnavailableError),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=15.0),
        before_sleep=lambda state: log.warning(
            "%s cannot start: the results of its group are not available yet: %s",
            job,
            state.outcome and state.outcome.exception(),
        ),
    )
    try:
        outcome: Outcome | None = await retrying(_take, backend, job, source, token)
    except ResultUnavailableError as error:
        return _unavailable(str(error))
    return outcome


def attach_stream(backend: ResultBackend, job: Job) -> None:
    """Let the argument that takes a stream of results read its group.

    Args:
        backend: the result backend.
        job: a job that takes results, with its arguments; called in the event loop of the backend.

    Raises:
        ArgumentsError: the parameter is not annotated as a stream.
    """
    source = job.message.links.source if job.message and job.message.links else None
    if source is None or source.results != "stream" or source.parameter is None:
        return
    results = job.arguments.get(source.parameter)
    if not isinstance(results, GroupResults):
        raise ArgumentsError(
            f"{source.parameter}: the results of the group come as a stream, so annotate it as"
            " GroupResults[…], or compose with results='list'"
        )
    results.attach(
        backend,
        source.group,
        with_failed=source.policy == COLLECT,
        loop=asyncio.get_running_loop(),
    )


async def _take(
    backend: ResultBackend, job: Job, source: Source, token: str | None
) -> Outcome | None:
    if token is not None and not await backend.claim_group(source.group, token):
        return await _refused(backend, source.group)
    if source.parameter is None or source.results == "none":
        job.given = {}
    elif source.results == "stream":
        job.given = {source.parameter: []}
    else:
        job.given = {source.parameter: await _listed(backend, source)}
    return None


async def _refused(backend: ResultBackend, group_id: str) -> Outcome:
    group = await backend.get_group(group_id)
    if group is None:
        raise ResultUnavailableError(
            f"group {group_id} is gone: its ttl has passed before its continuation ran.\n"
            "  Give the group a longer ttl."
        )
    if group.claimed_by is not None:
        return Repeated()
    return _unavailable(
        f"group {group_id} is not complete: {group.done} of {group.size} members have ended."
        " Its result backend has lost reports"
    )


async def _listed(backend: ResultBackend, source: Source) -> list[Any]:
    return [entry_of(member) async for member in members_of(backend, source.group, source.policy)]


def _unavailable(why: str) -> Dead:
    return Dead(reason=Reason.LINK_FAILED, failure=Failure(error=why))
