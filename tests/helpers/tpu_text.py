"""Programs of TPUs that need not be there: their devices, and texts as libtpu writes them."""

import os
from unittest import mock


def devices(topology: str, num_slices: int = 1) -> list:
  """Those of slices, for which libtpu compiles."""
  from jax.experimental import topologies
  with mock.patch.dict(os.environ, TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1"):
    return topologies.get_topology_desc(topology, platform="tpu", num_slices=num_slices).devices


def between_slices(transfer: str | None, sent: str, given: str, times: int = 1) -> str:
  """A loop in which the runtime takes bfloat16 arrays of one shape and gives ones of another.

  Args:
    transfer: such as "ALL_REDUCE"; None is of the host.
    sent: the shape.
    given: the shape.
    times: that the loop runs.
  """
  way = "is_host_transfer=true"
  if transfer:
    way += f', frontend_attributes={{_xla_megascale_transfer_type="{transfer}"}}'
  layout = "{0:T(8,128)(2,1)}"
  return f"""%add (a: bf16[], b: bf16[]) -> bf16[] {{
  ROOT %a = bf16[] parameter(0)
}}

%body (x: (s32[], bf16[{sent}])) -> (s32[], bf16[{sent}]) {{
  ROOT %x = (s32[], bf16[{sent}]{{0}}) parameter(0)
  %data = bf16[{sent}]{layout} get-tuple-element(%x), index=1
  %token = token[] after-all()
  %send = (bf16[{sent}]{layout}, u32[], token[]) send(%data, %token), channel_id=2, {way}
  %recv = (bf16[{given}]{layout}, u32[], token[]) recv(%token), channel_id=1, {way}
  %sent = token[] send-done(%send), channel_id=2, {way}
  %received = (bf16[{given}]{{0}}, token[]) recv-done(%recv), channel_id=1, {way}
}}

%condition (y: (s32[], bf16[{sent}])) -> pred[] {{
  %y = (s32[], bf16[{sent}]{{0}}) parameter(0)
  %i = s32[] get-tuple-element(%y), index=0
  %n = s32[] constant({times})
  ROOT %less = pred[] compare(%i, %n), direction=LT
}}

ENTRY %main (z: (s32[], bf16[{sent}])) -> (s32[], bf16[{sent}]) {{
  %z = (s32[], bf16[{sent}]{{0}}) parameter(0)
  ROOT %loop = (s32[], bf16[{sent}]{{0}}) while(%z), condition=%condition, body=%body
}}"""
