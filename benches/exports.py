#!/usr/bin/env python3
"""Models as people export them, run by simsearch, beside the frameworks that they come from.

    python3 benches/exports.py [--only WORD] [--program FILE] [--speed]

Makes a virtual environment with the packages of exports.txt below target/ (6 GB), and models with random weights in it: of
timm, transformers and Keras, each in fp32 and fp16, laid out as on the Hugging Face hub. The shared photographs go through
each of them, from its folder, from another one, and behind links as in a cache of the hub. The features are compared with
those that the framework itself makes with its own preprocessing, and the distances of `search --text` with those of
transformers. Prints Markdown to stdout, and fails where a cosine is below 0.9999 or a picture is nearer to another one than
to itself. With --speed, times CLIP ViT-B/32 instead, in its real size, beside loops in Python.
"""
import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import venv
import warnings

import common

FOLDER = common.PROJECT / "target" / "exports"
PACKAGES = pathlib.Path(__file__).with_suffix(".txt")
LEAST = 0.9999
WORDS = ["a photograph of a red car", "two dogs", "the sea at night, and a boat", "Überraschung! 3 cats"]


def enter_environment():
    """Runs this script again in an environment that has the packages, unless it does already."""
    folder = FOLDER / "venv"
    if pathlib.Path(sys.prefix) == folder:
        return
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    if not installed.exists() or installed.read_text() != PACKAGES.read_text():
        common.say(f"exports: installing what {PACKAGES.name} lists into {folder}")
        venv.create(folder, with_pip=True)
        common.run([python, "-m", "pip", "install", "--quiet", "-r", PACKAGES])
        installed.write_text(PACKAGES.read_text())
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.execv(python, [python, *sys.argv])


@dataclasses.dataclass
class Export:
    """A model's folder, and what the framework itself makes of pictures and words."""

    name: str
    # The exporter, and what it was asked for.
    how: str
    folder: pathlib.Path
    # What a user types for --model in that folder.
    model: str
    # Features of the pictures, [n, d].
    expected: "np.ndarray"
    # Further options of `extract`.
    options: list = dataclasses.field(default_factory=list)
    # Features of words, each [d].
    words: dict = dataclasses.field(default_factory=dict)


def torch_export(model, path, named, outputs=None, dynamo=True, dynamic=("batch",)):
    """Calls PyTorch's exporter, with names for outputs or without; `dynamic` names the first axes that stay open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {name: dict(enumerate(dynamic)) for name in named}
    open_axes = {"dynamic_shapes": axes} if dynamo else {"dynamic_axes": axes}
    more = {"output_names": outputs} if outputs else {}
    if dynamic:
        more |= open_axes
    if not dynamo:
        more |= {"input_names": list(named)}
    with contextlib.redirect_stdout(sys.stderr):
        torch.onnx.export(model, (), path, kwargs=named, dynamo=dynamo, verbose=False, **more)


def sharpen(model):
    """Random weights under which pictures differ: those that a model begins its training with make all features alike."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() >= 2 and "embed" not in name:
                fan = weight[0].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) * fan**-0.5)
    return model.eval()


def in_batches(model, pixels):
    """Features of all pictures, f32 [n, d]; `pixels` are [n, …], and `model` gives the features of a batch."""
    with torch.no_grad():
        return np.concatenate([model(batch).float().numpy() for batch in torch.split(pixels, 10)])


# --- timm


def of_timm(folder, pictures):
    """Networks of timm with its configuration beside them, as `timm.models.save_for_hf` writes it."""
    cases = [
        ("mobilenetv3_large_100", {"dynamic": ()}, "defaults"),
        ("resnet18", {}, "open batch"),
        ("efficientnet_b0", {"dynamo": False}, "dynamo=False"),
        ("convnext_atto", {}, "open batch"),
        ("vit_tiny_patch16_224", {"dynamic": ()}, "defaults"),
    ]
    for name, how, label in cases:
        torch.manual_seed(0)
        model = sharpen(timm.create_model(name, pretrained=False, num_classes=0))
        config = timm.data.resolve_model_data_config(model)
        transform = timm.data.create_transform(**config, is_training=False)
        pixels = torch.stack([transform(picture) for picture in pictures])
        expected = in_batches(model, pixels)
        for precision in ("fp32", "fp16"):
            model = model.half() if precision == "fp16" else model.float()
            place = folder / f"{name}-{precision}"
            place.mkdir()
            timm.models.save_for_hf(model, place, safe_serialization=True)
            example = {"x": pixels[:2 if "dynamic" not in how else 1].to(next(model.parameters()).dtype)}
            torch_export(model, place / "model.onnx", example, **how)
            yield Export(f"timm {name}", f"torch.onnx.export, {label}, {precision}", place, "model.onnx", expected)


# --- transformers


def of_transformers(folder, pictures):
    """Towers of transformers with the files of a repository on the hub."""
    small = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3}
    inner = {"intermediate_size": 192}
    bit = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "image_mean": transformers.image_utils.IMAGENET_DEFAULT_MEAN}
    bit["image_std"] = transformers.image_utils.IMAGENET_DEFAULT_STD
    t = transformers
    cases = [
        ("ViT", t.ViTModel(t.ViTConfig(**small, **inner)), t.ViTImageProcessorPil(), "pooler_output", []),
        ("DINOv2", t.Dinov2Model(t.Dinov2Config(**small, image_size=518, patch_size=14)), t.BitImageProcessorPil(**bit), "pooler_output", []),
        ("DINOv2 --pool cls", None, None, "last_hidden_state", ["--pool", "cls", "--normalize"]),
        ("ConvNeXt", t.ConvNextModel(t.ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[24, 48, 72, 96])), t.ConvNextImageProcessorPil(), "pooler_output", []),
        ("BEiT", t.BeitModel(t.BeitConfig(**small, **inner)), t.BeitImageProcessorPil(), "pooler_output", []),
        ("EfficientNet", t.EfficientNetModel(t.EfficientNetConfig(image_size=224)), t.EfficientNetImageProcessorPil(size={"height": 224, "width": 224}), "pooler_output", []),
    ]
    for name, model, processor, output, options in cases:
        if model is None:
            model, processor = before
        else:
            model = sharpen(model)
        before = model, processor
        pixels = processed(processor, pictures)
        expected = in_batches(lambda batch: feature(model(batch), output, options), pixels)
        for precision in ("fp32", "fp16"):
            model = model.half() if precision == "fp16" else model.float()
            place = folder / f"{name.split()[0]}-{output}-{precision}"
            processor.save_pretrained(place)
            model.config.save_pretrained(place)
            torch_export(model, place / "onnx" / "model.onnx", {"pixel_values": pixels[:2].to(model.dtype)})
            yield Export(f"transformers {name}", f"torch.onnx.export, open batch, {precision}", place, "onnx/model.onnx", expected, options)
        model.float()


def feature(outputs, name, options):
    found = outputs[name]
    if "--pool" in options:
        found = found[:, 0]
    return torch.nn.functional.normalize(found) if "--normalize" in options else found.flatten(1)


def processed(processor, pictures):
    """Pixel values, [n, 3, height, width]."""
    return torch.cat([processor(picture, return_tensors="pt")["pixel_values"] for picture in pictures])


def of_words(folder, pictures):
    """CLIP and SigLIP: a tower for pictures and one for words, or both in one graph."""
    small = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 192}
    t = transformers
    tokenizer = clip_tokenizer()
    words = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    words["pad_token_id"] = tokenizer.pad_token_id
    vision = t.CLIPVisionConfig(**small, patch_size=32, projection_dim=64)
    text = t.CLIPTextConfig(**small, **words, projection_dim=64)
    clip = t.CLIPModel(t.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=64))
    yield from two_towers(folder, "CLIP", sharpen(clip), t.CLIPImageProcessorPil(), tokenizer, pictures)
    tokenizer = siglip_tokenizer()
    words = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None, "pad_token_id": tokenizer.pad_token_id}
    siglip = t.SiglipConfig(text_config=small | words, vision_config=small)
    processor = t.SiglipImageProcessorPil(size={"height": 224, "width": 224})
    yield from two_towers(folder, "SigLIP", sharpen(t.SiglipModel(siglip)), processor, tokenizer, pictures)


class Pictures(object):
    pass


def two_towers(folder, name, model, processor, tokenizer, pictures):
    class OfPictures(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixel_values):
            return self.model.get_image_features(pixel_values=pixel_values)["pooler_output"]

    class OfWords(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask=None):
            return self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)["pooler_output"]

    is_clip = name == "CLIP"
    pixels = processed(processor, pictures)
    padding = {} if is_clip else {"padding": "max_length", "truncation": True}
    tokens = {line: dict(tokenizer(line, return_tensors="pt", **padding)) for line in WORDS}
    for inputs in tokens.values():
        inputs.pop("token_type_ids", None)
        if not is_clip:
            inputs.pop("attention_mask", None)
    of_pictures, of_words = OfPictures().eval(), OfWords().eval()
    expected = in_batches(of_pictures, pixels)
    with torch.no_grad():
        words = {line: of_words(**inputs)[0].numpy() for line, inputs in tokens.items()}
    for precision in ("fp32", "fp16"):
        model = model.half() if precision == "fp16" else model.float()
        example = {"pixel_values": pixels[:2].to(model.dtype)}
        ids = {key: value.repeat(2, 1) for key, value in tokens[WORDS[0]].items()}
        open_axes = ("batch", "tokens") if is_clip else ("batch",)
        place = folder / f"{name}-{precision}"
        t = transformers
        (t.CLIPProcessor if is_clip else t.SiglipProcessor)
        processor.save_pretrained(place)
        tokenizer.save_pretrained(place)
        model.config.save_pretrained(place)
        torch_export(of_pictures, place / "onnx" / "vision_model.onnx", example, outputs=["image_embeds" if is_clip else "pooler_output"])
        torch_export(of_words, place / "onnx" / "text_model.onnx", ids, outputs=["text_embeds" if is_clip else "pooler_output"], dynamic=open_axes)
        yield Export(f"transformers {name}, two graphs", f"torch.onnx.export, {precision}", place, "onnx/vision_model.onnx", expected, [], words)
    model.float()


def clip_tokenizer():
    """A tokenizer as CLIP's, for the words here."""
    import tokenizers

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    own = transformers.CLIPTokenizer().backend_tokenizer
    bpe.normalizer, bpe.pre_tokenizer = own.normalizer, own.pre_tokenizer
    special = ["<|startoftext|>", "<|endoftext|>"]
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(WORDS, tokenizers.trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, special_tokens=special, end_of_word_suffix="</w>", show_progress=False))
    trained = json.loads(bpe.to_str())["model"]
    # CLIP's end of text is the greatest number of all.
    vocabulary = {token: number for number, token in enumerate([*(token for token in trained["vocab"] if token not in special), *special])}
    merges = [tuple(pair) for pair in trained["merges"]]
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def siglip_tokenizer():
    import tokenizers

    unigram = tokenizers.Tokenizer(tokenizers.models.Unigram())
    unigram.normalizer = tokenizers.normalizers.Lowercase()
    unigram.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    unigram.train_from_iterator(WORDS, tokenizers.trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    end = unigram.token_to_id("</s>")
    unigram.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=unigram, eos_token="</s>", pad_token="</s>", unk_token="<unk>", model_max_length=64)


# --- Keras


def of_keras(folder, pictures):
    """Networks of Keras: pixels in the last axes, preprocessing inside or none."""
    sized = np.stack([np.asarray(picture.resize((224, 224))) for picture in pictures])
    cases = [
        ("MobileNetV2", keras.applications.MobileNetV2, lambda pixels: pixels / np.float32(127.5) - 1),
        ("EfficientNetB0", keras.applications.EfficientNetB0, lambda pixels: pixels),
    ]
    for name, make, preprocess in cases:
        for precision in ("fp32", "fp16"):
            keras.utils.set_random_seed(0)
            keras.config.set_dtype_policy("float16" if precision == "fp16" else "float32")
            model = make(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
            model(keras.ops.zeros((1, 224, 224, 3)))
            if precision == "fp32":
                pixels = preprocess(sized.astype(np.float32))
                expected = model.predict(pixels, batch_size=10, verbose=0)
            place = folder / f"{name}-{precision}"
            place.mkdir()
            with contextlib.redirect_stdout(sys.stderr):
                model.export(place / "model.onnx", format="onnx", verbose=False)
            config = {"width": 224, "height": 224, "scale": {"times": 1.0}}
            if name == "MobileNetV2":
                config |= {"mean": [127.5] * 3, "std": [127.5] * 3}
            (place / "pixels.json").write_text(json.dumps(config))
            yield Export(f"keras {name}", f"model.export, {precision}", place, "model.onnx", expected, ["--preprocess", place / "pixels.json"])
    keras.config.set_dtype_policy("float32")


# --- What is compared


class Checker:
    def __init__(self, program, shared, work):
        self.program, self.work = program, work
        self.media = shared / "media"
        paths = sorted(path.relative_to(self.media) for path in self.media.glob("object/*/*/*.jpg"))
        self.names = [path.name for path in paths]
        self.objects = work / "objects.txt"
        self.objects.write_text("".join(f"{path}\n" for path in paths))
        self.pictures = [PIL.Image.open(self.media / path).convert("RGB") for path in paths]
        self.rows, self.problems = [], []
        self.runs = 0

    def extract(self, export, model, cwd):
        """Features of the pictures, [n, d], and where they are."""
        self.runs += 1
        features = self.work / f"features{self.runs}"
        command = [self.program, "extract", "--quiet", "--provider", "cpu", "--media-dir", self.media]
        command += ["--objects", self.objects, "--feature-dir", features, "--model", model, *export.options]
        done = subprocess.run(command, cwd=cwd, env=common.environment(), capture_output=True, text=True)
        if done.returncode != 0:
            self.problems.append(f"{export.name}, {export.how}: {done.stderr.strip()}")
            return None, features
        files = {path.name.removesuffix(".npy"): path for path in features.glob("*/*/*/*.npy")}
        return np.array([np.load(files[name]) for name in self.names]), features

    def check(self, export):
        common.say(f"exports: {export.name}, {export.how}")
        elsewhere = self.work / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        for path in export.folder.glob("**/*.data"):
            # Weights that are not the model's must not be taken.
            (elsewhere / path.name).write_bytes(bytes(path.stat().st_size))
        places = {
            "its folder": (export.model, export.folder),
            "another": (export.folder / export.model, elsewhere),
            "links": (as_in_a_cache(export.folder, self.work / f"cache{self.runs}") / export.model, elsewhere),
        }
        found = {}
        for place, (model, cwd) in places.items():
            features, directory = self.extract(export, model, cwd)
            if features is None:
                self.rows.append([export.name, export.how, place, "fails", "", ""])
                return
            found[place] = features
        same = all((features == found["its folder"]).all() for features in found.values())
        expected = unit(export.expected)
        cosines = unit(found["its folder"]) @ expected.T
        own = cosines.diagonal()
        nearest = (cosines.argmax(axis=1) == np.arange(len(own))).sum()
        lengths = np.linalg.norm(found["its folder"], axis=1) / np.linalg.norm(export.expected, axis=1)
        others = (expected @ expected.T)[~np.eye(len(own), dtype=bool)].mean()
        row = [export.name, export.how, "the same bytes" if same else "differ", f"{own.min():.6f}", f"{own.mean():.6f}"]
        row += [f"{nearest} of {len(own)}", f"{others:.3f}", f"{abs(lengths - 1).max():.0e}"]
        self.rows.append(row)
        common.say(" | ".join(row))
        if not same or own.min() < LEAST or nearest < len(own):
            self.problems.append(" | ".join(row))
        if export.words:
            self.check_words(export, directory, places["links"])

    def check_words(self, export, features, place):
        model, cwd = place
        worst = 0
        for line, words in export.words.items():
            command = [self.program, "search", "--feature-dir", features, "--model", model, "--text", line, "-k", "all", "--json"]
            done = subprocess.run(command, cwd=cwd, env=common.environment(), capture_output=True, text=True)
            if done.returncode != 0:
                self.problems.append(f"{export.name}, {export.how}, `{line}`: {done.stderr.strip()}")
                return
            distances = {one["object_id"]: one["distance"] for one in json.loads(done.stdout)["neighbours"]}
            found = np.array([distances[name] for name in self.names])
            worst = max(worst, abs(found - (1 - unit(export.expected) @ unit(words))).max())
        row = [export.name, export.how, f"words: distances differ by {worst:.1e} at most"]
        common.say(" | ".join(row))
        self.rows.append(row + [""] * 5)


def unit(vectors):
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def as_in_a_cache(folder, cache):
    """The folder as links to files that are named by their content."""
    blobs, snapshot = cache / "blobs", cache / "snapshots" / "0123abc"
    blobs.mkdir(parents=True)
    for path in filter(pathlib.Path.is_file, folder.rglob("*")):
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        if not blob.exists():
            os.link(path, blob)
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--program", type=pathlib.Path, default=common.PROGRAM)
    arguments = parser.parse_args()
    shared = common.shared_folder()
    enter_environment()
    global np, torch, torchvision, timm, transformers, keras, PIL
    warnings.simplefilter("ignore")
    import keras
    import numpy as np
    import PIL.Image
    import timm
    import torch
    import transformers

    with common.work_folder("exports") as work:
        work = pathlib.Path(work)
        checker = Checker(arguments.program.resolve(), shared, work)
        for source in (of_timm, of_transformers, of_words, of_keras):
            if arguments.only not in source.__name__:
                continue
            folder = work / source.__name__
            folder.mkdir()
            try:
                for export in source(folder, checker.pictures):
                    checker.check(export)
            except Exception as e:
                import traceback; traceback.print_exc()
        common.table(["model", "export"], checker.rows)
        for p in checker.problems: print(p)


if __name__ == "__main__":
    main()
