"""Telling digits from other inputs by likelihood, and how well that works.

Two scores, larger being stranger, both under the null class, as an image of
unknown origin has no label:

- likelihood: -log p of the trajectory;
- typicality: mean over the steps of |log p_k - m_k| / s_k, with m_k and s_k the
  mean and standard deviation of that step on training images. Inputs simpler
  than the data have a higher likelihood than the data, and only the second
  score can call them strange.
"""

import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score

SCORES = ("likelihood", "typicality")


def scores(step_SB: np.ndarray, train_step_SB: np.ndarray) -> dict[str, np.ndarray]:
  """Both scores of every image.

  Args:
    step_SB: log p(x_{k-1} | x_k) of the images, in nats.
    train_step_SB: the same of training images.

  Returns:
    {name: [B]}.
  """
  mean_S1 = train_step_SB.mean(axis=1, keepdims=True)
  std_S1 = train_step_SB.std(axis=1, keepdims=True)
  return {"likelihood": -step_SB.sum(axis=0),
          "typicality": (np.abs(step_SB - mean_S1) / std_S1).mean(axis=0)}


def auroc(normal_B: np.ndarray, strange_B: np.ndarray) -> float:
  """Probability that a strange image scores above a normal one."""
  truth = np.concatenate([np.zeros(len(normal_B)), np.ones(len(strange_B))])
  return float(roc_auc_score(truth, np.concatenate([normal_B, strange_B])))


def auroc_table(scores_by_kind: dict[str, dict[str, np.ndarray]],
                normal: str) -> dict[str, dict[str, float]]:
  """AUROC of every score against every kind of input but the normal one.

  Args:
    scores_by_kind: {kind of input: what `scores` returned for it}.
    normal: the kind that the others are compared with.

  Returns:
    {kind: {score: AUROC}}.
  """
  return {kind: {name: auroc(scores_by_kind[normal][name], values[name]) for name in SCORES}
          for kind, values in scores_by_kind.items() if kind != normal}


def other_inputs(images: np.ndarray, level_spacing: float, seed: int = 0) -> dict[str, np.ndarray]:
  """Inputs other than digits, as many and of the same shape and levels.

  Args:
    images: digits, [B, H, W, 1] in [-1, 1], H = W.
    level_spacing: distance of their levels.
    seed: of the permutation and of the pieces cut from photographs.
  """
  rng = np.random.default_rng(seed)
  flat = images.reshape(len(images), -1)
  return {
      "rotated by 90 degrees": np.rot90(images, axes=(1, 2)).copy(),
      "inverted": -images,
      "pixels shuffled": flat[:, rng.permutation(flat.shape[1])].reshape(images.shape),
      "photographs": _photographs(rng, images.shape, level_spacing),
  }


def _photographs(rng, shape, level_spacing) -> np.ndarray:
  """Pieces of scikit-learn's bundled photographs in grey, on the data's levels."""
  count, height, width, _ = shape
  pieces = []
  photographs = [photo.mean(axis=-1) / 127.5 - 1 for photo in load_sample_images().images]
  for i in range(count):
    photo = photographs[i % len(photographs)]
    # Every eighth pixel: pieces large enough to show something.
    top = rng.integers(photo.shape[0] - 8 * height)
    left = rng.integers(photo.shape[1] - 8 * width)
    pieces.append(photo[top:top + 8 * height:8, left:left + 8 * width:8])
  levels = np.round((np.stack(pieces) + 1) / level_spacing) * level_spacing - 1
  return levels[..., None].clip(-1, 1).astype(np.float32)
