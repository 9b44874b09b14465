"""An NTM from FLUX.2 [klein] base 4B at 512 x 512: the paper's finetuned model [3.6-3.8].

  ntm convert --family=flux2 --source=flux-2-klein-base-4b.safetensors --target=runs/flux2
  ntm convert --family=autoencoder_flux2 --source=FLUX.2-klein-base-4B/vae \\
    --target=runs/autoencoder_flux2
  ntm convert --family=qwen3 --source=FLUX.2-klein-base-4B/text_encoder --target=runs/qwen3_4b
  ntm encode --from=webdataset --source=/data/images --image_size=512 \\
    --autoencoder=runs/autoencoder_flux2 --target=/data/flux2_klein_512
  ntm train --config=configs/flux2_klein_512.py --workdir=runs/flux2_klein_512 \\
    --config.data.path=/data/flux2_klein_512

Images are shards of latents, 32 x 32 standardised patches; captions are tokenised in the chat
template where they are read, and the frozen Qwen3-4B encodes them within the update. Text
features prepared ahead: flux2_klein_512_arrays.py.
Hardware: see docs/scaling.md; bound on the MFU of configs/flux2_klein_512_arrays.py with
config.model.remat=dots: 98 % on v5p:4x4x4 with four rounds of accumulation. Not yet measured. The
tests compile it, and do not run it.
"""

import ntm.config


def get_config():
  config = ntm.config.default()
  config.finetune.source = "runs/flux2"
  config.data.source = "shards"
  config.data.test_fraction = 0.001  # Of ten million, 10,000 are held out.
  config.autoencoder.path = "runs/autoencoder_flux2"
  config.text.tokenizer = "FLUX.2-klein-base-4B/tokenizer"
  config.text.template = "klein"
  config.text.encoder = "runs/qwen3_4b"
  config.text.hidden_states = (9, 18, 27)
  config.model.image_shape = (32, 32, 128)
  config.model.patch_shape = (1, 1)
  config.model.num_classes = 0
  config.model.backbone.kind = "flux2"
  config.model.backbone.double_layers = 5
  config.model.backbone.text_tokens = 512
  config.model.backbone.text_width = 7680
  config.model.predictor.layers = 20
  config.model.predictor.width = 3072
  config.model.predictor.num_heads = config.model.predictor.num_kv_heads = 24
  config.model.predictor.mlp_ratio = 3
  config.model.predictor.output = "velocity"
  config.model.predictor.reads_noise = True
  config.model.transporter.width = 3072
  config.model.transporter.num_heads = 24
  config.model.transporter.num_kv_heads = 8
  config.model.dtype = "bfloat16"
  config.model.remat = "full"
  config.process.t_min_low = 0.01
  config.optimizer.peak_learning_rate = 5e-5
  config.train.batch_size = 1024
  config.mesh.data = 1
  config.mesh.fsdp = -1
  return config
