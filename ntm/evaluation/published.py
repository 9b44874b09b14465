"""The tables of the paper (arXiv 2605.08078) as it prints them, and what follows from its formulas.

| N | content |
|---|---|
| 1 | text to image: GenEval overall score and DPG-Bench, finetuned and from scratch |
| 2 | images per second of the finetuned model, with refinement and with the denoiser |
| 3 | coefficients A, B, C of the reverse posterior at four steps |
| 6 | ImageNet at 256 pixels: FID of 50,000 samples, by network evaluations |

Figures of other models are those that the paper's tables cite. They were not measured here.
"""

import dataclasses

import numpy as np

from ntm.process.kernel import reverse_posterior

NOT_MEASURED = "not yet measured"


@dataclasses.dataclass(frozen=True)
class Table:
  """A table, whose first column says what a row is of.

  Attributes:
    title: what is measured.
    columns: {name: format of its numbers}, as many as a row has cells.
    rows: text or numbers; None where the paper gives none.
    notes: what a reader has to know to compare, a sentence each.
  """

  title: str
  columns: dict[str, str]
  rows: tuple[tuple[str | float | None, ...], ...]
  notes: tuple[str, ...] = ()


TEXT_TO_IMAGE = Table(
    "Text to image: GenEval overall and DPG-Bench, higher is better",
    {"model": "", "GenEval": ".2f", "DPG-Bench": ".2f"},
    (("NTM from scratch, 256 pixels", 0.82, 79.64),
     ("NTM finetuned, 512 pixels", 0.76, 83.38),
     ("STARFlow", 0.56, None),
     ("SDXL", 0.55, 74.65),
     ("PixArt-alpha", 0.48, 71.11),
     ("SD3-Medium", 0.62, 84.08),
     ("FLUX.1-dev", 0.66, 83.84),
     ("Janus-Pro-7B", 0.80, 84.19),
     ("HiDream-I1", 0.83, 85.89),
     ("Seedream 3.0", 0.84, 88.27),
     ("Qwen-Image", 0.87, 88.32),
     ("Nucleus-Image", 0.87, 88.79)),
    ("The paper names BLIP-2 as DPG-Bench's judge; the official script uses mPLUG.",
     "The official DPG-Bench script scores categories from the last of the four pictures alone and "
     "leaves out the first row of its CSV file."))

SPEED = Table(
    "Images per second of the finetuned model, T = 4; LPIPS between the two is 0.121",
    {"sampler": "", "images/s": ".2f"},
    (("inverse of the transporter and trajectory refinement", 0.20),
     ("predictor and learned denoiser", 1.88)))

IMAGENET = Table(
    "ImageNet, 256 pixels: FID of 50,000 samples, lower is better",
    {"model": "", "evaluations": "d", "FID": ".2f"},
    (("NTM", 4, 3.83),
     ("NTM", 8, 3.24),
     ("NTM", 16, 2.80),
     ("TarFlow", 1024, 5.56),
     ("STARFlow", 1024, 2.40),
     ("STARFlow, FAE latents", 256, 2.67),
     ("DiT-XL", 250, 2.27),
     ("SiT-XL", 250, 2.06),
     ("LlamaGen", 256, 2.18),
     ("VAR", 10, 1.73),
     ("DART", 16, 3.82)))

# (t, s, A, B, C) of every step, noisiest first.
_PRINTED_COEFFICIENTS = (
    (1.0, 0.754, 0.140, 0.614, 0.371),
    (0.754, 0.509, 0.271, 0.496, 0.362),
    (0.509, 0.263, 0.470, 0.362, 0.297),
    (0.263, 0.020, 0.948, 0.049, 0.049),
)


def coefficients() -> Table:
  """Table 3 as printed, next to Proposition 2, and how far each is from its two identities.

  The identities are A (1 - t) + B = 1 - s, which keeps the mean, and A² t² + C² = s², which keeps
  the variance; `mean` and `variance` are left side less right side.
  """
  rows = []
  for t, s, *printed in _PRINTED_COEFFICIENTS:
    derived = [float(value) for value in reverse_posterior(t, s)]
    for kind, values in (("printed", printed), ("Proposition 2", derived)):
      rows.append((kind, t, s, *values, *_identities(t, s, *values)))
  worst = {kind: max(abs(value) for row in rows if row[0] == kind for value in row[6:])
           for kind in ("printed", "Proposition 2")}
  return Table(
      "Coefficients of q(x_s | x_t, x_0) = N(A x_t + B x_0, C² I) at T = 4",
      {"coefficients": ""} | dict.fromkeys(("t", "s", "A", "B", "C", "mean", "variance"), "z.3f"),
      tuple(rows),
      ("mean: A (1 - t) + B - (1 - s); variance: A² t² + C² - s². Both are 0 if the step leads "
       "from one noise level to the other.",
       f"The largest deviation is {worst['printed']:.3f} for the printed coefficients and "
       f"{worst['Proposition 2']:.0e} for those of Proposition 2, which ntm uses."))


def _identities(t, s, a, b, c):
  return a * (1 - t) + b - (1 - s), float(np.square(a * t) + np.square(c) - np.square(s))
