"""Inception Score (arXiv 1606.03498): sure of every image, unsure of what the next one is."""

import numpy as np

_SPLIT = 5000


def score(logits: np.ndarray, split: int = _SPLIT) -> float:
  """Mean over parts of exp(mean KL(p(y | x) || p(y))), p(y) being the mean of the part.

  Args:
    logits: of classes, [M, L], in an order in which any rows in a row are like all.
    split: images of a part, the last of which may have fewer; 5,000 as in ADM's evaluator. Of
      fewer images the score is lower, so scores of other splits are not comparable.
  """
  logits = np.asarray(logits, np.float64)
  logits = logits - logits.max(axis=1, keepdims=True)
  log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  scores = []
  for start in range(0, len(log_p), split):
    part = log_p[start:start + split]
    mean = np.exp(part).mean(axis=0)
    # An entry that is zero throughout has log 0, and counts nothing.
    log_mean = np.log(np.where(mean > 0, mean, 1))
    scores.append(np.exp((np.exp(part) * (part - log_mean)).sum(axis=1).mean()))
  return float(np.mean(scores))
