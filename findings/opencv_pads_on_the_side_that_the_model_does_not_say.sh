#!/usr/bin/env bash
# OpenCV: a network with the "SAME" padding of TensorFlow sees its picture moved by one pixel.
#
# Guess: a convolution or pooling with `auto_pad` "SAME_UPPER" has its odd row of padding at the bottom and right, one
# with "SAME_LOWER" at the top and left, in `cv2.dnn` as in onnxruntime; or the model is refused.
#
# Seen with OpenCV 5.0.0, with both of its engines: which of the two it is makes no difference. With a kernel of 3 or 5,
# a stride of 2 and an even picture (as where TensorFlow's MobileNet and EfficientNet make 112 pixels of 224),
# SAME_UPPER gives to the bit what SAME_LOWER should give: everything is one pixel off, in each such layer. With a
# kernel of 2, SAME_LOWER gives what SAME_UPPER should give. Where the padding is even on both sides, and where the same
# numbers are written as `pads`, it is right. The shape is right always.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 opencv-python-headless==5.0.0.93
PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 python3 - <<'END'
import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def model(operator, side, kernel, stride, **padding):
    constants = [numpy_helper.from_array(np.ones((1, 1, kernel, kernel), np.float32), "ones")] * (operator == "Conv")
    node = helper.make_node(operator, ["x", *(constant.name for constant in constants)], ["y"],
                            kernel_shape=[kernel] * 2, strides=[stride] * 2, **padding)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, size, size])
            for name, size in (("x", side), ("y", -(-side // stride)))]
    made = helper.make_model(helper.make_graph([node], "same", ends[:1], ends[1:], constants),
                             opset_imports=[helper.make_opsetid("", 13)])
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def with_onnxruntime(made, picture):
    return onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"]).run(None, {"x": picture})[0][0, 0]


def with_opencv(made, picture, engine):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(made, np.uint8), engine=engine)
    net.setInput(picture)
    return net.forward()[0, 0].copy()


print("OpenCV", cv2.__version__, "and onnxruntime", onnxruntime.__version__)
picture = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
for padding in ({"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"pads": [0, 0, 1, 1]}):
    made = model("Conv", 4, 3, 2, **padding)
    print("sums of 3x3 of 4x4 pixels, stride 2,", *padding.values(), "- onnxruntime:", *with_onnxruntime(made, picture),
          "OpenCV:", *with_opencv(made, picture, cv2.dnn.ENGINE_AUTO))

swapped = {"SAME_UPPER": "SAME_LOWER", "SAME_LOWER": "SAME_UPPER"}
wrong = set()
for side in (7, 8):
    picture = np.random.default_rng(side).integers(0, 99, (1, 1, side, side)).astype(np.float32)
    for operator in ("Conv", "MaxPool"):
        for kernel in (2, 3, 5):
            for stride in (1, 2):
                for name, other in swapped.items():
                    made = model(operator, side, kernel, stride, auto_pad=name)
                    expected = with_onnxruntime(made, picture)
                    mirrored = with_onnxruntime(model(operator, side, kernel, stride, auto_pad=other), picture)
                    for engine in (cv2.dnn.ENGINE_CLASSIC, cv2.dnn.ENGINE_NEW):
                        found = with_opencv(made, picture, engine)
                        if not np.allclose(expected, found):
                            assert np.allclose(mirrored, found), (side, operator, kernel, stride, name, engine)
                            wrong.add((side, kernel, stride, name))
print("wrong, and right for the other name (side, kernel, stride):", *sorted(wrong))
assert wrong == {(8, 3, 2, "SAME_UPPER"), (8, 5, 2, "SAME_UPPER"), (7, 2, 1, "SAME_LOWER"), (7, 2, 2, "SAME_LOWER"),
                 (8, 2, 1, "SAME_LOWER")}, wrong
END
