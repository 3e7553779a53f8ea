"""A YAML text as plain values, with the line of every key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml
from yaml.constructor import SafeConstructor

from stem_amqp.errors import TopologyError
from stem_amqp.topology.mistake import Mistake, Place
from stem_amqp.topology.variables import Variable, substitute

_QUOTES = (
    "Check the indentation (spaces, no tabs) and the quotes: a text with * & ! % @ ` { [ # at its"
    ' beginning must be quoted, such as "{namespace}.tasks" or "#"; and so must ${NAME} between'
    " braces, or write the key on a line of its own."
)
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
    """Reads unquoted words as YAML 1.2 does: ``on`` is a text, and 1:30 is not the number 90."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}  # type: ignore[misc]


for _tag, _pattern, _first in _PLAIN:
    _PlainLoader.add_implicit_resolver(_tag, re.compile(f"{_pattern}$"), _first)


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """What stands in a file, and where.

    Args:
        data: mappings, lists, texts, numbers, booleans and None.
        spots: from a key's place to its file and its line, counted from 1.
        mistakes: keys that are there twice, and the like.
        variables: the variables of the environment that a key's value has in it.
        files: the paths of the files it is made of, the one that was asked for first.
    """

    data: Any
    spots: Mapping[Place, tuple[str, int]]
    mistakes: tuple[Mistake, ...] = ()
    variables: Mapping[Place, tuple[Variable, ...]] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    def spot(self, place: Place) -> tuple[str, int]:
        """Return file and line of a key; of the nearest one around it, if it is missing itself."""
        while place and place not in self.spots:
            place = place[:-1]
        return self.spots.get(place, (self.files[0], 1))


def parse(text: str, file: str, environment: Mapping[str, str]) -> Document:
    """Read a YAML text.

    Args:
        text: one YAML document.
        file: its path, for error messages.
        environment: what ``${NAME}`` in values stands for.

    Raises:
        TopologyError: it is empty or no YAML; the message names the line.
    """
    try:
        root = yaml.compose(text, Loader=_PlainLoader)
        if root is None:
            raise TopologyError(
                "the file is empty", file=file, line=1, remedy="Begin with: version: 1"
            )
        builder = _Builder(file=file, environment=environment, plain=_PlainLoader(""))
        data = builder.build(root, (), frozenset())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise TopologyError(
            f"this is no YAML: {problem}",
            file=file,
            line=None if mark is None else mark.line + 1,
            remedy=_QUOTES,
        ) from None
    except yaml.reader.ReaderError as error:
        raise TopologyError(
            f"this is no YAML: {error.reason}",
            file=file,
            line=text.count("\n", 0, error.position) + 1,
            remedy="Remove the control character.",
        ) from None
    return Document(
        data=data,
        spots={place: (file, line) for place, line in builder.lines.items()},
        mistakes=tuple(builder.mistakes),
        variables=builder.variables,
        files=(file,),
    )


@dataclass(kw_only=True, slots=True)
class _Builder:
    """Turns nodes into values. Aliases are built anew at each place, so each has its line."""

    file: str
    environment: Mapping[str, str]
    plain: _PlainLoader
    lines: dict[Place, int] = field(default_factory=lambda: {(): 1})
    variables: dict[Place, tuple[Variable, ...]] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    _scalars: SafeConstructor = field(default_factory=SafeConstructor)

    def build(self, node: yaml.Node, place: Place, around: frozenset[int]) -> Any:
        if id(node) in around:
            self.mistakes.append(
                Mistake(
                    place=place,
                    file=self.file,
                    problem="the alias refers to what it stands in",
                    remedy="Write the value out.",
                )
            )
            return None
        around |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, around)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.lines[*place, index] = item.start_mark.line + 1
                items.append(self.build(item, (*place, index), around))
            return items
        return self._scalars.construct_object(self._filled(node, place))

    def _filled(self, node: yaml.Node, place: Place) -> yaml.Node:
        """Put variables into a value. Without quotes, its type is that of what then stands there."""
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
        self, node: yaml.MappingNode, place: Place, around: frozenset[int]
    ) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            # every key is a text here: a queue may be called 1 or true without quotes
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.mistakes.append(
                    Mistake(
                        place=place,
                        line=line,
                        file=self.file,
                        problem="a key is not a plain text",
                        remedy='Quote it: a brace or bracket begins another thing in YAML, as "{namespace}.audit" does not.',
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
                        problem=f"the key is there twice; the first one is on line {self.lines[inner]}",
                        remedy="Keep one of them: YAML would silently take the last.",
                    )
                )
                continue
            self.lines[inner] = line
            result[key_node.value] = self.build(value_node, inner, around)
        return result
