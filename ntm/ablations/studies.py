"""The tables of `ntm table --reduced`, and the claims that they answer."""

import dataclasses

from ntm.ablations.claims import Claim, Comparison, Divergence, Model


@dataclasses.dataclass(frozen=True)
class Study:
  """One table.

  Attributes:
    title: what is compared.
    lines: {what a row is: its model}.
    metrics: columns, in `claims.METRICS`.
    claims: what the table is asked.
  """

  title: str
  lines: dict[str, Model]
  metrics: tuple[str, ...]
  claims: tuple[Claim, ...]


_SAMPLES = ("frechet_distance", "precision", "recall", "class_accuracy")
_ALL = ("nll_nats_per_dim", *_SAMPLES)
_NEARLY = 1.05  # As good: at most 5 % worse.
_BASE, _RAW, _NONE = ("base", "refined"), ("base", "raw"), ("no_transporter", "refined")


def _better(better: Model, worse: Model, *metrics: str, factor: float = 1.0):
  return tuple(Comparison(metric, better, worse, factor) for metric in metrics)


STUDIES = {
    "transporter": Study(
        "Transporter against none, endless digits, T = 4, refined",
        {"Gaussian steps: no transporter": _NONE, "four affine blocks": _BASE,
         "two spline blocks that read the noisier state": ("features", "refined")},
        _ALL,
        (Claim("A transporter makes four steps better than Gaussian ones", True,
               _better(_BASE, _NONE, "nll_nats_per_dim", "frechet_distance")),
         Claim("A transporter that reads the noisier state is better still", False,
               _better(("features", "refined"), _BASE, "nll_nats_per_dim", "frechet_distance")))),
    "digits": Study(
        "Transporter against none, 1,500 real digits, T = 4",
        {"no transporter, refined": ("digits_no_transporter", "refined"),
         "no transporter, raw": ("digits_no_transporter", "raw"),
         "four affine blocks, refined": ("digits", "refined"),
         "four affine blocks, raw": ("digits", "raw")},
        _ALL,
        (Claim("Without a transporter four-step samples are blurred: fewer look like real ones",
               True, _better(("digits", "refined"), ("digits_no_transporter", "refined"),
                             "precision")),)),
    "mixture": Study(
        "Transporter against none, 25 Gaussians, T = 4",
        {"Gaussian steps: no transporter": ("grid_no_transporter", "exact"),
         "two affine blocks": ("grid_affine", "exact"),
         "a spline block that reads the noisier state": ("grid", "exact")},
        ("kl_to_truth_nats", "gaussian_kl_nats", "in_mode_share"),
        (Claim("Affine transporters make steps non-Gaussian: nearer to the truth than any Gaussian "
               "chain", True,
               (Comparison("kl_to_truth_nats", ("grid_affine", "exact"), ("grid_affine", "exact"),
                           worse_metric="gaussian_kl_nats"),)),
         Claim("A spline that reads the noisier state makes them so", False,
               (Comparison("kl_to_truth_nats", ("grid", "exact"), ("grid", "exact"),
                           worse_metric="gaussian_kl_nats"),)))),
    "scenes": Study(
        "Transporter against none, captioned scenes, T = 4, raw, equal layers",
        {"Gaussian steps: no transporter": ("shapes_no_transporter", "raw"),
         "two blocks that read the noisier state": ("shapes", "raw")},
        ("nll_nats_per_dim", "frechet_distance", "score"),
        (Claim("A transporter makes four steps of text to image better than Gaussian ones", True,
               _better(("shapes", "raw"), ("shapes_no_transporter", "raw"), "nll_nats_per_dim",
                       "frechet_distance")),)),
    "steps": Study(
        "Number of steps, one model per T, equal noisy states, refined",
        {"T = 1": ("T1", "refined"), "T = 2": ("T2", "refined"), "T = 4": _BASE,
         "T = 8": ("T8", "refined"), "T = 16": ("T16", "refined")},
        _SAMPLES,
        (Claim("T = 1 fails: at least twice the distance of T = 4", True,
               _better(_BASE, ("T1", "refined"), "frechet_distance", factor=0.5)),
         Claim("More steps are better: 8 than 4, and 16 than 8", True,
               _better(("T8", "refined"), _BASE, "frechet_distance")
               + _better(("T16", "refined"), ("T8", "refined"), "frechet_distance")))),
    "multi_step": Study(
        "One model for several T against one each, equal noisy states, refined",
        {f"{what}, T = {steps}": model for steps, one in (
            (4, _BASE), (8, ("T8", "refined")), (16, ("T16", "refined")))
         for what, model in (("single T", one), ("multi-T", ("multi_T", f"T = {steps}")))},
        _ALL,
        (Claim("One model samples at 4, 8 and 16 steps as well as three: at most 5 % farther",
               True, sum((_better(("multi_T", f"T = {steps}"), one, "frechet_distance",
                                  factor=_NEARLY)
                          for steps, one in ((4, _BASE), (8, ("T8", "refined")),
                                             (16, ("T16", "refined")))), ())),)),
    "alignment": Study(
        "Mean alignment against none, finetuned from flow matching, T = 4, refined",
        {"flow matching, Gaussian posterior, 4 steps": ("flow_matching", "gaussian 4"),
         "finetuned, lambda = 2.5": ("aligned", "refined"),
         "finetuned, lambda = 0": ("unaligned", "refined")},
        _ALL,
        (Claim("Without mean alignment finetuning diverges", True,
               (Divergence(("unaligned", "refined")),)),
         Claim("Mean alignment makes the finetuned model better", False,
               _better(("aligned", "refined"), ("unaligned", "refined"), "frechet_distance")),
         Claim("Finetuning improves on the Gaussian posterior it starts as", True,
               _better(("aligned", "refined"), ("flow_matching", "gaussian 4"),
                       "frechet_distance")))),
    "refinement": Study(
        "Last state: score refinement, denoiser and neither, T = 4",
        {"raw": _RAW, "score refinement": _BASE, "denoiser": ("base", "denoiser")},
        _SAMPLES,
        (Claim("Score refinement improves samples", True,
               _better(_BASE, _RAW, "frechet_distance")),
         Claim("The denoiser is as good as score refinement: at most 5 % farther", True,
               _better(("base", "denoiser"), _BASE, "frechet_distance", factor=_NEARLY)))),
    "objective": Study(
        "End-to-end against pair-wise training, equal noisy states, T = 4, refined",
        {"end-to-end": _BASE, "pair-wise": ("pair_wise", "refined")}, _ALL,
        (Claim("Training on whole trajectories is better than on single pairs", False,
               _better(_BASE, ("pair_wise", "refined"), "nll_nats_per_dim", "frechet_distance")),)),
    "context": Study(
        "Predictor that reads one level against all noisier ones, T = 4, refined",
        {"markov": _BASE, "history": ("history", "refined")}, _ALL,
        (Claim("A predictor that reads the history is better", False,
               _better(("history", "refined"), _BASE, "nll_nats_per_dim", "frechet_distance")),)),
    "blocks": Study(
        "Autoregressive against coupling transporter, equal parameters, T = 4, refined",
        {"no transporter": _NONE, "autoregressive": _BASE, "coupling": ("coupling", "refined")},
        _ALL,
        (Claim("Autoregressive blocks are better than coupling ones", False,
               _better(_BASE, ("coupling", "refined"), "nll_nats_per_dim",
                       "frechet_distance")),)),
    "guidance": Study(
        "Guidance scales, T = 4, refined",
        {"w = 0": _BASE} | {f"w = {scale}": ("base", f"guidance {scale}")
                            for scale in (0.5, 1.0, 2.0, 4.0)},
        _SAMPLES,
        (Claim("Guidance makes samples truer to their class", True,
               _better(("base", "guidance 1.0"), _BASE, "class_accuracy")),
         Claim("Guidance of 1 makes samples nearer to the data", False,
               _better(("base", "guidance 1.0"), _BASE, "frechet_distance")))),
    "flow_matching": Study(
        "Four steps of an NTM against flow matching, endless digits",
        {"NTM, 4 steps, refined": _BASE, "NTM, 4 steps, raw": _RAW,
         "NTM that reads the noisier state, 4 steps, refined": ("features", "refined"),
         "flow matching, Euler, 4 evaluations": ("flow_matching", "euler 4"),
         "flow matching, Heun, 7 evaluations": ("flow_matching", "heun 4"),
         "flow matching, Euler, 50 evaluations": ("flow_matching", "euler 50")},
        _SAMPLES,
        (Claim("Four steps of an NTM are better than four of flow matching", True,
               _better(_BASE, ("flow_matching", "euler 4"), "frechet_distance")),)),
}
