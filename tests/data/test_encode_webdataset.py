"""Tars of images with captions or classes become the same records as a folder of them."""

import io
import json
import pathlib
import tarfile
import tempfile

from absl.testing import absltest, parameterized

from ntm.data import shard_format
from ntm.data.encode_webdataset import WebDatasetChunks
from ntm.data.unreadable import UnreadableError
from tests.helpers import encoding, runs


def _png(number):
  file = io.BytesIO()
  encoding.picture(number).save(file, "PNG")
  return file.getvalue()


def _tar(path, members, mode="w"):
  with tarfile.open(path, mode) as tar:
    for name, data in members:
      info = tarfile.TarInfo(name)
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))


def _examples(numbers, **more):
  """Members of examples; more: suffix=number → bytes."""
  return [member for n in numbers for member in
          [(f"{n:05}.png", _png(n)), *((f"{n:05}.{key}", f(n)) for key, f in more.items())]]


class WebDatasetTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(tempfile.mkdtemp())

  def test_tars_are_encoded_as_the_pictures_of_a_folder(self):
    text = dict(txt=lambda n: f" number {n} é\n".encode(), json=lambda n: b'{"caption": "other"}')
    _tar(self.root / "00000.tar", _examples(range(5), **text))
    _tar(self.root / "00001.tar.gz", _examples(range(5, 12), **text), "w:gz")
    target = encoding.encode(self.root, kind="webdataset")
    found = encoding.records(target)
    self.assertEqual([header for header, _ in found], [
        {"key": f"0000{n // 5}.tar{'.gz' * (n // 5)}/{n:05}", "caption": f"number {n} é"}
        if n < 5 else {"key": f"00001.tar.gz/{n:05}", "caption": f"number {n} é"}
        for n in range(12)])
    pictures = encoding.records(encoding.encode(encoding.folder()))
    for (_, ours), (_, theirs) in zip(found, pictures):
      self.assertLess(abs(ours.astype(float) - theirs.astype(float)).max(), 0.01)
    self.assertEqual([entry["source"] for entry in shard_format.read_index(target)["shards"]],
                     ["00000.tar", "00001.tar.gz"])

  @parameterized.parameters(
      (dict(cls=lambda n: str(n).encode()), ("label",), dict(label=3, caption=None)),
      (dict(txt=lambda n: "a ring".encode("utf-8-sig")), ("caption",),
       dict(label=None, caption="a ring")),
      (dict(json=lambda n: '{"caption": "a ring"}'.encode("utf-8-sig")), ("caption",),
       dict(label=None, caption="a ring")),
      (dict(json=lambda n: json.dumps({"caption": "c", "label": n}).encode()),
       ("label", "caption"), dict(label=3, caption="c")),
      (dict(), (), dict(label=None, caption=None)))
  def test_classes_and_captions(self, more, fields, expected):
    _tar(self.root / "a.tar", [("._junk", b"x"), *_examples(range(2, 5), **more)])
    source = WebDatasetChunks(str(self.root / "*.tar"))
    self.assertEqual(source.fields, fields)
    item = [*source.chunk(0)][1]
    example = item.load(16)
    self.assertEqual((item.key, example.pixels.shape), ("a.tar/00003", (16, 16, 3)))
    self.assertEqual({name: getattr(example, name) for name in expected}, expected)

  @parameterized.parameters(
      (("1.cls", b"cat"), "class is 'cat'; expected an integer"),
      (("1.txt", b"\xff"), "its text is not UTF-8"), (("1.json", b"{"), "its .json cannot be read"))
  def test_an_example_that_cannot_be_read_is_one(self, member, reason):
    _tar(self.root / "a.tar", [("0.png", _png(0)), ("1.png", _png(1)), member, ("2.txt", b"t")])
    _, item, without_image = WebDatasetChunks(str(self.root)).chunk(0)
    with self.assertRaises(UnreadableError) as raised:
      item.load(16)
    self.assertIn(reason, raised.exception.reason)
    with self.assertRaisesRegex(UnreadableError, "it has .txt and no image"):
      without_image.load(16)

  def test_examples_without_what_the_first_one_has_are_left_out(self):
    members = _examples(range(3), txt=lambda n: b"text")
    _tar(self.root / "a.tar", [*members, ("9.png", _png(9))])
    target = encoding.encode(self.root, kind="webdataset")
    self.assertLen(encoding.records(target), 3)
    self.assertIn("a.tar/9\tit has no caption\t", (target / "unreadable.txt").read_text())

  def test_a_damaged_tar_is_named_and_the_others_are_kept(self):
    for name, numbers in (("a.tar", range(3)), ("b.tar", range(3, 6))):
      _tar(self.root / name, _examples(numbers))
    whole, target = encoding.encode(self.root, kind="webdataset"), self.root / "shards"
    data = (self.root / "b.tar").read_bytes()
    (self.root / "b.tar").write_bytes(data[:700])
    flags = encoding.flags(self.root, target, "webdataset")
    code, stderr = runs.call("encode", *flags)
    self.assertEqual(code, 1)
    self.assertRegex(stderr, "error: .*b.tar cannot be read as a tar .*; replace it by a whole")
    self.assertTrue((target / "shard-000000.json").exists())
    (self.root / "b.tar").write_bytes(data)
    encoding.encode(self.root, target, "webdataset")
    encoding.assert_same(target, whole)

  @parameterized.parameters(([], "where there are no .tar or .tar.gz or .tgz files"),
                            ([("a.tar", b"")], "cannot be read as a tar"),
                            ([("a.tar", bytes(10240))], "holds no files"))
  def test_what_is_no_data_set_is_refused(self, files, message):
    for name, data in files:
      (self.root / name).write_bytes(data)
    with self.assertRaisesRegex(ValueError, message):
      WebDatasetChunks(str(self.root))


if __name__ == "__main__":
  absltest.main()
