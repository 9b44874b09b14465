"""How fast procedural scenes are made and scored, how often the scorer is right, and a picture.

  python benchmarks/scenes.py --picture=docs/images/scenes.png

Prints, per side, images per second of CPU time (the best of five repetitions, one thread), one by
one and in batches; then the scorer's shares per category, the tables of docs/data.md.
"""

import argparse
import time

import numpy as np

from ntm.data.scenes import CATEGORIES, SIDES, Scenes
from ntm.evaluation import scenes as scorer
from ntm.sampling import pictures

_NOISE = 0.05


def main():
  """Prints the tables; draws the first scenes with their captions."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--count", type=int, default=500, help="scenes per category")
  parser.add_argument("--picture", default="", help="PNG of the first 18 scenes of 64 pixels")
  args = parser.parse_args()
  print("| side | images/s, one by one | images/s, in batches |\n|---|---|---|")
  for side in SIDES:
    source = Scenes("train", side)
    speeds = [_speed(source, args.count, size) for size in (1, args.count)]
    print(f"| {side} | {' | '.join(f'{speed:,.0f}' for speed in speeds)} |", flush=True)
  print(f"\n| | {' | '.join(CATEGORIES)} |\n|{'---|' * (len(CATEGORIES) + 1)}")
  for side in SIDES:
    for name, shares in _shares(side, args.count * len(CATEGORIES)).items():
      print(f"| {side}, {name} | {' | '.join(f'{100 * x:.1f} %' for x in shares)} |", flush=True)
  if args.picture:
    images, scenes = Scenes("train", 64).batch(range(18))
    captions = np.array([scene.caption for scene in scenes]).reshape(3, 6)
    pictures.save(args.picture, pictures.captioned(images.reshape(3, 6, 64, 64, 3), captions))


def _speed(source, count, size):
  """Images per second of CPU time, `size` at a time."""
  seconds = []
  for _ in range(5):
    start = time.process_time()
    for first in range(0, count, size):
      source.batch(range(first, first + size))
    seconds.append(time.process_time() - start)
  return count / min(seconds)


def _shares(side, count):
  """{what: shares per category} of true pictures, noisy ones and shuffled captions."""
  images, scenes = Scenes("train", side).batch(range(count))
  noise = np.random.default_rng(0).standard_normal(images.shape, np.float32)
  others = scenes[len(CATEGORIES):] + scenes[:len(CATEGORIES)]  # The next of the same category.
  rights = {"true": scorer.score(images, scenes),
            f"noise {_NOISE}": scorer.score(images + _NOISE * noise, scenes),
            "shuffled": scorer.score(images, others),
            "shuffled, by the truth": np.array([
                scorer.shows(scene.objects, other) for scene, other in zip(scenes, others)])}
  return {name: [row["share"] for key, row in scorer.breakdown(right, scenes).items()
                 if key in CATEGORIES] for name, right in rights.items()}


if __name__ == "__main__":
  main()
