"""Bytes read off a compiled program's text."""

import pytest

from benchmarks import gpu_program

TEXT = """
%fused_add (p0: f32[2,3], p1: f32[2,3]) -> f32[2,3] {
  %p0 = f32[2,3]{1,0} parameter(0)
  %p1 = f32[2,3]{1,0} parameter(1)
  ROOT %add = f32[2,3]{1,0} add(%p0, %p1)
}

%command_buffer (q0: f32[2,3], q1: f32[2,3]) -> f32[2,3] {
  %q0 = f32[2,3]{1,0} parameter(0)
  %q1 = f32[2,3]{1,0} parameter(1)
  ROOT %loop_add_fusion.1 = f32[2,3]{1,0} fusion(%q0, %q1), kind=kLoop, calls=%fused_add
}

ENTRY %main (a: f32[2,3], b: bf16[6]) -> (f32[2,3], bf16[6]) {
  %a = f32[2,3]{1,0} parameter(0)
  %b = bf16[6]{0} parameter(1)
  %call = f32[2,3]{1,0} call(%a, %a), to_apply=%command_buffer
  %pallas_call.2 = (bf16[6]{0}, s8[16]{0}) custom-call(%b), custom_call_target="x"
  ROOT %out = (f32[2,3]{1,0}, bf16[6]{0}) tuple(%call, %b)
}
"""


@pytest.mark.parametrize(("text", "expected"), [("f32[2,3]{1,0}", 24), ("(bf16[6]{0}, s8[16]{0})", 28), ("pred[]", 1)])
def test_size(text, expected):
    assert gpu_program.size(text) == expected


def test_kernels_count_their_operands_and_results_and_not_their_insides():
    assert gpu_program.kernels(TEXT) == {"loop_add_fusion.1": 3 * 24, "pallas_call.2": 12 + 28}
