"""The peer of `cargo xtask bench embed` that lives in Python: ONNX Runtime, in f32 or with int8 weights.

Usage: onnx.py MODEL_DIR KIND THREADS TEXTS QUERIES, where KIND is f32 or int8 and the last two name files with one
JSON string per line. One JSON command per line on stdin, one JSON answer on stdout.

The graph is the one that ONNX Runtime's own optimiser makes of a BERT: its fused embedding, attention, GELU and
layer normalisation. Bulk runs in batches of 32, sorted by length. Tokenising takes part, mean and length too.
"""

import json
import os
import sys
import time

# What a library prints must not get between the answers.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

BATCH = 32
MAX_TOKENS = 256


def tensors(path):
    with open(path, "rb") as file:
        head = int.from_bytes(file.read(8), "little")
        table = json.loads(file.read(head))
        data = file.read()
    found = {}
    for name, entry in table.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            values = np.frombuffer(data[start:end], dtype="<f4")
            found[name] = values.reshape(entry["shape"])
    return found


def graph(directory):
    config = json.load(open(os.path.join(directory, "config.json")))
    weights = tensors(os.path.join(directory, "model.safetensors"))
    epsilon = config["layer_norm_eps"]
    heads = config["num_attention_heads"]
    nodes, initial = [], []

    def keep(name, values):
        initial.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weight(name):
        return keep(name, weights[name])

    def node(op, inputs, outputs, **attributes):
        nodes.append(
            helper.make_node(op, inputs, outputs, domain="com.microsoft", **attributes)
        )

    def matmul(x, name, out):
        transposed = keep(name + ".transposed", weights[name + ".weight"].T)
        nodes.append(helper.make_node("MatMul", [x, transposed], [out]))

    names = ["word_embeddings", "position_embeddings", "token_type_embeddings"]
    tables = [weight(f"embeddings.{name}.weight") for name in names]
    norm = [weight(f"embeddings.LayerNorm.{part}") for part in ["weight", "bias"]]
    node(
        "EmbedLayerNormalization",
        ["ids", "types", *tables, *norm, "mask"],
        ["rows0", "mask_index"],
        epsilon=epsilon,
    )
    x = "rows0"
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}."
        parts = [at + f"attention.self.{part}" for part in ["query", "key", "value"]]
        inputs = np.concatenate([weights[part + ".weight"].T for part in parts], axis=1)
        biases = np.concatenate([weights[part + ".bias"] for part in parts])
        node(
            "Attention",
            [x, keep(at + "inputs", inputs), keep(at + "biases", biases), "mask_index"],
            [at + "context"],
            num_heads=heads,
        )

        def closing(name, source, skip, out):
            matmul(source, at + name + ".dense", at + name + ".product")
            norm = [weight(at + f"{name}.LayerNorm.{part}") for part in ["weight", "bias"]]
            bias = weight(at + f"{name}.dense.bias")
            node(
                "SkipLayerNormalization",
                [at + name + ".product", skip, *norm, bias],
                [out],
                epsilon=epsilon,
            )

        closing("attention.output", at + "context", x, at + "attended")
        matmul(at + "attended", at + "intermediate.dense", at + "wide")
        bias = weight(at + "intermediate.dense.bias")
        node("BiasGelu", [at + "wide", bias], [at + "gelu"])
        x = f"rows{layer + 1}"
        closing("output", at + "gelu", at + "attended", x)
    named = lambda name, kind, shape: helper.make_tensor_value_info(name, kind, shape)
    inputs = [named(name, TensorProto.INT32, ["b", "s"]) for name in ["ids", "types", "mask"]]
    outputs = [named(x, TensorProto.FLOAT, ["b", "s", config["hidden_size"]])]
    made = helper.make_graph(nodes, "bert", inputs, outputs, initial)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


class Peer:
    def __init__(self, directory, kind, threads):
        self.directory, self.kind, self.threads = directory, kind, threads
        file = f"{kind}.onnx"
        if not os.path.exists(file):
            onnx.save(graph(directory), "f32.onnx")
            if kind == "int8":
                from onnxruntime.quantization import QuantType, quantize_dynamic

                quantize_dynamic(
                    "f32.onnx",
                    "making.onnx",
                    weight_type=QuantType.QInt8,
                    extra_options={"DefaultTensorType": TensorProto.FLOAT},
                )
                os.replace("making.onnx", file)
        began = time.perf_counter()
        self.tokenizer = Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"]
        )
        self.load_ms = (time.perf_counter() - began) * 1e3

    def forward(self, tokens):
        longest = max(len(ids) for ids in tokens)
        ids = np.zeros((len(tokens), longest), dtype=np.int32)
        mask = np.zeros_like(ids)
        for row, text in enumerate(tokens):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        feed = {"ids": ids, "types": np.zeros_like(ids), "mask": mask}
        rows = self.session.run(None, feed)[0]
        mask = mask[:, :, None].astype(np.float32)
        mean = (rows * mask).sum(axis=1) / mask.sum(axis=1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def bulk(self, texts):
        tokens = [e.ids for e in self.tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(texts)), key=lambda index: len(tokens[index]))
        vectors = [None] * len(texts)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            for index, vector in zip(batch, self.forward([tokens[i] for i in batch])):
                vectors[index] = vector
        return vectors

    def query(self, text):
        return self.forward([self.tokenizer.encode(text).ids])


def lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def main():
    directory, kind, threads, texts, queries = sys.argv[1:]
    texts, queries = lines(texts), lines(queries)
    peer = Peer(directory, kind, int(threads))
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "version":
            answer = {"version": onnxruntime.__version__, "load_ms": peer.load_ms}
        elif command["do"] == "vectors":
            answer = {"vectors": [vector.tolist() for vector in peer.bulk(texts)]}
        elif command["do"] == "bulk":
            done = 0
            began = time.perf_counter()
            while done == 0 or time.perf_counter() - began < command["seconds"]:
                peer.bulk(texts)
                done += len(texts)
            answer = {"value": done / (time.perf_counter() - began)}
        else:
            for query in queries[: command["least"]]:
                peer.query(query)
            times = []
            began = time.perf_counter()
            while len(times) < command["least"] or time.perf_counter() - began < command["seconds"]:
                query = queries[len(times) % len(queries)]
                asked = time.perf_counter()
                peer.query(query)
                times.append((time.perf_counter() - asked) * 1e3)
            answer = {"value": float(np.median(times))}
        print(json.dumps(answer), file=answers, flush=True)


main()
