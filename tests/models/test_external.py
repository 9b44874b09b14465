import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.models import build
from ntm.published.flux2 import model as flux2
from ntm.published.flux2.mapping import flux2_config
from ntm.published.sit import model as sit
from ntm.published.sit.mapping import sit_config
from ntm.typing import Condition
from tests.helpers import tiny

_SMALL = {"layers": 2, "width": 16, "num_heads": 1, "num_kv_heads": 1}
_KINDS = {
    "sit": dict(model__backbone={"kind": "sit"}),
    "flux2": dict(model__num_classes=0, model__backbone={
        "kind": "flux2", "double_layers": 1, "text_tokens": 3, "text_width": 8}),
}
_T, _S = jnp.array([[0.3], [1.0]]), jnp.array([[0.1], [0.6]])


class ExternalTest(parameterized.TestCase):

  def _setup(self, kind):
    """(config, condition, tokens, parameters, run)."""
    config = tiny.config(model__kind="flow_matching", model__predictor=_SMALL,
                         train__label_dropout=0.0, **_KINDS[kind]).model
    cond = (Condition(label_B=jnp.array([0, 3])) if kind == "sit" else
            Condition(text_BMW=jax.random.normal(jax.random.key(1), (2, 3, 8))))
    u = jax.random.normal(jax.random.key(0), (2, 1, 4, 4))
    net = build.network(config, {"readout": (4,), "log_scale": (4,)})
    init = lambda rng: net.init(rng, u, cond.at(_T, _S))
    run = jax.jit(lambda params, t, s: net.apply({"params": params}, u, cond.at(t, s)))
    return config, cond, u, tiny.random_params(init), run

  @parameterized.parameters(*_KINDS)
  def test_the_readout_is_the_velocity_of_the_published_network(self, kind):
    config, cond, u, params, run = self._setup(kind)
    if kind == "sit":
      net, args = sit.SiT(sit_config(config)), ()
    else:
      net, args = flux2.Flux2(flux2_config(config)), (flux2.image_ids((2, 2)), flux2.text_ids(3))
    velocity, _ = jax.jit(lambda params: net.apply(
        {"params": params["backbone"]}, u[:, 0], _T[:, 0],
        cond.label_B if kind == "sit" else cond.text_BMW, *args))(params)
    out = run(params, _T, _S)
    self.assertEqual(out["log_scale"].shape, (2, 1, 4, 4))
    np.testing.assert_allclose(out["readout"][:, 0], velocity, atol=1e-6)

  @parameterized.parameters(*_KINDS)
  def test_the_other_level_reaches_the_other_outputs_alone(self, kind):
    *_, params, run = self._setup(kind)
    a, b = run(params, _T, _S), run(params, _T, _S / 2)
    np.testing.assert_array_equal(a["readout"], b["readout"])
    for example in range(2):
      self.assertGreater(np.abs(a["log_scale"] - b["log_scale"])[example].max(), 1e-3)


if __name__ == "__main__":
  absltest.main()
