import numpy as np
from absl.testing import absltest

from ntm.conversion import layer_entries, mapping
from tests.helpers import in_memory


class LayerEntriesTest(absltest.TestCase):

  def test_fused_attention_is_the_same_map(self):
    """Queries, keys and values of every head, and the output, of two stacked layers."""
    rng, width, heads = np.random.default_rng(0), 6, 2
    shapes = {"qkv.weight": (3 * width, width), "qkv.bias": (3 * width,),
              "proj.weight": (width, width), "proj.bias": (width,)}
    state = {f"b.{i}.{name}": rng.normal(size=shape)
             for i in range(2) for name, shape in shapes.items()}
    entries = layer_entries.fused_attention("b.{i}", "a", width, heads, layers=2)
    x = rng.normal(size=(5, width))
    read = lambda leaf: in_memory.read_leaf(entries, state.__getitem__, f"a/{leaf}")[1]
    qkv = x @ state["b.1.qkv.weight"].T + state["b.1.qkv.bias"]
    for part, name in zip(np.split(qkv, 3, axis=-1), ("query", "key", "value")):
      ours = np.einsum("nd,dhe->nhe", x, read(f"{name}/kernel")) + read(f"{name}/bias")
      np.testing.assert_allclose(ours, part.reshape(5, heads, -1))
    ours = np.einsum("nhe,hed->nd", x.reshape(5, heads, -1), read("out/kernel"))
    np.testing.assert_allclose(ours + read("out/bias"),
                               x @ state["b.1.proj.weight"].T + state["b.1.proj.bias"])
    mapping.check(entries, {name: array.shape for name, array in state.items()}, {
        **{f"a/{name}/kernel": (2, 6, 2, 3) for name in ("query", "key", "value")},
        **{f"a/{name}/bias": (2, 2, 3) for name in ("query", "key", "value")},
        "a/out/kernel": (2, 2, 3, 6), "a/out/bias": (2, 6)}, {})


if __name__ == "__main__":
  absltest.main()
