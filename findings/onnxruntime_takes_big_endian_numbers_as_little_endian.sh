#!/bin/sh
# onnxruntime, OpenCV and OpenVINO: numpy arrays with their bytes in the other order are taken as if they had not.
#
# Guess: an array says the order of its bytes in its type (`>f4`: FITS, IDX, .npy of other machines, buffers from a network),
# and numpy computes with it as with any other. Given to a library it is turned, or refused as pyarrow and usearch do.
#
# Seen with onnxruntime 1.32.0, OpenCV 5.0.0 and OpenVINO 2026.4.1: `session.run`, functions of cv2, and `openvino.Tensor` take
# the bytes as they are: 1.0 becomes 4.6e-41 and 1 becomes 256, without a word. numpy and faiss compute with the same array
# rightly, and so does the call of a compiled model of OpenVINO, which compares the types with `==` and converts. (onnxruntime
# compares numpy's number of the type, `PyArray_TYPE` in `onnxruntime_pybind_mlvalue.cc`, which both orders share.)
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" numpy==2.4.6 faiss-cpu==1.15.1 \
    onnx==1.23.2 onnxruntime==1.32.0 opencv-python-headless==5.0.0.93 openvino==2026.4.1
PYTHONPATH="$work/packages" ORT_DISABLE_TELEMETRY=1 python3 - <<'END'
import cv2
import faiss
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper

array = np.array([[1, 2, 3, 4]], ">f4")
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
model.ir_version = 8
model = model.SerializeToString()
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
core = openvino.Core()
flat = faiss.IndexFlatL2(4)
flat.add(array)
found = {
    "numpy, times 1": array * 1,
    "faiss": flat.reconstruct_n(0, 1),
    "onnxruntime, run": session.run(None, {"x": array})[0],
    "onnxruntime, OrtValue": onnxruntime.OrtValue.ortvalue_from_numpy(array).numpy(),
    "OpenVINO, call": core.compile_model(core.read_model(model), "CPU")([array])[0],
    "OpenVINO, Tensor": openvino.Tensor(array).data,
    "OpenCV, times 1": cv2.multiply(array, 1.0),
    "OpenCV, PNG of >u2": cv2.imdecode(cv2.imencode(".png", array.astype(">u2"))[1], cv2.IMREAD_UNCHANGED),
}
print(f"onnxruntime {onnxruntime.__version__}, OpenCV {cv2.__version__}, OpenVINO {openvino.__version__.split('-')[0]}")
for name, values in found.items():
    print(f"{name}:", *values[0])
right = [name for name, values in found.items() if np.array_equal(values, [[1, 2, 3, 4]])]
assert right == ["numpy, times 1", "faiss", "OpenVINO, call"], right
assert found["OpenCV, PNG of >u2"].tolist() == [[256, 512, 768, 1024]]
for name in ("onnxruntime, run", "onnxruntime, OrtValue", "OpenVINO, Tensor"):
    assert found[name].tobytes() == array.tobytes(), name
END
