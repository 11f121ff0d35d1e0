#!/bin/sh
# transformers: an image processor that is saved into a folder is not the one that is loaded from there.
#
# Guess: what `save_pretrained` of an image processor writes into a folder is what `from_pretrained` reads from it, also where
# the folder held a processor of pictures and words before.
#
# Seen with transformers 5.24.0: `CLIPProcessor.save_pretrained` writes the image processor into `processor_config.json`, and no
# `preprocessor_config.json`. `CLIPImageProcessor.save_pretrained` then writes `preprocessor_config.json` beside it, without a
# word, and every loader, that of the image processor itself included, goes on with the old one. Tools that know
# `preprocessor_config.json` alone take the new one: one folder, two models' inputs.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" \
    numpy==2.4.6 pillow==13.0.0 tokenizers==0.23.2 transformers==5.24.0
PYTHONPATH="$work/packages" TRANSFORMERS_VERBOSITY=error python3 - "$work/model" <<'END'
import json
import pathlib
import sys

import tokenizers
import transformers
from transformers import CLIPImageProcessorPil, CLIPProcessor

folder = pathlib.Path(sys.argv[1])


def of_size(side):
    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


words = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "<|endoftext|>": 1}, []))
end = "<|endoftext|>"
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token=end, pad_token=end, unk_token=end)
CLIPProcessor(image_processor=of_size(32), tokenizer=tokenizer).save_pretrained(folder)
first = sorted(path.name for path in folder.iterdir())
of_size(64).save_pretrained(folder)
written = json.loads((folder / "preprocessor_config.json").read_text())["size"]["shortest_edge"]
read = {
    "CLIPImageProcessorPil": CLIPImageProcessorPil.from_pretrained(folder).size.shortest_edge,
    "AutoImageProcessor": transformers.AutoImageProcessor.from_pretrained(folder, backend="pil").size.shortest_edge,
    "CLIPProcessor": CLIPProcessor.from_pretrained(folder).image_processor.size.shortest_edge,
}
print("transformers", transformers.__version__)
print("a processor of pictures of 32 and words writes:", *first)
print("an image processor of 64, saved there, writes:", written)
print("loaded from there:", *(f"{name} of {side}" for name, side in read.items()))
assert "preprocessor_config.json" not in first and "processor_config.json" in first, first
assert written == 64, written
assert set(read.values()) == {32}, read
END
