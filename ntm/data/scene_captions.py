"""Captions of procedural scenes, in varied wording.

A caption names one or two groups of equal things: "three red crosses", "a small ring". Articles,
plurals and verbs agree.
"""

import dataclasses
import functools
import re
from collections.abc import Callable

from ntm.data import scene_pixels

RELATIONS = {"left of": ("left of", "to the left of"), "right of": ("right of", "to the right of"),
             "above": ("above", "over"), "below": ("below", "under")}
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}
_ONE = ("{a}", "a picture of {a}", "an image of {a}", "there {is} {a}", "this picture shows {a}",
        "{a} on a grey background")
_TWO = ("{a} and {b}", "{a} with {b}", "a picture of {a} and {b}", "there {is} {a} and {b}",
        "this picture shows {a} together with {b}", "{a}, and also {b}")
_RELATED = ("{a} {relation} {b}", "{a} {is} {relation} {b}", "a picture of {a} {relation} {b}",
            "there {is} {a} {relation} {b}", "an image with {a} {relation} {b}")


@dataclasses.dataclass(frozen=True)
class Phrase:
  """What a caption says of a group of things: attributes that are None are not named."""

  count: int
  shape: str
  colour: str | None = None
  size: str | None = None


def write(phrases: tuple[Phrase, ...], relation: str | None,
          pick: Callable[[tuple[str, ...]], str]) -> str:
  """A caption of one or two phrases.

  Args:
    phrases: what is named, in order.
    relation: of the first to the second, a key of `RELATIONS`; None for none.
    pick: chooses one of the given wordings.
  """
  a, *b = map(noun_phrase, phrases)
  words = {"a": a, "b": b[0] if b else "", "is": "is" if phrases[0].count == 1 else "are"}
  if relation:
    return pick(_RELATED).format(relation=pick(RELATIONS[relation]), **words)
  return pick(_TWO if b else _ONE).format(**words)


def noun_phrase(phrase: Phrase) -> str:
  """As in "an orange ring" and "two small crosses"."""
  words = [word for word in (phrase.size, phrase.colour, phrase.shape) if word]
  if phrase.count > 1:
    return " ".join([NUMBERS[phrase.count], *words[:-1], _plural(words[-1])])
  return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])


@functools.cache
def vocabulary() -> tuple[str, ...]:
  """Every word of every caption, and the comma, in alphabetical order."""
  names = (*scene_pixels.SHAPES, *map(_plural, scene_pixels.SHAPES), *scene_pixels.COLOURS,
           *scene_pixels.RADII, *(word for count, word in NUMBERS.items() if count > 1))
  texts = (*_ONE, *_TWO, *_RELATED, *sum(RELATIONS.values(), ()), "an", "is", "are")
  return tuple(sorted({*names, *re.findall(r"[a-z]+|,", re.sub("{[a-z]+}", "", " ".join(texts)))}))


def _plural(noun):
  return f"{noun}es" if noun.endswith("s") else f"{noun}s"
