#!/usr/bin/env python3
"""What people use instead on a GPU: timm's MobileNetV3-Large in PyTorch, fed by its DataLoader.

    gpu_peer.py MEDIA_DIR WORKERS

Runs over the pictures of MEDIA_DIR/objects.txt once and prints pictures a second, the start included: Pillow decodes and
resizes in WORKERS processes, batches of 256 go to the GPU in channels-last order, fp32. The features are not written,
and the weights are random: neither takes part in the speed. Needs PyTorch with CUDA, Pillow, and timm or torchvision.
"""
import pathlib
import sys
import time

media, workers = pathlib.Path(sys.argv[1]), int(sys.argv[2])
started = time.perf_counter()
try:
    import numpy
    import torch
    from PIL import Image
    try:
        import timm

        name, model = "timm", timm.create_model("mobilenetv3_large_100", pretrained=False, num_classes=0)
    except ImportError:
        import torchvision

        name, model = "torchvision", torchvision.models.mobilenet_v3_large()
except ImportError as error:
    sys.exit(f"skipped: {error}")
if not torch.cuda.is_available():
    sys.exit("skipped: PyTorch finds no CUDA device")


class Pictures(torch.utils.data.Dataset):
    def __init__(self):
        self.paths = (media / "objects.txt").read_text().split()

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        picture = Image.open(media / self.paths[index]).convert("RGB").resize((224, 224))
        return torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)


pictures = Pictures()
model = model.eval().cuda().to(memory_format=torch.channels_last)
loader = torch.utils.data.DataLoader(pictures, batch_size=256, num_workers=workers, pin_memory=True)
with torch.inference_mode():
    for batch in loader:
        batch = batch.cuda(non_blocking=True).to(memory_format=torch.channels_last).float().div_(255)
        features = model(batch).cpu()
print(f"{len(pictures) / (time.perf_counter() - started):.0f} {name}, PyTorch {torch.__version__}")
