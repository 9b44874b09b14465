"""Text to image at 256 x 256 from scratch, width 3072: the paper's [4, 4, 24] layers.

  ntm convert --family=autoencoder_flux2 --source=FLUX.2-klein-base-4B/vae \\
    --target=runs/autoencoder_flux2
  ntm convert --family=qwen2_5_vl --source=Qwen2.5-VL-7B-Instruct --target=runs/qwen2_5_vl_7b
  ntm encode --from=webdataset --source=/data/images --autoencoder=runs/autoencoder_flux2 \\
    --target=/data/t2i_256
  ntm train --config=configs/t2i_256.py --workdir=gs://BUCKET/t2i_256 \\
    --config.data.path=/data/t2i_256

Images are shards of latents, one token of 128 channels per patch; captions are tokenised where
they are read, and the frozen Qwen2.5-VL encodes them within the update. The paper names the
encoder, neither its size nor the hidden state: here 7B, and its last one. Encoder and tokenizer
come from one folder, as the hub has it. The paper's FAE latents, and text features prepared
ahead: t2i_256_arrays.py.
Hardware: see docs/scaling.md; the paper: 64 H100. Bound on the MFU of configs/t2i_256_arrays.py
with config.model.remat=dots: 99 % on v5p:4x4x4, 96 % on v5e:8x8 with eight rounds of
accumulation. Not yet measured.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "imagenet256.py")
  config.data.source = "shards"
  config.data.test_fraction = 0.001  # Of ten million, 10,000 are held out.
  config.autoencoder.path = "runs/autoencoder_flux2"
  config.text.tokenizer = "Qwen2.5-VL-7B-Instruct"
  config.text.encoder = "runs/qwen2_5_vl_7b"
  config.text.hidden_states = (28,)
  config.model.image_shape = (16, 16, 128)
  config.model.num_classes = 0
  config.model.backbone.text_tokens = 256
  config.model.backbone.text_width = 3584
  for part in (config.model.transporter, config.model.predictor, config.denoiser):
    part.width = 3072
    part.num_heads = 24
  return config
