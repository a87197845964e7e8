"""Writes the single-node model that onnxruntime-web runs: LinearAttention of the com.microsoft
domain, update rule "gated", at the shape of the case `recurrence-*`.

usage: linear_attention_onnx.py DECAYS_PER_HEAD FILE      (1, or 64 for a decay per key channel)
"""

import sys

from onnx import TensorProto, helper, save

T, HEADS, KEY, VALUE = 1024, 4, 64, 64


def main(decays_per_head: int, file: str) -> None:
    def tensor(name: str, width: int):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, T, width])

    node = helper.make_node(
        "LinearAttention",
        # No past state and no beta.
        ["query", "key", "value", "", "decay"],
        ["output", "present_state"],
        domain="com.microsoft",
        update_rule="gated",
        q_num_heads=HEADS,
        kv_num_heads=HEADS,
        scale=KEY**-0.5,
    )
    state = helper.make_tensor_value_info(
        "present_state", TensorProto.FLOAT, [1, HEADS, KEY, VALUE]
    )
    graph = helper.make_graph(
        [node],
        "gated_linear_attention",
        [
            tensor("query", HEADS * KEY),
            tensor("key", HEADS * KEY),
            tensor("value", HEADS * VALUE),
            tensor("decay", HEADS * decays_per_head),
        ],
        [tensor("output", HEADS * VALUE), state],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    save(model, file)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
