"""What encoding costs per kind of source: python benchmarks/encode.py [--quick] [--json=FILE]

Writes synthetic images of 64 x 64 pixels as JPEG into a folder, tars, a Parquet file
and a tfds data set, encodes each in a fresh process with a tiny random autoencoder
(two levels of 32 and 64 channels), and prints images per second (both the
image and its mirror image are encoded; without the time to compile) and the process's
peak of resident memory (from Linux's /proc). "reading" is the same without the autoencoder.

--autoencoder=DIR only writes that autoencoder, to DIR/vae, to try `ntm encode` without weights.
"""

import argparse
import io
import json
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import time

import numpy as np
import result_file
from PIL import Image

SIDE = 64
KINDS = ("folder", "webdataset", "parquet", "tfds")
_ARCHITECTURE = {"image_channels": 3, "latent_channels": 4, "encoder_widths": [32, 64],
                 "decoder_widths": [32, 64], "num_blocks": 1, "attention": True,
                 "moments_conv": True, "latent_conv": True, "old_names": False}


def main():
  """Measures in children of this process, and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="few images, to see that it runs")
  parser.add_argument("--count", type=int, help="images")
  parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
  result_file.add_flag(parser)
  parser.add_argument("--autoencoder", type=pathlib.Path, metavar="DIR",
                      help="write the random autoencoder to DIR/vae, and measure nothing")
  parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.child:
    child(*args.child)
    return
  if args.autoencoder:
    args.autoencoder.mkdir(parents=True, exist_ok=True)
    autoencoder(args.autoencoder)
    return
  count, rows = args.count or (32 if args.quick else 512), {}
  with tempfile.TemporaryDirectory() as directory:
    root = pathlib.Path(directory)
    autoencoder(root)
    for kind in args.kinds:
      source = WRITERS[kind](root / kind, count)
      done = subprocess.run([sys.executable, __file__, "--child", kind, source, root / "vae",
                             root / f"{kind}_shards"],
                            check=True, stdout=subprocess.PIPE, text=True)
      rows[kind] = json.loads(done.stdout)
  print("| source | images/s | reading alone, images/s | peak memory, MB |\n|---|---|---|---|")
  for kind, row in rows.items():
    print(f"| {kind} | {row['images_per_second']:.0f} | {row['read_per_second']:.0f} | "
          f"{row['peak_bytes'] / 1e6:.0f} |")
  if args.json:
    args.json.write_text(json.dumps({"images": count, "side": SIDE, "rows": rows}, indent=2) + "\n")


def autoencoder(root: pathlib.Path) -> None:
  """A tiny random autoencoder, converted."""
  from convert_memory import source_shapes, write_random

  from ntm.conversion import converter, families

  family = families.get("autoencoder_kl")
  write_random(root / "vae.safetensors", source_shapes(family, _ARCHITECTURE))
  converter.convert(family, root / "vae.safetensors", root / "vae", "float32")


def jpeg(number: int) -> bytes:
  """A smooth random picture, of as many bytes as a photograph of this size."""
  small = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG")
  return file.getvalue()


def write_folder(root: pathlib.Path, count: int) -> str:
  """Ten classes."""
  for i in range(count):
    (root / f"{i % 10}").mkdir(parents=True, exist_ok=True)
    (root / f"{i % 10}" / f"{i:06}.jpg").write_bytes(jpeg(i))
  return str(root)


def write_tars(root: pathlib.Path, count: int) -> str:
  """Two tars with captions."""
  root.mkdir()
  for part in range(2):
    with tarfile.open(root / f"{part:05}.tar", "w") as tar:
      for i in range(part * count // 2, (part + 1) * count // 2):
        for suffix, data in (("jpg", jpeg(i)), ("txt", f"picture {i}".encode())):
          info = tarfile.TarInfo(f"{i:06}.{suffix}")
          info.size = len(data)
          tar.addfile(info, io.BytesIO(data))
  return str(root)


def write_parquet(root: pathlib.Path, count: int) -> str:
  """One file of row groups of 500, with classes."""
  import pyarrow as pa
  from pyarrow import parquet

  root.mkdir()
  table = pa.table({"image": [{"bytes": jpeg(i), "path": f"{i}.jpg"} for i in range(count)],
                    "label": [i % 10 for i in range(count)]})
  parquet.write_table(table, root / "train.parquet", row_group_size=500)
  return str(root)


def write_tfds(root: pathlib.Path, count: int) -> str:
  """A data set in ArrayRecord files, with classes."""
  import tensorflow_datasets as tfds

  class Synthetic(tfds.core.GeneratorBasedBuilder):
    """The pictures."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      features = {"image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="jpeg"),
                  "label": tfds.features.ClassLabel(num_classes=10)}
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
      return {"train": ((i, {"image": io.BytesIO(jpeg(i)), "label": i % 10})
                        for i in range(count))}

    def _generate_examples(self):
      return ()

  Synthetic(data_dir=root, file_format="array_record").download_and_prepare()
  return str(root)


WRITERS = {"folder": write_folder, "webdataset": write_tars, "parquet": write_parquet,
           "tfds": write_tfds}


def child(kind: str, source: str, vae: str, target: str) -> None:
  """Encodes, and prints what it measured of this process."""
  from ntm.data import encode, encode_images, encode_shards
  from ntm.data.encode_images import Encoder

  target = pathlib.Path(target)
  chunks = open_source(kind, source)
  encoder = Encoder(vae, SIDE, 64)
  encode.start(target, encode.settings(
      encode_images.settings(vae, SIDE), chunks, {"from": kind, "source": source}))
  encoder.start([np.zeros((SIDE, SIDE, 3), np.float32)]).block_until_ready()
  start = time.perf_counter()
  done = encode_shards.run(chunks, encoder, target, list(range(len(chunks.weights))),
                           lambda done, total: None)
  seconds = time.perf_counter() - start
  index = encode.finish(target, chunks)
  assert index["examples"] == done
  # Not getrusage: its peak takes in that of the parent, from which this process was forked.
  status = pathlib.Path("/proc/self/status").read_text()
  (kilobytes,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
  start = time.perf_counter()
  for number in range(len(chunks.weights)):
    for item in chunks.chunk(number):
      item.load(SIDE)
  reading = time.perf_counter() - start
  print(json.dumps({
      "images": done, "images_per_second": done / seconds, "read_per_second": done / reading,
      "peak_bytes": 1024 * int(kilobytes),
      "record_bytes": sum(entry["bytes"] for entry in index["shards"]) / done}))


def open_source(kind: str, source: str):
  """The source of `ntm encode`."""
  if kind == "folder":
    from ntm.data.encode_folder import FolderChunks
    return FolderChunks(source, 1000)
  if kind == "webdataset":
    from ntm.data.encode_webdataset import WebDatasetChunks
    return WebDatasetChunks(source)
  if kind == "parquet":
    from ntm.data.encode_parquet import ParquetChunks
    return ParquetChunks(source, 1000)
  from ntm.data.encode_tfds import TfdsChunks
  return TfdsChunks("synthetic", source, "train", SIDE, 1000)


if __name__ == "__main__":
  main()
