"""Parse YAML into plain values with the line of every key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml
from yaml.constructor import SafeConstructor

from stem_amqp.errors import TopologyError
from stem_amqp.topology.file.variables import Variable, substitute
from stem_amqp.topology.spec.mistake import Mistake, Place

_QUOTES = (
    "Check the indentation (spaces, no tabs) and the quotes: quote a string that begins with * & !"
    ' % @ ` { [ or #, such as "{namespace}.tasks" or "#", and also ${NAME} inside braces, or write'
    " the key on a separate line."
)
_LARGEST = 4 * 1024 * 1024
"""The largest file, in characters."""
_MOST_VALUES = 100_000
"""The most values in a file; the values of an alias count at each use."""
_PLAIN = (
    ("tag:yaml.org,2002:null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?",
        list("-+0123456789"),
    ),
)


class _PlainLoader(yaml.SafeLoader):
    """Reads unquoted words as in YAML 1.2: ``on`` is a string, and 1:30 is not the number 90."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}  # type: ignore[misc]


for _tag, _pattern, _first in _PLAIN:
    _PlainLoader.add_implicit_resolver(_tag, re.compile(f"{_pattern}$"), _first)


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """The content of a file, with positions.

    Args:
        data: mappings, lists, strings, numbers, booleans and None.
        positions: the place of a key to its file and line, counted from 1.
        mistakes: mistakes such as duplicate keys.
        variables: the environment variables in the value of a key.
        files: the paths of the files that it consists of, the requested one first.
    """

    data: Any
    positions: Mapping[Place, tuple[str, int]]
    mistakes: tuple[Mistake, ...] = ()
    variables: Mapping[Place, tuple[Variable, ...]] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    def spot(self, place: Place) -> tuple[str, int]:
        """Return the file and line of a key, or of its nearest parent if the key is missing."""
        while place and place not in self.positions:
            place = place[:-1]
        return self.positions.get(place, (self.files[0], 1))


def parse(text: str, file: str, environment: Mapping[str, str]) -> Document:
    """Read a YAML text.

    Args:
        text: one YAML document.
        file: its path, for error messages.
        environment: the values of ``${NAME}``.

    Raises:
        TopologyError: it is empty, too large or not YAML; the message names the line.
    """
    if len(text) > _LARGEST:
        raise TopologyError(
            f"the file has {len(text)} characters, more than the limit of {_LARGEST}",
            file=file,
            remedy="Check that it is the topology file.",
        )
    try:
        root = yaml.compose(text, Loader=_PlainLoader)
        if root is None:
            raise TopologyError(
                "the file is empty", file=file, line=1, remedy="Begin with: version: 1"
            )
        builder = _Builder(file=file, environment=environment, plain=_PlainLoader(""))
        data = builder.build(root, (), frozenset())
    except RecursionError:
        raise TopologyError(
            "the file is nested too deep",
            file=file,
            remedy="Remove the brackets: a topology has at most seven levels.",
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise TopologyError(
            f"this is not YAML: {problem}",
            file=file,
            line=None if mark is None else mark.line + 1,
            remedy=_QUOTES,
        ) from None
    except yaml.reader.ReaderError as error:
        raise TopologyError(
            f"this is not YAML: {error.reason}",
            file=file,
            line=text.count("\n", 0, error.position) + 1,
            remedy="Remove the control character.",
        ) from None
    return Document(
        data=data,
        positions={place: (file, line) for place, line in builder.lines.items()},
        mistakes=tuple(builder.mistakes),
        variables=builder.variables,
        files=(file,),
    )


@dataclass(kw_only=True, slots=True)
class _Builder:
    """Converts nodes to values. An alias is converted at each use, so each use has its own line."""

    file: str
    environment: Mapping[str, str]
    plain: _PlainLoader
    lines: dict[Place, int] = field(default_factory=lambda: {(): 1})
    variables: dict[Place, tuple[Variable, ...]] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    _built: int = 0
    _scalars: SafeConstructor = field(default_factory=SafeConstructor)

    def build(self, node: yaml.Node, place: Place, ancestors: frozenset[int]) -> Any:
        self._built += 1
        if self._built > _MOST_VALUES:
            raise TopologyError(
                f"the file has more than {_MOST_VALUES} values; those of an alias count at each"
                " use",
                file=self.file,
                line=node.start_mark.line + 1,
                remedy="Use fewer aliases, or no alias inside of another.",
            )
        if id(node) in ancestors:
            self.mistakes.append(
                Mistake(
                    place=place,
                    file=self.file,
                    problem="the alias refers to a value that contains it",
                    remedy="Write the value instead of the alias.",
                )
            )
            return None
        ancestors |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, ancestors)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.lines[*place, index] = item.start_mark.line + 1
                items.append(self.build(item, (*place, index), ancestors))
            return items
        scalar = self._filled(node, place)
        try:
            return self._scalars.construct_object(scalar)
        except ValueError:  # a number with thousands of digits, or an invalid date
            return scalar.value  # the model reports the expected type

    def _filled(self, node: yaml.Node, place: Place) -> yaml.Node:
        """Substitute variables in a value. The type of an unquoted value is determined afterwards."""
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        found = substitute(node.value, self.environment)
        if found.problem:
            line = node.start_mark.line + 1
            self.mistakes.append(
                Mistake(
                    place=place,
                    line=line,
                    file=self.file,
                    problem=found.problem,
                    remedy=found.remedy,
                )
            )
        if found.taken:
            self.variables[place] = found.taken
        quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
        tag = (
            node.tag
            if quoted
            else self.plain.resolve(  # type: ignore[no-untyped-call]
                yaml.ScalarNode, found.text, (True, False)
            )
        )
        return yaml.ScalarNode(tag, found.text, node.start_mark, node.end_mark)

    def _mapping(
        self, node: yaml.MappingNode, place: Place, ancestors: frozenset[int]
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            # every key is a string: a queue may be called 1 or true without quotes
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.mistakes.append(
                    Mistake(
                        place=place,
                        line=line,
                        file=self.file,
                        problem="a key is not a plain string",
                        remedy='Quote it, as in "{namespace}.audit": a brace or bracket has a meaning in YAML.',
                    )
                )
                continue
            inner = (*place, str(key_node.value))
            if key_node.value in result:
                self.mistakes.append(
                    Mistake(
                        place=inner,
                        line=line,
                        file=self.file,
                        problem=f"duplicate key; the first one is on line {self.lines[inner]}",
                        remedy="Keep one of them: YAML would silently use the last one.",
                    )
                )
                continue
            self.lines[inner] = line
            result[key_node.value] = self.build(value_node, inner, ancestors)
        return result
