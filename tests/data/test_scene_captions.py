import re

from absl.testing import absltest, parameterized

from ntm.data import scene_captions, scenes
from ntm.data.scene_captions import Phrase

_FIRST = lambda wordings: wordings[0]


class SceneCaptionsTest(parameterized.TestCase):

  @parameterized.parameters(
      (Phrase(1, "ring", "orange"), "an orange ring"), (Phrase(1, "ring", "red"), "a red ring"),
      (Phrase(1, "square", size="small"), "a small square"), (Phrase(2, "cross"), "two crosses"),
      (Phrase(3, "triangle", "pink"), "three pink triangles"), (Phrase(4, "ring"), "four rings"))
  def test_articles_numbers_and_plurals(self, phrase, words):
    self.assertEqual(scene_captions.noun_phrase(phrase), words)

  def test_relations_join_groups_in_their_order(self):
    phrases = Phrase(2, "circle", "red"), Phrase(1, "square", "blue")
    self.assertEqual(scene_captions.write(phrases, "above", _FIRST),
                     "two red circles above a blue square")
    self.assertEqual(scene_captions.write(phrases, "above", lambda wordings: wordings[1]),
                     "two red circles are over a blue square")

  def test_verbs_agree_and_everything_is_named(self):
    for index in range(3000):
      scene = scenes.Scenes("train").scene(index)
      for phrase in scene.phrases:
        self.assertIn(scene_captions.noun_phrase(phrase), scene.caption)
      if verb := re.search(r"\b(is|are)\b", scene.caption):
        self.assertEqual(verb[0], "is" if scene.phrases[0].count == 1 else "are", scene.caption)
      self.assertEqual(scene.caption, " ".join(scene.caption.split()))
      self.assertNotIn("{", scene.caption)

  def test_wording_varies(self):
    words = {scenes.Scenes("train").scene(6 * i + 3).caption.replace(
        scene_captions.noun_phrase(scenes.Scenes("train").scene(6 * i + 3).phrases[0]), "it")
             for i in range(200)}
    self.assertGreaterEqual(len(words), 5)


if __name__ == "__main__":
  absltest.main()
