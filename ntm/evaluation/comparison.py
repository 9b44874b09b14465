"""Samples against real images, by their features."""

import dataclasses

import numpy as np

from ntm.evaluation import frechet, inception_score, neighbours
from ntm.evaluation.features import Features
from ntm.evaluation.frechet import Gaussian

USUAL = 50_000  # Samples behind published distances.


@dataclasses.dataclass(frozen=True)
class Reference:
  """Real images, which any number of sets of samples are compared with.

  Attributes:
    gaussian: of their features.
    spatial: of their spatial features; None if there are none.
    pool: their features [M, F], or fewer than are behind `gaussian`; None leaves out precision
      and recall.
    radii: `neighbours.radii` of `pool`.
  """

  gaussian: Gaussian
  spatial: Gaussian | None = None
  pool: np.ndarray | None = None
  radii: np.ndarray | None = None

  @classmethod
  def of(cls, features: Features, gaussian: Gaussian | None = None,
         spatial: Gaussian | None = None) -> "Reference":
    """The images of these features, with Gaussians that are known, or fitted to them."""
    if spatial is None and features.spatial is not None:
      spatial = Gaussian.of_moments(features.spatial)
    return cls(gaussian or Gaussian.fit(features.pool), spatial, features.pool,
               neighbours.radii(features.pool))

  def metrics(self, samples: Features) -> dict[str, float]:
    """Fréchet distance with its standard error, precision and recall of samples.

    Of Inception's features also the distance of spatial ones (sFID) and the Inception Score.
    """
    result = {
        "frechet_distance": frechet.between(self.gaussian, Gaussian.fit(samples.pool)),
        "frechet_standard_error": frechet.standard_error(self.gaussian, samples.pool)}
    if self.pool is not None:
      result["precision"], result["recall"] = neighbours.precision_recall(
          self.pool, samples.pool, data_radii=self.radii)
    if self.spatial is not None and samples.spatial is not None:
      result["spatial_frechet_distance"] = frechet.between(
          self.spatial, Gaussian.of_moments(samples.spatial))
    if samples.logits is not None:
      result["inception_score"] = inception_score.score(samples.logits)
    return result
