"""What users get wrong, command by command: one line that says so, and nothing written."""

import functools
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import safetensors.numpy
from absl.testing import absltest, parameterized

from ntm.commands import main
from tests.helpers import encoding, runs

_ROOT = pathlib.Path(__file__).parents[2]
_CONFIG = f"--config={_ROOT}/configs/digits.py"
_NEW = "--workdir={new}"

# (command, arguments, what stderr must say). In the arguments, {run} is an NTM's workdir, {fm} a
# flow-matching one, {plain} one without classes, {text} one conditioned on texts, {denoiser} a
# denoiser's, {history} one of a history predictor, {converted} a converted directory, {corrupt}
# one with a damaged config.json, {gone} one that lost its checkpoint's files, {files} a directory
# of files, {pictures} one of images, {new} does not exist.
_TRAIN = [
    (["--config={files}/none.py", _NEW], ["none.py", "expected a Python file", "--help"]),
    (["--config={files}", _NEW], ["a directory", "expected a Python file"]),
    (["--config={files}/syntax.py", _NEW], ["syntax.py, line 2: SyntaxError"]),
    (["--config={files}/raises.py", _NEW], ["raises.py, line 4: AttributeError", "widht"]),
    (["--config={files}/value.py", _NEW], ["value.py, line 2: ValueError: no such thing"]),
    (["--config={files}/empty.py", _NEW], ["empty.py defines no get_config()"]),
    (["--config={files}/nothing.py", _NEW], ["get_config() returns None; expected a config"]),
    (["--config=", _NEW], ["--config is ''", "expected a Python file"]),
    ([_NEW], ["--config is missing; expected --config=VALUE", "`ntm train --help`"]),
    ([_CONFIG], ["--workdir is missing; expected --workdir=VALUE"]),
    ([_CONFIG, "--workdir=/dev/null/run"], ["workdir /dev/null/run cannot be written"]),
    ([_CONFIG, _NEW, "--config.train.batch_size=9", "--config.train.grad_accumulation_steps=2"],
     ["grad_accumulation_steps is 2"]),
    ([_CONFIG, "--workdir="], ["--workdir is empty; expected a value"]),
    ([_CONFIG, "--workdir", "--config.train.steps=3"],
     ["--workdir is --config.train.steps=3; expected a value, not another flag"]),
    ([_CONFIG, "--workdir"], ["workdir", "--help"]),
    ([_CONFIG, _NEW, "--config.model.widht=3"],
     ["--config.model.widht is not a known key", "--config.model.predictor.width"]),
    ([_CONFIG, _NEW, "--config.trian.steps=3"],
     ["--config.trian.steps is not a known key", "--config.train.steps"]),
    ([_CONFIG, _NEW, "--config.train.batchsize=9"], ["nearest", "--config.train.batch_size"]),
    ([_CONFIG, _NEW, "--config.train.steps=many"],
     ["--config.train.steps is many; expected an integer"]),
    ([_CONFIG, _NEW, "--config.optimizer.peak_learning_rate=fast"],
     ["--config.optimizer.peak_learning_rate is fast; expected a number"]),
    ([_CONFIG, _NEW, "--config.data.path"], ["config.data.path", "--help"]),
    ([_CONFIG, _NEW, "--config.model.transporter.class_conditional=maybe"],
     ["class_conditional is maybe; expected true or false"]),
    ([_CONFIG, _NEW, "--config.process.num_steps=few"], ["num_steps is", "few", "expected"]),
    ([_CONFIG, _NEW, "--config.model=3"], ["--config.model is 3; expected"]),
    ([_NEW, "--config.train.steps=3"], ["--config.train.steps", "expected --config=FILE"]),
    ([_CONFIG, _NEW, "--config.model.num_classes=3"], ["10 classes", "num_classes is 3"]),
    ([_CONFIG, _NEW, "--config.data.source=folder", "--config.data.path={files}/none"],
     ["none", "not a directory; expected the folder"]),
    ([_CONFIG, _NEW, "--config.mesh.data=3"], ["(3, 1, 1)", "change config.mesh"]),
    ([_CONFIG, _NEW, "--config.mesh.data=1", "--config.mesh.tensor=8"],
     ["not divisible by the 8 devices of mesh axis", "change the mesh"]),
    ([_CONFIG, "--workdir={files}/none.npz"],
     ["cannot be written (Not a directory)", "choose another --workdir"]),
    ([_CONFIG, "--workdir={files}/none.npz/run"], ["Not a directory", "another --workdir"]),
    ([_CONFIG, "--workdir={run}"], ["written with another model", "or a new workdir"]),
    ([_CONFIG, "--workdir={denoiser}"], ["holds a denoiser", "choose another --workdir"]),
    ([_CONFIG, "--workdir={converted}"], ["holds a converted model", "finetune.source"]),
    (["--config={files}/tiny.py", "--workdir={corrupt}"],
     ["config.json is damaged", "from a copy"]),
    (["--config={files}/tiny.py", "--workdir={gone}"],
     ["none of the checkpoints [3]", "new workdir"]),
    ([_CONFIG, _NEW, "--wrokdir=x"], ["--wrokdir is not a flag of `ntm train`", "--workdir?"]),
    (["--config.train.steps=3", _CONFIG, _NEW], ["--config.train.steps is given before --config"]),
    ([_CONFIG, _NEW, "extra"], ["'extra' is not a flag; expected --name=value"]),
]
_DISTILL = [
    (["--teacher={run}"], ["--config is missing"]),
    ([_CONFIG], ["--teacher is missing"]),
    ([_CONFIG, "--teacher="], ["--teacher is empty"]),
    ([_CONFIG, "--teacher={new}"], ["holds no config.json"]),
    ([_CONFIG, "--teacher={fm}"], ["'flow_matching'; only an NTM can"]),
    ([_CONFIG, "--teacher={run}", "--checkpoint=99"],
     ["no checkpoint 99", "complete steps are [3]"]),
    ([_CONFIG, "--teacher={run}", "--checkpoint=newest"],
     ["--checkpoint is newest; expected an int"]),
    ([_CONFIG, "--teacher={run}", "--workdir="], ["--workdir is empty"]),
    ([_CONFIG, "--teacher={run}", "--workdir={run}"], ["holds no teacher.json: not a workdir of"]),
    ([_CONFIG, "--teacher={run}", "--workdir={other}"],
     ["was distilled from step 3", "run `ntm dis"]),
    ([_CONFIG, "--teacher={run}", "--workdir={badteacher}"], ["teacher.json is damaged"]),
    ([_CONFIG, "--teacher={run}", "--config.trian.steps=1"], ["--config.train.steps"]),
    ([_CONFIG, "--teacher={run}", "--config.denoiser.width=7", _NEW], ["width", "7", "expected"]),
]
_SAMPLE = [
    ([], ["--workdir is missing"]),
    (["--workdir={new}"], ["holds no config.json"]),
    (["--workdir={corrupt}"], ["config.json is damaged", "from a copy"]),
    (["--workdir={gone}"], ["none of the checkpoints [3] of", "restore a copy"]),
    (["--workdir={run}", "--checkpoint=4"], ["no checkpoint 4; complete steps are [3]"]),
    (["--workdir={run}", "--output="], ["--output is empty"]),
    (["--workdir={run}", "--output={files}/a.png"],
     ["expected a path without suffix, to which those of the files are appended", "={files}/a."]),
    (["--workdir={run}", "--output={new}/"], ["a directory; expected the path of a file"]),
    (["--workdir={run}", "--output={files}/none.npz/a"], ["Not a directory", "another path"]),
    (["--workdir={run}", "--output=/proc/missing/a"],
     ["--output is /proc/missing/a, and /proc/missing/a.npz cannot be written", "another path"]),
    (["--workdir={run}", "--output=gs://bucket/a"], ["not on this machine; expected a local path"]),
    (["--workdir=gs://bucket/run"], ["not on this machine; expected a local path", "--output"]),
    (["--workdir={run}", "--labels="], ["--labels is empty"]),
    (["--workdir={run}", "--labels=12"], ["label 12 is out of range; classes are 0 to 9"]),
    (["--workdir={run}", "--labels=99999999999"], ["label 99999999999 is out of range"]),
    (["--workdir={run}", "--labels=1,two"], ["--labels is 1,two; expected integers, as in 0,1,2"]),
    (["--workdir={plain}", "--labels=1"],
     ["--labels does not apply: the model is uncond", "leave"]),
    (["--workdir={run}", "--text={files}/none.npz"], ["--text does not apply"]),
    (["--workdir={run}", "--mesh=2,1"], ["--mesh is 2,1; expected three sizes"]),
    (["--workdir={run}", "--mesh=a,1,1"], ["--mesh is a,1,1; expected three sizes"]),
    (["--workdir={run}", "--mesh=3,1,1"], ["(3, 1, 1) do not multiply to the number of devices"]),
    (["--workdir={run}", "--layout=geneval"], ["is geneval, and --output is missing; expected"]),
    (["--workdir={run}", "--layout=dpg", "--prompts_file=x", "--output={files}/none.npz"],
     ["none.npz, which cannot be written (Not a directory)"]),
    (["--workdir={run}", "--prompts=a ring"], ["--prompts does not apply", "no tokenizer"]),
    (["--workdir={text}", "--prompts_file=x.txt"], ["--prompts_file does not apply"]),
    (["--workdir={text}"], ["expected features in --text=FILE.npz"]),
    (["--workdir={text}", "--text={files}/missing.npz"], ["missing.npz cannot be read"]),
    (["--workdir={text}", "--text={files}/none.npz"], ["cannot be read", "expected a .npz file"]),
    (["--workdir={text}", "--text={files}/one.npy"], ["one array", "expected a .npz file"]),
    (["--workdir={text}", "--text={files}/other.npz"], ["holds image; expected `text`"]),
    (["--workdir={text}", "--text={files}/scalar.npz"], ["shape (); expected features"]),
    (["--workdir={text}", "--text={files}/shape.npz"], ["expected (batch, 3, 5)"]),
    (["--workdir={run}", "--num=0"], ["--num is 0; expected an integer from 1 to"]),
    (["--workdir={run}", "--num=99999999999"], ["--num is 99999999999; expected an integer from"]),
    (["--workdir={run}", "--num=few"], ["--num is few; expected an integer from 1"]),
    (["--workdir={run}", "--steps=0"], ["--steps is 0; expected an integer from 1"]),
    (["--workdir={run}", "--steps=3"], ["num_steps is 3", "trained for 2 steps"]),
    (["--workdir={run}", "--guidance=-1"], ["--guidance is -1; expected a number from 0"]),
    (["--workdir={run}", "--guidance=nan"], ["guidance is nan; expected a number"]),
    (["--workdir={plain}", "--guidance=1"], ["guidance is 1.0", "unconditional; pass 0"]),
    (["--workdir={run}", "--refine=all"], ["--refine is all; expected one of none, score, den"]),
    (["--workdir={run}", "--refine=denoiser"], ["this model has none; run `ntm distill`"]),
    (["--workdir={fm}", "--refine=none"], ["--refine does not apply", "leave it out"]),
    (["--workdir={fm}", "--solver=rk4"], ["--solver is rk4; expected one of euler"]),
    (["--workdir={run}", "--solver=heun"], ["--solver does not apply: the model is an NTM"]),
    (["--workdir={run}", "--clip_percentile=101"], ["is 101; expected a number from 0 to 100"]),
    (["--workdir={run}", "--clip_percentile=0"], ["clip_percentile is 0.0; expected above 0"]),
    (["--workdir={run}", "--seed=-1"], ["--seed is -1; expected an integer from 0 to 2147483647"]),
    (["--workdir={run}", "--seed=2147483648"], ["--seed is 2147483648; expected an integer from"]),
    (["--workdir={run}", "--seed=1\n2"], ["--seed is '1\\n2'; expected an integer"]),
    (["--workdir={run}", "--seed=" + "9" * 5000], ["9..." + "; expected an integer from 0"]),
    (["--workdir={run}", "--seed=1.5"], ["--seed is 1.5; expected an integer"]),
]
_EVALUATE = [
    ([], ["--workdir is missing"]),
    (["--workdir={files}"], ["holds no config.json"]),
    (["--workdir={run}", "--checkpoint=-1"], ["no checkpoint -1; complete steps are [3]"]),
    (["--workdir={run}", "--json={files}"], ["cannot be written (Is a directory)", "another path"]),
    (["--workdir={run}", "--json="], ["--json is empty"]),
    (["--workdir={run}", "--num_samples=1"], ["--num_samples is 1; expected an integer from 4"]),
    (["--workdir={run}", "--steps=3"], ["num_steps is 3", "trained for 2 steps"]),
    (["--workdir={run}", "--guidance=1e9"], ["--guidance is 1e9; expected a number from 0"]),
    (["--workdir={run}", "--refine=denoiser"], ["this model has none; run `ntm distill`"]),
    (["--workdir={run}", "--solver=heun"], ["--solver does not apply"]),
    (["--workdir={fm}", "--draws=2"], ["--draws does not apply"]),
    (["--workdir={run}", "--draws=-1"], ["--draws is -1; expected an integer from 0"]),
    (["--workdir={run}", "--samples_dir={files}/none.npz"],
     ["none.npz, which cannot be written (Not a"]),
    (["--workdir={fm}", "--samples_dir=gs://a/b"], ["expected a local path in --samples_dir"]),
    (["--workdir={fm}", "--samples_dir={files}"], ["is not empty, and", "does not say how its"]),
    (["--workdir={fm}", "--json={files}/none.npz/a/b.json"], ["cannot be written (Not a dir"]),
    (["--workdir={run}", "--seed=99999999999"], ["--seed is 99999999999; expected an integer"]),
    (["--workdir={text}"], ["/nowhere", "has no directory 'train'; expected one prepared"]),
    (["--workdir={fm}", "--resize=antialiased"], ["--resize does not apply: only Inception"]),
    (["--workdir={fm}", "--output=x"], ["--output does not apply: only --export"]),
    (["--workdir={fm}", "--export=adm", "--output={new}/x.npz"], ["expected a path without suff"]),
    (["--workdir={fm}", "--features={files}"], ["holds no conversion.json"]),
    (["--workdir={fm}", "--features=nowhere:f"], ["'nowhere:f' cannot be imported"]),
    (["--workdir={fm}", "--features={files}/nowhere.npz"], ["nowhere.npz, which does not exist"]),
    (["--workdir={fm}", "--features={files}/none.npz"], ["is not a classifier; expected a file"]),
    (["--workdir={fm}", "--reference={files}/nowhere"], ["cannot be read as a reference"]),
    (["--workdir={plain}", "--label_frequencies=training"], ["--label_frequencies does not apply"]),
    (["--workdir={run}", "--clip={files}"], ["--clip does not apply: the model reads no captions"]),
    (["--workdir={run}", "--lpips=resnet"], ["--lpips is resnet; expected one of alex, vgg"]),
    (["--workdir={run}", "--lpips=alex", "--num_samples=9"], ["no two of 9 samples have the same"]),
    (["--workdir={run}", "--lpips=alex"], ["8 x 8 pixels to nothing; expected at least 31 pixels"]),
]
_LIKELIHOOD = [
    ([], ["--workdir is missing"]),
    (["--workdir={fm}"], ["has no trajectory likelihood; finetune it"]),
    (["--workdir={run}", "--compare={new}"], ["holds no config.json"]),
    (["--workdir={run}", "--compare={fm}"], ["has no trajectory likelihood"]),
    (["--workdir={run}", "--output={files}/a.json"], ["expected a path without suffix"]),
    (["--workdir={run}", "--output={files}/taken"],
     ["taken.csv cannot be written (Is a directory)"]),
    (["--workdir={run}", "--draws=0"], ["--draws is 0; expected an integer from 1"]),
    (["--workdir={run}", "--steps=3"], ["num_steps is 3", "trained for 2 steps"]),
    (["--workdir={run}", "--classify=0"], ["--classify is 0; expected an integer from 1"]),
    (["--workdir={run}", "--seed=-5"], ["--seed is -5; expected an integer from 0"]),
    (["--workdir={run}", "--checkpoint=x"], ["--checkpoint is x; expected an integer"]),
    (["--workdir={text}"], ["config.data.source is 'arrays'; expected images"]),
    (["--workdir={run}", "--json={files}"], ["--json is {files}", "cannot be written (Is a dir"]),
    (["--workdir={run}", "--num=3"], ["--num does not apply: only --compress takes a number"]),
    (["--workdir={run}", "--compress={new}", "--num=0"], ["--num is 0; expected an integer from"]),
    (["--workdir={run}", "--compress={files}"], ["--compress is {files}", "(Is a directory)"]),
    (["--workdir={run}", "--compress={new}", "--draws=2"],
     ["--draws does not apply: --compress writes its file"]),
    (["--workdir={run}", "--compress={new}", "--compare={run}"], ["--compare does not apply"]),
    (["--workdir={run}", "--compress={new}", "--decompress={new}"],
     ["--decompress does not apply"]),
    (["--workdir={run}", "--compress={new}", "--output={new}"], ["--output does not apply"]),
    (["--workdir={run}", "--compress={new}", "--steps=3"], ["num_steps is 3", "for 2 steps"]),
    (["--workdir={fm}", "--compress={new}"], ["has no trajectory likelihood"]),
    (["--workdir={text}", "--compress={new}"], ["'arrays'; expected images whose values have"]),
    (["--workdir={history}", "--compress={new}"], ["context is 'history'; compression codes"]),
    (["--workdir={run}", "--decompress={new}"], ["--decompress is {new}, which cannot be read"]),
    (["--workdir={run}", "--decompress={files}/none.npz"],
     ["the compressed images are damaged, or not compressed by"]),
    (["--workdir={run}", "--decompress={new}", "--steps=2"],
     ["--steps does not apply: --decompress only writes the images of its file"]),
    (["--workdir={run}", "--decompress={new}", "--json={new}"], ["--json does not apply"]),
]
_COMPILE = [
    (["--topology=cpu:8"], ["--config is missing"]),
    ([_CONFIG], ["--topology is missing"]),
    ([_CONFIG, "--topology=cpu:none"], ["cpu:none; expected a number of devices from 1", "cpu:8"]),
    ([_CONFIG, "--topology=cpu:99999999999"], ["expected a number of devices from 1 to"]),
    ([_CONFIG, "--topology=cpu:8", "--program=run"], ["--program is run; expected one of train"]),
    ([f"--config={_ROOT}/configs/digits_fm.py", "--topology=cpu:8", "--program=distill"],
     ["config.model.kind is 'flow_matching'; expected the config of an NTM"]),
    ([_CONFIG, "--topology=cpu:8", "--refine=none"], ["--refine does not apply", "leave it out"]),
    ([_CONFIG, "--topology=cpu:8", "--num_slices=2"],
     ["CPU devices are divided by --config.mesh.slices=N; leave it out"]),
    ([_CONFIG, "--topology=v5e:4x4", "--num_slices=0"], ["--num_slices is 0; expected"]),
    ([_CONFIG, "--topology=cpu:8", "--config.mesh.slices=0"], ["mesh.slices", "a positive number"]),
    ([_CONFIG, "--topology=cpu:8", "--json={files}"], ["Is a directory", "another path"]),
    ([_CONFIG, "--topology=cpu:8", "--config.model.dtype=int8"], ["int8", "expected one of float"]),
    ([_CONFIG, "--topology=cpu:8", "--search", "--results_dir={new}"],
     ["--topology is cpu:8, whose memory and speed are not known; expected a TPU slice"]),
    ([_CONFIG, "--topology=v5e:4x4", "--search", "--results_dir={files}/none.npz"],
     ["--results_dir is {files}/none.npz", "cannot be written"]),
    ([_CONFIG, "--topology=v5e:4x4", "--search", "--program=sample"],
     ["--program is sample, but --search looks for the fastest way to train; expected train"]),
    ([_CONFIG, "--topology=cpu:8", "--results_dir={new}"],
     ["--results_dir does not apply: --search is not given; leave it out"]),
    ([_CONFIG, "--topology=v5x:4x4", "--num_slices=2", "--search"],
     ["--topology is v5x:4x4; expected cpu:N, or a slice such as"]),
]
_CONVERT = [
    (["--family=sit", "--target={new}"], ["--source is missing"]),
    (["--family=sit", "--source={files}/model.safetensors"], ["--target is missing"]),
    (["--family=sit", "--source={files}/model.safetensors", "--target="], ["--target is empty"]),
    (["--family=sit", "--source=", "--target={new}"], ["--source is empty"]),
    (["--family=dit", "--source={files}", "--target={new}"],
     ["unknown family 'dit'; did you mean 'sit'"]),
    (["--source={files}/model.safetensors", "--target={new}"], ["--family is missing; expected"]),
    (["--family=sit", "--source={files}/none", "--target={new}"],
     ["--source is {files}/none, which does not exist; expected a .safetensors file, an index"]),
    (["--family=qwen3", "--source=nope", "--target={new}"],
     ["--source is nope, which does not exist; expected a folder with", "index and config.json"]),
    (["--export", "--source=nope", "--target={new}"],
     ["--source is nope, which does not exist; expected a directory that `ntm convert` made"]),
    (["--family=sit", "--source={files}/model.safetensors", "--target={new}"],
     ["not of family sit", "looks like"]),
    (["--family=sit", "--source={files}/model.safetensors", "--target={run}"],
     ["exists; remove it or choose another target"]),
    (["--family=sit", "--source={files}/model.safetensors", "--target={files}/none.npz/a"],
     ["Not a directory", "another path"]),
    (["--family=sit", "--source={files}/model.safetensors", "--target=gs://bucket/a"],
     ["not on this machine; write to a local path"]),
    (["--family=sit", "--source={files}", "--target={new}", "--dtype=int8"],
     ["--dtype is int8; expected one of bfloat16, float32"]),
    (["--family=sit", "--source={files}", "--target={new}", "--dry_run=maybe"],
     ["--dry_run is maybe; expected true or false"]),
    (["--export", "--family=sit", "--source={run}", "--target={new}"],
     ["takes no --family", "leave"]),
    (["--export", "--source={run}", "--target={new}"], ["holds no conversion.json"]),
    (["--export=maybe", "--source={run}", "--target={new}"], ["--export is maybe; expected true"]),
]
_VAE = "--autoencoder={converted}"
_ENCODE = [
    (["--source={pictures}", _VAE, "--target={new}"], ["--from is missing"]),
    (["--from=zip", "--source={pictures}", _VAE, "--target={new}"],
     ["--from is zip; expected one of folder, tfds, webdataset, parquet"]),
    (["--from=folder", _VAE, "--target={new}"], ["--source is missing"]),
    (["--from=folder", "--source={pictures}", "--target={new}"], ["--autoencoder is missing"]),
    (["--from=folder", "--source={pictures}", _VAE], ["--target is missing"]),
    (["--from=folder", "--source={files}/none", _VAE, "--target={new}"], ["not a directory"]),
    (["--from=folder", "--source={files}", _VAE, "--target={new}"],
     ["folders without images (taken.csv)"]),
    (["--from=folder", "--source={pictures}", "--autoencoder={files}", "--target={new}"],
     ["{files} holds no conversion.json"]),
    (["--from=folder", "--source={pictures}", _VAE, "--target={files}/none.npz"],
     ["none.npz, which cannot be made (Not a directory)"]),
    (["--from=folder", "--source={pictures}", _VAE, "--target=gs://bucket/a"],
     ["not on this machine"]),
    (["--from=folder", "--source={pictures}", _VAE, "--target={new}", "--image_size=0"],
     ["--image_size is 0; expected"]),
    (["--from=folder", "--source={pictures}", _VAE, "--target={new}", "--batch_size=0"],
     ["--batch_size is 0; expected"]),
    (["--from=folder", "--source={pictures}", _VAE, "--target={new}", "--split=test"],
     ["--split does not apply: --from is folder, not tfds"]),
    (["--from=parquet", "--source={files}", _VAE, "--target={new}", "--data_dir=a"],
     ["--data_dir does not apply"]),
    (["--from=webdataset", "--source={files}", _VAE, "--target={new}", "--shard_size=9"],
     ["--shard_size does not apply: a tar becomes one shard"]),
    (["--from=webdataset", "--source={files}", _VAE, "--target={new}"],
     ["there are no .tar", "expected a file, a directory"]),
    (["--from=parquet", "--source={files}/none.npz", _VAE, "--target={new}"],
     ["cannot be read as Parquet"]),
    (["--from=tfds", "--source=mnst", _VAE, "--target={new}"], ["tensorflow-datasets says"]),
]
_PAPER = [
    (["--number=4"], ["table 4 is not among those that can be compared; expected one of 1, 2"]),
    (["x"], ["--number is x; expected"]),
    ([], ["--number is missing", "or --reduced"]),
    (["--reduced", "--number=3"], ["--number does not apply: --reduced has tables of its own"]),
    (["--reduced", "--results=a"], ["--results does not apply"]),
    (["--only=base"], ["--only does not apply: only --reduced trains"]),
    (["3", "--results_dir={new}"], ["--results_dir does not apply: only --reduced trains"]),
    (["--reduced", "--results_dir={files}/none.npz"], ["cannot be written (Not a"]),
    (["--reduced", "--results_dir={new}", "--only=base,nothing"], ["--only has nothing; expected"]),
    (["--reduced", "--results_dir={new}", "--seeds=0,0"], ["--seeds is 0,0; expected different"]),
    (["--reduced", "--results_dir={new}", "--seeds=-1"], ["--seeds is -1; expected different"]),
    (["--reduced", "--results_dir={new}", "--docs={files}"], ["which has no ablations.md"]),
    (["--reduced", "--results_dir={new}", "--quick", "--docs={files}"], ["--docs does not apply"]),
    (["2", "--results={files}/none.json"], ["--results does not apply: table 2 reads no files"]),
    (["1", "--results={files}/none.json"], ["expected at most one .jsonl file of GenEval and"]),
    (["1", "--results=a.txt,b.txt"], ["a.txt cannot be read", "result file of GenEval or DPG"]),
    (["6", "--results={files}/none.json"], ["none.json, which cannot be read"]),
    (["6", "--results={run}/config.json"], ["config.json, which has no FID", "--features"]),
    (["6", "--format=latex"], ["--format is latex; expected one of text, markdown, json"]),
]
_TABLE = {"train": _TRAIN, "distill": _DISTILL, "sample": _SAMPLE, "evaluate": _EVALUATE,
          "likelihood": _LIKELIHOOD, "compile": _COMPILE, "convert": _CONVERT,
          "encode": _ENCODE, "table": _PAPER}
_ROWS = [(f"{command}_{i:02}", command, *row)
         for command, rows in _TABLE.items() for i, row in enumerate(rows)]


@functools.cache
def _fixtures() -> tuple[pathlib.Path, dict[str, pathlib.Path]]:
  """A directory with what the rows name, and the paths in it."""
  root = pathlib.Path(tempfile.mkdtemp())
  names = ("run fm plain text denoiser history other badteacher converted corrupt gone files "
           "pictures new").split()
  paths = {name: root / name for name in names}
  runs.write(paths["run"], runs.config())
  runs.write(paths["fm"], runs.config(kind="flow_matching"))
  runs.write(paths["plain"], runs.config(num_classes=0))
  text = runs.config(num_classes=0, backbone={"text_tokens": 3, "text_width": 5})
  runs.write(paths["text"], text)
  record = json.loads((paths["text"] / "config.json").read_text())
  record["data"] |= {"source": "arrays", "path": "/nowhere"}
  (paths["text"] / "config.json").write_text(json.dumps(record))
  runs.write(paths["denoiser"], runs.config(), teacher=paths["run"])
  runs.write(paths["history"], runs.config(predictor={
      "context": "history", "layers": 1, "width": 8, "num_heads": 2, "num_kv_heads": 2}))
  runs.write(paths["corrupt"], runs.config())
  (paths["corrupt"] / "config.json").write_text('{\n  "model": ')
  runs.write(paths["gone"], runs.config())
  for path in (paths["gone"] / "checkpoints" / "3").glob("*/d/*"):
    path.unlink()
  for name, teacher in (("other", '{"fingerprint": {}, "step": 3, "teacher": "elsewhere"}'),
                        ("badteacher", "[1, 2")):
    paths[name].mkdir()
    (paths[name] / "config.json").write_text((paths["run"] / "config.json").read_text())
    (paths[name] / "teacher.json").write_text(teacher)
  paths["converted"].mkdir()
  (paths["converted"] / "conversion.json").write_text('{"source": [{"path": "model.pt"}]}')
  paths["pictures"].mkdir()
  encoding.picture(0).save(paths["pictures"] / "0.png")
  _write_files(paths["files"])
  return root, paths


def _write_files(files):
  files.mkdir()
  (files / "taken.csv").mkdir()
  for name, text in (("syntax", "def get_config():\n  return ="), ("empty", "x = 1\n"),
                     ("raises", "import ntm.config\ndef get_config():\n  c = ntm.config.default()\n"
                                "  c.model.widht = 3\n  return c\n"),
                     ("value", "def get_config():\n  raise ValueError('no such thing')\n"),
                     ("nothing", "def get_config():\n  return None\n")):
    (files / f"{name}.py").write_text(text)
  runs.write_config(files / "tiny.py")
  (files / "none.npz").write_text("no zip")
  np.save(files / "one.npy", np.zeros(3))
  np.savez(files / "other.npz", image=np.zeros(3))
  np.savez(files / "scalar.npz", text=np.float32(3))
  np.savez(files / "shape.npz", text=np.zeros((2, 3, 4), np.float32))
  safetensors.numpy.save_file({"layer.weight": np.zeros((2, 2), np.float32)},
                              files / "model.safetensors")


class RefusalsTest(parameterized.TestCase):

  def _check(self, code, stderr, expected, paths):
    self.assertEqual(code, 1, stderr)
    lines = stderr.splitlines()
    self.assertLessEqual(len(lines), 3, stderr)
    self.assertStartsWith(lines[-1], "error: ")
    self.assertNotIn("Traceback", stderr)
    for text in expected:
      self.assertIn(text.format(**paths), lines[-1])

  @parameterized.named_parameters(*_ROWS)
  def test_one_line_and_nothing_written(self, command, arguments, expected):
    root, paths = _fixtures()
    before = runs.tree(root)
    code, stderr = runs.call(command, *(text.format(**paths) for text in arguments))
    self._check(code, stderr, expected, paths)
    self.assertEqual(runs.tree(root), before)

  @parameterized.parameters(
      ("train", [_CONFIG, _NEW, "--config.model.num_classes=3"], ["num_classes is 3"]),
      ("sample", ["--workdir={gone}"], ["can be read"]),
      ("evaluate", ["--workdir={run}", "--refine=denoiser"], ["run `ntm distill`"]),
      ("compile", [_CONFIG, "--topology=cpu:2", "--config.mesh.data=3"], ["change config.mesh"]),
      ("convert", ["--family=sit", "--source={files}/none", "--target={new}"], ["does not exist"]))
  def test_the_libraries_add_nothing(self, command, arguments, expected):
    root, paths = _fixtures()
    before = runs.tree(root)
    env = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-m", "ntm.commands.main", command,
         *(text.format(**paths) for text in arguments)],
        capture_output=True, text=True, env=env, cwd=_ROOT)
    self._check(done.returncode, done.stderr, expected, paths)
    self.assertEqual(runs.tree(root), before)

  @parameterized.parameters(*main.COMMANDS)
  def test_every_flag_has_a_row(self, command):
    used = {argument.lstrip("-").split("=")[0] for arguments, _ in _TABLE[command]
            for argument in arguments}
    self.assertEmpty(set(importlib.import_module(f"ntm.commands.{command}").FLAGS) - used)

  @pytest.mark.slow
  def test_after_a_refusal_the_corrected_command_trains(self):
    workdir = pathlib.Path(tempfile.mkdtemp()) / "run"
    flags = [f"--config={_fixtures()[1]['files']}/tiny.py", f"--workdir={workdir}"]
    self.assertEqual(runs.call("train", *flags, "--config.model.num_classes=3")[0], 1)
    self.assertFalse(workdir.exists())
    code, stderr = runs.call("train", *flags, "--config.train.steps=1")
    self.assertEqual(code, 0, stderr)


if __name__ == "__main__":
  absltest.main()
