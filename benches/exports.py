#!/usr/bin/env python3
"""Models as people export them, run by simsearch, beside the frameworks that they come from.

    python3 benches/exports.py [--only WORD]
    python3 benches/exports.py --processors
    python3 benches/exports.py --speed

Makes a virtual environment below target/ with the packages of exports.txt (6 GB), and in it models with random weights:
of timm, transformers and Keras, in fp32 and fp16, laid out as on the Hugging Face hub. The shared photographs go through
each of them, from its folder, from another one, and behind links as in a cache of the hub. Their features are compared
with those that the framework itself makes with its own preprocessing in fp32, and the distances of `search --text` with
those that transformers makes of the same words. Prints Markdown, and fails where a run fails, the bytes of the three
places differ, a cosine is below 0.9999, or a picture is nearer to another one than to itself.

With --processors, compares what models see instead: the values that each processor of transformers makes of the photographs,
with Pillow and with torchvision, bit by bit.

With --speed, times CLIP ViT-B/32 in its real size instead, beside loops in Python, in turns.
"""
import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import warnings

import common

FOLDER = common.PROJECT / "target" / "exports"
PACKAGES = pathlib.Path(__file__).with_suffix(".txt")
LEAST_COSINE = 0.9999
# The most that a distance of words may be off, by what the graphs compute in.
MOST_OFF = {"fp32": 1e-5, "fp16": 2e-3}
WORDS = ["a photograph of a red car", "two dogs", "the sea at night, and a boat", "Überraschung! 3 cats"]


def enter_environment():
    """Runs this script again in an environment that has the packages, unless it does already."""
    folder = FOLDER / "venv"
    if pathlib.Path(sys.prefix) == folder:
        return
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    if not installed.exists() or installed.read_text() != PACKAGES.read_text():
        common.say(f"exports: installing the packages of {PACKAGES.name} into {folder}")
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
    precision: str
    folder: pathlib.Path
    # What a user types for --model in that folder.
    model: str
    # Features of the pictures, [n, d].
    expected: "numpy.ndarray"
    # Further options of `extract`.
    options: list = dataclasses.field(default_factory=list)
    # Features of words, each [d].
    words: dict = dataclasses.field(default_factory=dict)


def both_precisions(model):
    """The model in fp32, and then in fp16."""
    for precision, kind in (("fp32", torch.float32), ("fp16", torch.float16)):
        yield precision, kind, model.to(kind)
    model.to(torch.float32)


def sharpen(model):
    """Random weights with which pictures differ: with those that training begins with, all features are alike."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() >= 2 and "embed" not in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * weight[0].numel() ** -0.5)
    return model.eval()


def settle(model, pixels):
    """Makes layers that normalise as training leaves them. With those that it begins with, EfficientNet's activations vanish
    layer by layer, down to what f16 has no bits for."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            # The last batch alone counts.
            layer.momentum = 1.0
    with torch.no_grad():
        model.train()(pixels[::10])
    model.eval()


def features(model, pixels):
    """What a model makes of all pixel values, f32 [n, d], ten pictures at a time."""
    with torch.no_grad():
        return numpy.concatenate([model(ten).float().numpy() for ten in torch.split(pixels, 10)])


def torch_export(model, path, inputs, open_axes=(), dynamo=True, outputs=None):
    """Calls PyTorch's exporter; the first axes of the inputs stay open, under these names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {name: dict(enumerate(open_axes)) for name in inputs} if open_axes else None
    more = {"dynamic_shapes": axes} if dynamo else {"dynamic_axes": axes, "input_names": list(inputs)}
    with contextlib.redirect_stdout(sys.stderr):
        torch.onnx.export(model, (), path, kwargs=inputs, dynamo=dynamo, output_names=outputs, verbose=False, **more)


def of_timm(folder, pictures):
    """Networks of timm, with its configuration beside them."""
    cases = [
        ("mobilenetv3_large_100", "its defaults", {}),
        ("vit_tiny_patch16_224", "its defaults", {}),
        ("resnet18", "open batch", {"open_axes": ["batch"]}),
        ("convnext_atto", "open batch", {"open_axes": ["batch"]}),
        ("efficientnet_b0", "dynamo=False", {"open_axes": ["batch"], "dynamo": False}),
    ]
    for name, how, options in cases:
        torch.manual_seed(0)
        model = sharpen(timm.create_model(name, pretrained=False, num_classes=0))
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
        pixels = torch.stack([transform(picture) for picture in pictures])
        if name.startswith("efficientnet"):
            settle(model, pixels)
        expected = features(model, pixels)
        for precision, kind, model in both_precisions(model):
            place = folder / f"{name}-{precision}"
            timm.models.save_for_hf(model, place, safe_serialization=True)
            count = 2 if "open_axes" in options else 1
            torch_export(model, place / "model.onnx", {"x": pixels[:count].to(kind)}, **options)
            yield Export(f"timm {name}", f"torch.onnx.export, {how}", precision, place, "model.onnx", expected)


def of_bytes(folder, pictures):
    """A network that takes bytes, pixel after pixel, and has its preprocessing inside."""

    class OfBytes(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, pixels):
            kind = next(self.model.parameters()).dtype
            return self.model((pixels.permute(0, 3, 1, 2).to(kind) / 255 - 0.45) / 0.225)

    torch.manual_seed(0)
    model = sharpen(OfBytes(timm.create_model("resnet18", pretrained=False, num_classes=0)))
    pixels = torch.stack([torch.from_numpy(numpy.array(picture.resize((224, 224)))) for picture in pictures])
    expected = features(model, pixels)
    for precision, _, model in both_precisions(model):
        place = folder / f"bytes-{precision}"
        torch_export(model, place / "model.onnx", {"pixels": pixels[:2]}, open_axes=["batch"])
        yield Export("resnet18 of uint8", "torch.onnx.export, open batch", precision, place, "model.onnx", expected)


def pixel_values(processor, pictures):
    """What a processor of transformers makes of pictures, [n, 3, height, width]."""
    return torch.cat([processor(picture, return_tensors="pt")["pixel_values"] for picture in pictures])


SMALL = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 192}


def of_transformers(folder, pictures):
    """Networks of transformers with the files of a repository on the hub; the exporter names the outputs."""
    imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    square = {"height": 224, "width": 224}
    dinov2 = {key: value for key, value in SMALL.items() if key != "intermediate_size"}
    dinov2 = transformers.Dinov2Config(**dinov2, image_size=518, patch_size=14)
    convnext = transformers.ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[24, 48, 72, 96])
    of_dinov2 = transformers.BitImageProcessorPil(size={"shortest_edge": 256}, crop_size=square, **imagenet)
    cases = [
        (transformers.ViTConfig(**SMALL), transformers.ViTImageProcessorPil()),
        (dinov2, of_dinov2),
        (convnext, transformers.ConvNextImageProcessorPil()),
        (transformers.BeitConfig(**SMALL), transformers.BeitImageProcessorPil()),
    ]
    for config, processor in cases:
        torch.manual_seed(0)
        model = sharpen(transformers.AutoModel.from_config(config))
        pixels = pixel_values(processor, pictures)
        expected = features(lambda ten: model(ten)["pooler_output"].flatten(1), pixels)
        of_first_token = None
        if config is dinov2:
            first = lambda ten: torch.nn.functional.normalize(model(ten)["last_hidden_state"][:, 0])
            of_first_token = features(first, pixels)
        for precision, kind, model in both_precisions(model):
            place = folder / f"{config.model_type}-{precision}"
            processor.save_pretrained(place)
            config.save_pretrained(place)
            torch_export(model, place / "onnx" / "model.onnx", {"pixel_values": pixels[:2].to(kind)}, ["batch"])
            name, how = f"transformers {config.model_type}", "torch.onnx.export, open batch"
            yield Export(name, how, precision, place, "onnx/model.onnx", expected)
            if of_first_token is not None:
                options = ["--pool", "cls", "--normalize"]
                how = " ".join(options)
                yield Export(name, how, precision, place, "onnx/model.onnx", of_first_token, options)


def of_clip(folder, pictures):
    """CLIP, whose towers are graphs of their own, or one graph with four outputs."""
    tokenizer = clip_tokenizer()
    special = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    words = SMALL | special | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    config = transformers.CLIPConfig(text_config=words, vision_config=SMALL | {"patch_size": 32}, projection_dim=64)
    model = sharpen(transformers.CLIPModel(config))
    tokens = {line: dict(tokenizer(line, return_tensors="pt")) for line in WORDS}
    processor = transformers.CLIPProcessor(image_processor=transformers.CLIPImageProcessor(), tokenizer=tokenizer)
    of_pictures = transformers.CLIPImageProcessorPil()
    names = ["image_embeds", "text_embeds"]
    yield from two_towers(folder, "CLIP", model, processor, of_pictures, tokens, pictures, names, ["n", "tokens"])

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, pixel_values, attention_mask):
            found = self.model(input_ids=input_ids, pixel_values=pixel_values, attention_mask=attention_mask)
            return found.logits_per_image, found.logits_per_text, found.text_embeds, found.image_embeds

    pixels = pixel_values(of_pictures, pictures)
    expected = features(lambda ten: model.get_image_features(pixel_values=ten)["pooler_output"], pixels)
    expected /= numpy.linalg.norm(expected, axis=1, keepdims=True)
    ids = {name: value.repeat(2, 1) for name, value in tokens[WORDS[0]].items()}
    outputs = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
    for precision, kind, _ in both_precisions(model):
        place = folder / f"whole-{precision}"
        of_pictures.save_pretrained(place)
        processor.tokenizer.save_pretrained(place)
        inputs = {"input_ids": ids["input_ids"], "pixel_values": pixels[:2].to(kind)}
        inputs["attention_mask"] = ids["attention_mask"]
        path = place / "onnx" / "model.onnx"
        torch_export(Whole(), path, inputs, ["n"], dynamo=False, outputs=outputs)
        yield Export("transformers CLIP", "one graph, dynamo=False", precision, place, "onnx/model.onnx", expected)


def of_siglip(folder, pictures):
    """SigLIP, whose texts are filled up to 64 tokens and have no mask."""
    tokenizer = siglip_tokenizer()
    words = SMALL | {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
    model = sharpen(transformers.SiglipModel(transformers.SiglipConfig(text_config=words, vision_config=SMALL)))
    padded = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    tokens = {line: {"input_ids": tokenizer(line, **padded)["input_ids"]} for line in WORDS}
    of_pictures = transformers.SiglipImageProcessorPil()
    yield from two_towers(folder, "SigLIP", model, of_pictures, of_pictures, tokens, pictures, None, ["n"], tokenizer)


def two_towers(folder, name, model, processor, of_pictures, tokens, pictures, outputs, open_axes, tokenizer=None):
    """A graph of pictures and one of words, with `outputs` for names or with those that the exporter gives."""

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

    pixels = pixel_values(of_pictures, pictures)
    expected = features(OfPictures(), pixels)
    with torch.no_grad():
        words = {line: OfWords()(**inputs)[0].numpy() for line, inputs in tokens.items()}
    ids = {name: value.repeat(2, 1) for name, value in tokens[WORDS[0]].items()}
    of_picture, of_words = ([output] for output in outputs) if outputs else (None, None)
    for precision, kind, _ in both_precisions(model):
        place = folder / f"towers-{precision}"
        for part in (processor, model.config, tokenizer):
            if part is not None:
                part.save_pretrained(place)
        graphs = place / "onnx"
        torch_export(
            OfPictures(), graphs / "vision_model.onnx", {"pixel_values": pixels[:2].to(kind)}, ["n"], outputs=of_picture
        )
        torch_export(OfWords(), graphs / "text_model.onnx", ids, open_axes, outputs=of_words)
        how = "two graphs, torch.onnx.export"
        yield Export(f"transformers {name}", how, precision, place, "onnx/vision_model.onnx", expected, [], words)


def clip_tokenizer():
    """A tokenizer of CLIP's kind, byte pairs, for the words here."""
    special = ["<|startoftext|>", "<|endoftext|>"]
    untrained = transformers.CLIPTokenizer().backend_tokenizer
    pairs = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    pairs.normalizer, pairs.pre_tokenizer = untrained.normalizer, untrained.pre_tokenizer
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    pairs.train_from_iterator(WORDS, trainer)
    trained = json.loads(pairs.to_str())["model"]
    # CLIP takes the feature where the number of the token is the greatest: at the end of the text.
    vocabulary = {token: number for number, token in enumerate([*trained["vocab"], *special])}
    merges = [tuple(pair) for pair in trained["merges"]]
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def siglip_tokenizer():
    """A tokenizer of SigLIP's kind, unigrams, for the words here."""
    unigrams = tokenizers.Tokenizer(tokenizers.models.Unigram())
    unigrams.normalizer = tokenizers.normalizers.Lowercase()
    unigrams.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    unigrams.train_from_iterator(WORDS, trainer)
    end = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    unigrams.post_processor = end
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=unigrams, eos_token="</s>", pad_token="</s>", unk_token="<unk>", model_max_length=64
    )


def of_keras(folder, pictures):
    """Networks of Keras, pixel after pixel: one that wants -1 to 1, and one that has its preprocessing inside."""
    sized = numpy.stack([numpy.asarray(picture.resize((224, 224))) for picture in pictures]).astype(numpy.float32)
    levels = {"width": 224, "height": 224, "scale": {"times": 1}}
    minus_one_to_one = levels | {"mean": [127.5] * 3, "std": [127.5] * 3}
    cases = [
        (keras.applications.MobileNetV2, minus_one_to_one, (sized - 127.5) / 127.5),
        (keras.applications.EfficientNetB0, levels, sized),
    ]
    for make, preprocess, pixels in cases:
        weights = None
        for precision, policy in (("fp32", "float32"), ("fp16", "float16")):
            keras.utils.set_random_seed(0)
            keras.config.set_dtype_policy(policy)
            model = make(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
            if weights is None:
                model.set_weights(sharpened(model))
                if make is keras.applications.EfficientNetB0:
                    # As `settle` does it.
                    for layer in model.layers:
                        if isinstance(layer, keras.layers.BatchNormalization):
                            layer.momentum = 0.0
                    model(pixels[::10], training=True)
                weights = model.get_weights()
                expected = model.predict(pixels, batch_size=10, verbose=0)
            model.set_weights(weights)
            # The exporter wants a model that has been called.
            model(keras.ops.zeros((1, 224, 224, 3)))
            place = folder / f"{model.name}-{precision}"
            place.mkdir()
            with contextlib.redirect_stdout(sys.stderr):
                model.export(place / "model.onnx", format="onnx", verbose=False)
            (place / "pixels.json").write_text(json.dumps(preprocess))
            options = ["--preprocess", place / "pixels.json"]
            yield Export(f"keras {make.__name__}", "model.export", precision, place, "model.onnx", expected, options)
    keras.config.set_dtype_policy("float32")


def sharpened(model):
    """The weights of a network of Keras, those of convolutions drawn so that signals keep their size."""
    generator = numpy.random.default_rng(1)
    weights = []
    for variable in model.weights:
        if variable.name == "kernel":
            # Of a depthwise convolution the third axis is that of the channels, which do not add up.
            inputs = numpy.prod(variable.shape[:2] if "depthwise" in variable.path else variable.shape[:3])
            weights.append(generator.normal(0, (2 / inputs) ** 0.5, variable.shape).astype(numpy.float32))
        else:
            weights.append(keras.ops.convert_to_numpy(variable))
    return weights


class Checker:
    """Runs simsearch on exports, and keeps the rows of the table and what is wrong."""

    def __init__(self, program, shared, work):
        self.program, self.media, self.work = program, shared / "media", work
        paths = sorted(path.relative_to(self.media) for path in self.media.glob("object/*/*/*.jpg"))
        self.paths = [self.media / path for path in paths]
        self.names = [path.name for path in paths]
        self.objects = work / "objects.txt"
        self.objects.write_text("".join(f"{path}\n" for path in paths))
        self.elsewhere = work / "elsewhere"
        self.elsewhere.mkdir()
        self.rows, self.problems, self.runs = [], [], 0

    def simsearch(self, arguments, folder):
        """What simsearch prints when it is started in a folder."""
        command = [self.program, *arguments]
        done = subprocess.run(command, cwd=folder, env=common.environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout

    def extract(self, model, folder, options):
        """Features of the pictures, [n, d], and their directory."""
        self.runs += 1
        directory = self.work / f"features{self.runs}"
        command = ["extract", "--quiet", "--json", "--provider", "cpu", "--media-dir", self.media]
        command += ["--objects", self.objects, "--feature-dir", directory, "--model", model, *options]
        self.simsearch(command, folder)
        files = {path.stem: path for path in directory.glob("*/*/*/*.npy")}
        return numpy.array([numpy.load(files[name]) for name in self.names]), directory

    def check(self, export):
        label = [export.name, export.how, export.precision]
        common.say(f"exports: {', '.join(label)}")
        for path in export.folder.rglob("*.data"):
            # Weights that are not the model's must not be taken.
            (self.elsewhere / path.name).write_bytes(bytes(path.stat().st_size))
        links = as_in_a_cache(export.folder, self.work / f"cache{self.runs}")
        try:
            found, _ = self.extract(export.model, export.folder, export.options)
            others = [export.folder / export.model, links / export.model]
            others = [self.extract(model, self.elsewhere, export.options) for model in others]
            words = self.words(export, links / export.model, others[1][1]) if export.words else None
        except RuntimeError as error:
            return self.add(label + ["", "", "", "", str(error).replace("\n", " ")], is_good=False)
        expected = unit(export.expected)
        cosines = unit(found) @ expected.T
        own = cosines.diagonal()
        nearest = int((cosines.argmax(axis=1) == numpy.arange(len(own))).sum())
        apart = (expected @ expected.T)[~numpy.eye(len(own), dtype=bool)].mean()
        is_same = all((features == found).all() for features, _ in others)
        row = [f"{own.min():.6f}", f"{own.mean():.6f}", f"{apart:.3f}", f"{nearest} of {len(own)}"]
        row += [("" if is_same else "the places differ ") + ("" if words is None else f"words: {words:.0e}")]
        is_good = own.min() >= LEAST_COSINE and nearest == len(own) and is_same
        self.add(label + row, is_good and (words is None or words <= MOST_OFF[export.precision]))

    def words(self, export, model, directory):
        """The most that a distance of words is off."""
        off = []
        for line, words in export.words.items():
            command = ["search", "--feature-dir", directory, "--model", model, "--text", line, "-k", "all", "--json"]
            found = json.loads(self.simsearch(command, self.elsewhere))["neighbours"]
            found = {one["object_id"]: one["distance"] for one in found}
            expected = 1 - unit(export.expected) @ unit(words)
            off.append(abs(numpy.array([found[name] for name in self.names]) - expected).max())
        return max(off)

    def add(self, row, is_good):
        common.say(" | ".join(row))
        self.rows.append(row)
        if not is_good:
            self.problems.append(", ".join(row[:3]))


def unit(vectors):
    vectors = vectors.astype(numpy.float64)
    return vectors / numpy.linalg.norm(vectors, axis=-1, keepdims=True)


def as_in_a_cache(folder, cache):
    """The folder as links to files that are named after their content."""
    blobs, snapshot = cache / "blobs", cache / "snapshots" / "main"
    blobs.mkdir(parents=True)
    for path in filter(pathlib.Path.is_file, folder.rglob("*")):
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        if not blob.exists():
            os.link(path, blob)
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def check_all(checker, only):
    for source in (of_timm, of_bytes, of_transformers, of_clip, of_siglip, of_keras):
        if only not in source.__name__:
            continue
        folder = checker.work / source.__name__
        folder.mkdir()
        pictures = [PIL.Image.open(path).convert("RGB") for path in checker.paths]
        for export in source(folder, pictures):
            checker.check(export)
    head = ["model", "export", "precision", "least cosine", "mean", "of different pictures", "nearest to itself", ""]
    common.table(head, checker.rows)
    if checker.problems:
        sys.exit("exports: not as it should be: " + "; ".join(checker.problems))


# Those that have both kinds.
PROCESSORS = ["CLIP", "ViT", "Siglip", "Bit", "ConvNext", "Beit", "DeiT", "Levit", "MobileNetV1", "MobileNetV2", "Pvt"]


def check_processors(checker):
    """What each processor makes of the pictures beside what a model sees that gives its input back."""
    rows = []
    for name in PROCESSORS:
        folder = checker.work / name
        processors = {
            "torchvision": getattr(transformers, f"{name}ImageProcessor")(),
            "pil": getattr(transformers, f"{name}ImageProcessorPil")(),
        }
        processors["torchvision"].save_pretrained(folder)
        values = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])
        feature = onnx.helper.make_tensor_value_info("feature_vector", onnx.TensorProto.FLOAT, ["n", "d"])
        node = onnx.helper.make_node("Flatten", ["pixels"], ["feature_vector"])
        graph = onnx.helper.make_graph([node], "flat", [values], [feature])
        opset = onnx.helper.make_opsetid("", 17)
        onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "model.onnx")
        for backend, processor in processors.items():
            common.say(f"exports: {name}, {backend}")
            found, directory = checker.extract(folder, checker.work, ["--backend", backend])
            different = 0
            for path, feature in zip(checker.paths, found):
                picture = PIL.Image.open(path).convert("RGB")
                values = numpy.asarray(processor(picture, return_tensors="np")["pixel_values"][0], numpy.float32)
                different += int((values.reshape(-1).view(numpy.int32) != feature.view(numpy.int32)).sum())
            shutil.rmtree(directory)
            rows.append([name, backend, f"{different:,} of {found.size:,}"])
            if different > 0:
                checker.problems.append(f"{name} with {backend}")
    common.table(["processor", "backend", "values that differ"], rows)
    if checker.problems:
        sys.exit("exports: other values: " + "; ".join(checker.problems))


def time_clip(program, shared, work, count, rounds):
    """Pictures a second of CLIP ViT-B/32, f32, on the CPU: the whole command, and loops without the imports."""
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(patch_size=32)
    model = transformers.CLIPVisionModelWithProjection(config).eval()
    place = work / "clip-vit-base-patch32"
    transformers.CLIPImageProcessorPil().save_pretrained(place)
    graph = place / "onnx" / "vision_model.onnx"
    example = {"pixel_values": torch.zeros(2, 3, 224, 224)}
    torch_export(model, graph, example, ["batch"], outputs=["image_embeds", "last_hidden_state"])
    media = common.make_media(work / "media", count, sorted((shared / "media" / "object").glob("*/*/*.jpg")))
    paths = [media / line for line in (media / "objects.txt").read_text().splitlines()]

    def in_simsearch():
        directory = pathlib.Path(tempfile.mkdtemp(dir=work))
        command = [program, "extract", "--quiet", "--provider", "cpu", "--media-dir", media, "--feature-dir", directory]
        command += ["--model", place, "--output-name", "image_embeds"]
        common.run(command, env=common.environment())
        files = sorted(directory.glob("*/*/*/*.npy"), key=lambda file: file.name)
        return numpy.array([numpy.load(file) for file in files])

    def in_python(batch, **options):
        processor = transformers.AutoImageProcessor.from_pretrained(place, **options)
        session = onnxruntime.InferenceSession(graph)
        found = []
        for start in range(0, count, batch):
            pictures = [PIL.Image.open(path) for path in paths[start : start + batch]]
            inputs = processor(images=pictures, return_tensors="np")
            found.append(session.run(["image_embeds"], dict(inputs))[0])
        return numpy.concatenate(found)

    ways = {
        "simsearch": in_simsearch,
        "one by one": lambda: in_python(1, backend="pil"),
        "one by one, torchvision": lambda: in_python(1),
        "32 at a time": lambda: in_python(32, backend="pil"),
    }
    seconds, used, found = {way: [] for way in ways}, {way: [] for way in ways}, {}
    for _ in range(rounds):
        for way, run in ways.items():
            before, started = processor_seconds(), time.perf_counter()
            found[way] = run()
            seconds[way].append(time.perf_counter() - started)
            used[way].append((processor_seconds() - before) * 1000 / count)
            common.say(f"exports: {way}: {seconds[way][-1]:.1f} s, {used[way][-1]:.0f} ms of a processor a picture")
    rows = []
    for way in ways:
        cosine = (unit(found[way]) * unit(found["simsearch"])).sum(axis=1).min()
        rates = [count / one for one in seconds[way]]
        ratios = [slow / fast for slow, fast in zip(seconds[way], seconds["simsearch"])]
        rows.append([way, common.middle(rates), common.middle(ratios, 2), common.middle(used[way]), f"{cosine:.6f}"])
    head = ["CLIP ViT-B/32", "pictures/s", "simsearch is faster by", "ms of a processor a picture", "least cosine to it"]
    common.table(head, rows)


def processor_seconds():
    """What this process and those that it has waited for have used."""
    return sum(os.times()[:4])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only the functions `of_…` here whose names have this word in them")
    parser.add_argument("--processors", action="store_true", help="compare the values that processors make")
    parser.add_argument("--speed", action="store_true", help="time CLIP ViT-B/32")
    parser.add_argument("--objects", type=int, default=760, help="how many pictures --speed takes")
    parser.add_argument("--rounds", type=int, default=3, help="how often --speed times each way")
    parser.add_argument("--program", type=pathlib.Path, default=common.PROGRAM)
    arguments = parser.parse_args()
    shared = common.shared_folder()
    enter_environment()
    import_packages()
    with common.work_folder("exports") as work:
        program, work = arguments.program.resolve(), pathlib.Path(work)
        if arguments.speed:
            print(common.describe_machine(), end="\n\n", flush=True)
            time_clip(program, shared, work, arguments.objects, arguments.rounds)
        elif arguments.processors:
            check_processors(Checker(program, shared, work))
        else:
            check_all(Checker(program, shared, work), arguments.only)


def import_packages():
    """What only the environment has."""
    warnings.simplefilter("ignore")
    for name in ("keras", "numpy", "onnx", "onnxruntime", "PIL.Image", "timm", "tokenizers", "torch", "transformers"):
        globals()[name.split(".")[0]] = __import__(name)


if __name__ == "__main__":
    main()
