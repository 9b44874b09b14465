import numpy as np
from absl.testing import absltest

from ntm.truth import templates


class TemplatesTest(absltest.TestCase):

  def test_glyphs_are_different_pictures(self):
    glyphs = templates.glyphs(20, (8, 8))
    self.assertEqual(glyphs.shape, (20, 8, 8))
    self.assertBetween(glyphs.min(), -1, 1)
    self.assertBetween(glyphs.max(), -1, 1)
    self.assertLen(np.unique(glyphs.reshape(20, -1), axis=0), 20)


if __name__ == "__main__":
  absltest.main()
