"""Makes arrow_schema.bin: the schema of the exported table as Arrow serialises it. The dimension of the features, which
export fills in, is at the offset that is printed."""

from pathlib import Path

import pyarrow as pa


def serialised(length: int) -> bytes:
    element = pa.field("element", pa.float32(), nullable=False)
    fields = [
        pa.field("object_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=True),
        pa.field("feature", pa.list_(element, length), nullable=False),
    ]
    return pa.schema(fields).serialize().to_pybytes()


offset = serialised(0x01020304).index(bytes([4, 3, 2, 1]))
template = bytearray(serialised(1))
Path(__file__).with_name("arrow_schema.bin").write_bytes(template)
for length in [1, 8, 1280, 1 << 20]:
    template[offset : offset + 4] = length.to_bytes(4, "little")
    assert bytes(template) == serialised(length)
print("the dimension is at offset", offset)
