"""Text of a program in which a TPU's compiler spreads a gather over three fusions."""

_GATHER = ("all-gather(%shard), channel_id=7, replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}, "
           'use_global_device_ids=true, frontend_attributes={chain_id="4"}')

SPREAD_GATHER = f"""%start (shard: f32[1024]) -> (f32[1024], f32[8192]) {{
  %shard = f32[1024]{{0}} parameter(0)
  %all.1 = f32[8192]{{0}} {_GATHER}
  ROOT %begun = (f32[1024]{{0}}, f32[8192]{{0}}) custom-call(%all.1), \
custom_call_target="AsyncCollectiveStart"
}}

%between (shard: f32[1024], whole: f32[8192], x: f32[1024]) -> (f32[1024], f32[1024], f32[8192]) {{
  %shard = f32[1024]{{0}} parameter(0)
  %whole = f32[8192]{{0}} parameter(1)
  %x = f32[1024]{{0}} parameter(2)
  %work = f32[1024]{{0}} negate(%x)
  %all.2 = f32[8192]{{0}} {_GATHER}
  ROOT %both = (f32[1024]{{0}}, f32[1024]{{0}}, f32[8192]{{0}}) tuple(%work, %shard, %all.2)
}}

%done (shard: f32[1024], whole: f32[8192]) -> f32[8192] {{
  %shard = f32[1024]{{0}} parameter(0)
  %whole = f32[8192]{{0}} parameter(1)
  %all.3 = f32[8192]{{0}} {_GATHER}
  ROOT %ended = f32[8192]{{0}} custom-call(%shard, %whole, %all.3), \
custom_call_target="AsyncCollectiveDone"
}}

ENTRY %main (a: f32[1024], b: f32[1024]) -> f32[8192] {{
  %a = f32[1024]{{0}} parameter(0)
  %b = f32[1024]{{0}} parameter(1)
  %first = (f32[1024]{{0}}, f32[8192]{{0}}) fusion(%a), kind=kCustom, calls=%start
  %shard.1 = f32[1024]{{0}} get-tuple-element(%first), index=0
  %whole.1 = f32[8192]{{0}} get-tuple-element(%first), index=1
  %second = (f32[1024]{{0}}, f32[1024]{{0}}, f32[8192]{{0}}) fusion(%shard.1, %whole.1, %b), \
kind=kOutput, calls=%between
  %shard.2 = f32[1024]{{0}} get-tuple-element(%second), index=1
  %whole.2 = f32[8192]{{0}} get-tuple-element(%second), index=2
  ROOT %last = f32[8192]{{0}} fusion(%shard.2, %whole.2), kind=kCustom, calls=%done
}}"""
