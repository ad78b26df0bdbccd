"""YAML that may be hostile, as plain values."""

from typing import Any

import yaml

_MOST_NODES = 10_000  # values in a settings file
LONGEST_FILE = 1 << 20  # characters of it


class Unfit(ValueError):
    """YAML that is well formed and no settings."""


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping; YAML would let the last one win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """A YAML document.

    Raises:
        yaml.YAMLError: it is none.
        Unfit: one of its values is not what it says, or it unfolds to more than settings can be: names for parts of itself
            (`&a`, `*a`) let a few lines stand for terabytes.
    """
    loader = _UniqueKeys(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _weight(node, {}) > _MOST_NODES:
            raise Unfit("it unfolds to more than settings can be")
        return loader.construct_document(node)
    except RecursionError:
        raise Unfit("it is nested too deeply") from None
    except (ValueError, TypeError) as error:  # a 13th month, a number of nothing: the library lets these through
        raise Unfit(str(error) if isinstance(error, Unfit) else "a value is not what it seems to be") from None
    finally:
        loader.dispose()


def _weight(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, those that `*a` repeats counted each time."""
    if id(node) not in known:
        known[id(node)] = _MOST_NODES + 1  # what holds itself has no end
        parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        inner = parts if isinstance(node, yaml.CollectionNode) else []
        known[id(node)] = 1 + sum(_weight(part, known) for part in inner)
    return known[id(node)]
