"""An NTM from SiT-XL/2, class-conditional ImageNet at 256 x 256 [3.6-3.8].

  ntm convert --family=sit --source=SiT-XL-2-256.pt --target=runs/sit_xl
  ntm train --config=configs/sit_xl_256.py --workdir=runs/sit_xl_256

Data, in --config.data.path as ntm/data/arrays.py says: image.npy, 32 x 32 x 4
latents of the autoencoder SiT was trained on, and label.npy.
Hardware: see docs/scaling.md; bound on the MFU with config.model.remat=dots: 98 % on v5p:4x4x4,
98 % on v5e:8x8 with two rounds of accumulation. Not yet measured. The tests compile it, and do
not run it.
"""

import ntm.config


def get_config():
  config = ntm.config.default()
  config.finetune.source = "runs/sit_xl"
  config.data.source = "arrays"
  config.model.image_shape = (32, 32, 4)
  config.model.patch_shape = (2, 2)
  config.model.num_classes = 1000
  config.model.backbone.kind = "sit"
  config.model.predictor.layers = 28
  config.model.predictor.width = 1152
  config.model.predictor.num_heads = config.model.predictor.num_kv_heads = 16
  config.model.predictor.output = "velocity"
  config.model.predictor.reads_noise = True
  config.model.transporter.width = 1152
  config.model.transporter.num_heads = config.model.transporter.num_kv_heads = 16
  config.model.dtype = "bfloat16"
  config.model.remat = "full"
  config.process.t_min_low = 0.01
  config.optimizer.peak_learning_rate = 5e-5
  config.train.batch_size = 1024
  config.mesh.data = 1
  config.mesh.fsdp = -1
  return config
