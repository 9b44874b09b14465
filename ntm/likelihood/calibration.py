"""Is z = (u_{k-1} - mu_P) / sigma_P standard normal on held-out data?"""

import os

import numpy as np
from scipy.stats import norm


def moments(z_SBD: np.ndarray) -> list[dict[str, float]]:
  """Mean, variance and share beyond 2 (4.6 % if normal) of every step, k = 1 first."""
  return [{"mean": float(z.mean()), "variance": float(z.var()),
           "beyond_2": float((np.abs(z) > 2).mean())} for z in np.asarray(z_SBD, np.float64)]


def draw_quantiles(path: str | os.PathLike, z_SBD: np.ndarray) -> None:
  """Writes a QQ picture: quantiles of z against those of N(0, 1), one curve a step."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(4.6, 4.4), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.subplots()
  levels = np.linspace(0.001, 0.999, 999)
  for k, z in enumerate(z_SBD, start=1):
    axes.plot(norm.ppf(levels), np.quantile(z, levels), label=f"step {k}")
  axes.plot([-3, 3], [-3, 3], color="black", linewidth=0.8, linestyle="--", label="calibrated")
  axes.set(xlabel="quantile of N(0, 1)", ylabel="quantile of z", ylim=(-4.5, 4.5))
  axes.grid(alpha=0.3)
  axes.legend(fontsize=8)
  figure.savefig(path, dpi=110)
