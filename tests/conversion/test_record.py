import json

from absl.testing import absltest

from ntm.conversion import converter, record
from tests.helpers import toy


class RecordTest(toy.ToyTest):

  def test_says_what_was_converted(self):
    self.save(toy.tensors(), metadata={"format": "pt"})
    converter.convert(toy.FAMILY, self.source, self.target, "bfloat16")
    made = json.loads((self.target / "conversion.json").read_text())
    self.assertEqual(made["family"], "toy")
    self.assertEqual(made["dtype"], "bfloat16")
    self.assertEqual(made["metadata"], {"format": "pt"})
    self.assertEqual(made["source"][0]["bytes"], self.source.stat().st_size)
    self.assertEqual(made["source"][0]["sha256"], record.digest(self.source))
    self.assertLen(made["source"][0]["sha256"], 64)
    self.assertEqual(made["tensors"]["fused.weight"], ["float32", 6, 5])
    self.assertEqual(made["ignored"], {"count": "a count"})

  def test_reads_what_was_written(self):
    record.write(self.directory, {"family": "toy"})
    self.assertEqual(record.read(self.directory), {"family": "toy"})
    (self.directory / "conversion.json").write_bytes(b"\xff")
    with self.assertRaisesRegex(ValueError, "conversion.json is damaged: it is not text"):
      record.read(self.directory)
    (self.directory / "conversion.json").unlink()
    with self.assertRaisesRegex(FileNotFoundError, "not the target of `ntm convert`"):
      record.read(self.directory)


if __name__ == "__main__":
  absltest.main()
