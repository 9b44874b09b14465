"""Every table and claim is of models that are trained."""

from absl.testing import absltest, parameterized

from ntm.ablations.claims import METRICS, Divergence
from ntm.ablations.experiments import EXPERIMENTS
from ntm.ablations.studies import STUDIES


def _models(claim):
  for part in claim.parts:
    yield from (part.model,) if isinstance(part, Divergence) else (part.better, part.worse)


class StudiesTest(parameterized.TestCase):

  @parameterized.parameters(*STUDIES)
  def test_names_models_and_metrics_that_exist(self, name):
    spec = STUDIES[name]
    self.assertTrue(spec.claims)
    self.assertContainsSubset(spec.metrics, METRICS)
    for experiment, sampler in (*spec.lines.values(), *(
        model for claim in spec.claims for model in _models(claim))):
      self.assertIn(sampler, EXPERIMENTS[experiment].samplers)

  def test_a_claim_is_about_models_of_its_table(self):
    for spec in STUDIES.values():
      for claim in spec.claims:
        self.assertContainsSubset(set(_models(claim)), set(spec.lines.values()))
        self.assertFalse(claim.text.endswith("."))

  def test_every_model_is_in_a_table(self):
    shown = {model for spec in STUDIES.values() for model in spec.lines.values()}
    trained = {(name, sampler) for name, spec in EXPERIMENTS.items() for sampler in spec.samplers}
    self.assertEqual(trained, shown)


if __name__ == "__main__":
  absltest.main()
