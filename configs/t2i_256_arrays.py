"""configs/t2i_256.py on latents and text features prepared ahead: the paper's FAE latents.

  ntm train --config=configs/t2i_256_arrays.py --workdir=gs://BUCKET/t2i_256_arrays \\
    --config.data.path=/data/t2i_256_arrays

Data, as ntm/data/arrays.py says: image.npy, 16 x 16 x 32 latents of the FAE autoencoder, whose
weights are not public as far as we found; text.npy, 256 features of Qwen2.5-VL 7B per text; and
null_text.npy. A text's features take 1.8 MB in float16, its tokens 1 kB: ahead is for few images.
Hardware: see docs/scaling.md; the paper: 64 H100. Bound on the MFU of configs/t2i_256_arrays.py
with config.model.remat=dots: 99 % on v5p:4x4x4, 96 % on v5e:8x8 with eight rounds of
accumulation. Not yet measured.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "t2i_256.py")
  config.data.source = "arrays"
  config.autoencoder.path = config.text.tokenizer = config.text.encoder = ""
  config.text.hidden_states = ()
  config.model.image_shape = (16, 16, 32)
  return config
