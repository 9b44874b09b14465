"""configs/flux2_klein_512.py on latents and text features prepared ahead.

  ntm train --config=configs/flux2_klein_512_arrays.py --workdir=runs/flux2_klein_512_arrays \\
    --config.data.path=/data/flux2_klein_512_arrays

Data, as ntm/data/arrays.py says: image.npy, 32 x 32 standardised patches of the FLUX.2
autoencoder; text.npy, 512 features of its encoder per text (docs/text_to_image.md), 7.9 MB in
float16; and null_text.npy, those of the empty text.
Hardware: see docs/scaling.md; bound on the MFU of configs/flux2_klein_512_arrays.py with
config.model.remat=dots: 98 % on v5p:4x4x4 with four rounds of accumulation. Not yet measured. The
tests compile it, and do not run it.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "flux2_klein_512.py")
  config.data.source = "arrays"
  config.autoencoder.path = config.text.tokenizer = config.text.encoder = ""
  config.text.template = "plain"
  config.text.hidden_states = ()
  return config
