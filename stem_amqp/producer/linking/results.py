"""The results of a group as a stream: pages are read while a task iterates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, TypeVar, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from stem_amqp.errors import StemError
from stem_amqp.producer.linking.members import PAGE, entry_of, failed
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.groups.model import MemberRecord

T = TypeVar("T")


class GroupResults(Generic[T]):
    """The results of a group, in the order of its members; each iteration reads them from the beginning.

    A continuation of a group takes it as its first argument::

        @stem.task("orders.total")
        async def total(amounts: GroupResults[int]) -> int:
            return sum([amount async for amount in amounts])

    A synchronous task iterates with ``for``. Only a page of members is in memory at a time. With
    ``policy="collect"`` a member that failed is a dictionary with its ``id``, ``index``, ``state`` and ``error``.

    Args:
        values: results that are known already, for tests and calls by hand.
    """

    def __init__(self, values: list[T] | None = None) -> None:
        self._values: list[T] = [] if values is None else values
        self._item: SchemaValidator | None = None
        self._source: _Source | None = None

    def attach(
        self,
        backend: ResultBackend,
        group_id: str,
        *,
        with_failed: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Read the results from a group.

        Args:
            backend: the result backend.
            group_id: the group.
            with_failed: whether there are entries of members that failed.
            loop: the event loop of the backend.
        """
        self._source = _Source(backend, group_id, with_failed=with_failed, loop=loop)

    async def __aiter__(self) -> AsyncIterator[T]:
        """Iterate in the event loop.

        Raises:
            ResultUnavailableError: the group is gone: its ttl has passed.
            BackendUnavailableError: the result backend does not answer.
            ValidationError: a result does not fit the annotation.
        """
        for value in self._values:
            yield value
        after = -1
        while self._source is not None:
            page = await self._source.page(after)
            for member in page:
                yield self._read(member)
            if len(page) < PAGE:
                return
            after = page[-1].index

    def __iter__(self) -> Iterator[T]:
        """Iterate in a synchronous task.

        Raises:
            StemError: it is called in the event loop.
            Exception: as for asynchronous iteration.
        """
        yield from self._values
        after = -1
        while self._source is not None:
            page = self._source.page_from_thread(after)
            yield from map(self._read, page)
            if len(page) < PAGE:
                return
            after = page[-1].index

    def _read(self, member: MemberRecord) -> T:
        entry = entry_of(member)
        if self._item is None or failed(member):
            return entry  # type: ignore[no-any-return] # a dictionary, or a value without an annotation
        return self._item.validate_python(entry, by_alias=True, by_name=True)  # type: ignore[no-any-return]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic read it from a list; the worker attaches the group."""
        arguments = get_args(source)
        item = handler.generate_schema(arguments[0]) if arguments else core_schema.any_schema()
        validator: list[SchemaValidator] = []

        def made(values: list[Any]) -> GroupResults[Any]:
            results = cls(values)
            if not validator:
                validator.append(SchemaValidator(handler.resolve_ref_schema(item)))
            results._item = validator[0]
            return results

        known = core_schema.is_instance_schema(cls)
        return core_schema.union_schema(
            [
                known,
                core_schema.no_info_after_validator_function(made, core_schema.list_schema(item)),
            ],
            serialization=core_schema.plain_serializer_function_ser_schema(
                list, return_schema=core_schema.list_schema(item)
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe it as a list."""
        union: Any = schema  # the one that is made above
        return handler(union["choices"][1]["schema"])


class _Source:
    """Reads pages of a group's members."""

    def __init__(
        self,
        backend: ResultBackend,
        group_id: str,
        *,
        with_failed: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._backend = backend
        self._group_id = group_id
        self._failed = None if with_failed else False
        self._loop = loop

    async def page(self, after: int) -> list[MemberRecord]:
        """Return the members after an index."""
        return await self._backend.group_members(
            self._group_id, after=after, limit=PAGE, failed=self._failed
        )

    def page_from_thread(self, after: int) -> list[MemberRecord]:
        """Return the members after an index, from another thread than the event loop's."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(self.page(after), self._loop).result()
        raise StemError(
            "the results of a group cannot be read synchronously in the event loop, which would wait for"
            " itself.\n  Write: async for result in results"
        )
