#!/usr/bin/env bash
# jpeg-js (here by itself and in jimp and image-js): a JPEG that holds red, green and blue comes out in false colours.
#
# Guess: a JPEG of three components whose Adobe marker says that they were not transformed (0), and whose components
# are named R, G and B, comes out as it was saved. libjpeg and browsers look at either sign.
#
# Seen with jpeg-js 0.4.4, jimp 1.6.1 and image-js 1.7.0 (each the newest): red, green and blue are taken for
# brightness and two colour differences, so that white (255, 255, 255) comes out as (255, 120, 255), a pink. There is
# no error. The README says that without `colorTransform` "the default behavior encoded in metadata" holds. Pillow
# (`keep_rgb=True`) writes the file here; Pillow and sharp read it right. (`getData` in `lib/decoder.js`: the marker
# counts only where it is not 0.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip --disable-pip-version-check install --quiet --target "$work/packages" pillow==13.0.0
npm install --silent --ignore-scripts --no-audit --no-fund jpeg-js@0.4.4 jimp@1.6.1 image-js@1.7.0 sharp@0.35.5
PYTHONPATH="$work/packages" python3 - <<'END'
from PIL import Image

picture = Image.new("RGB", (32, 16), (255, 255, 255))
picture.paste((200, 100, 50), (16, 0, 32, 16))
picture.save("ycc.jpg", quality=95, subsampling=0)
picture.save("rgb.jpg", quality=95, keep_rgb=True)
file = open("rgb.jpg", "rb").read()
adobe = file.index(b"Adobe")
frame = file.index(b"\xff\xc0")
print("Adobe marker:", file[adobe + 11], "components:", [chr(file[frame + 10 + 3 * number]) for number in range(3)])
assert file[adobe + 11] == 0 and file[frame + 10 : frame + 19 : 3] == b"RGB"
for name in ("ycc.jpg", "rgb.jpg"):
    for at in ((8, 8), (24, 8)):
        pairs = zip(Image.open(name).getpixel(at), picture.getpixel(at))
        assert all(abs(found - expected) < 8 for found, expected in pairs)
END
cat >read.mjs <<'END'
import assert from 'node:assert';
import fs from 'node:fs';
import { decode } from 'image-js';
import { Jimp } from 'jimp';
import jpeg from 'jpeg-js';
import sharp from 'sharp';

const readers = {
    'jpeg-js': (file) => jpeg.decode(file).data,
    jimp: async (file) => (await Jimp.fromBuffer(file)).bitmap.data,
    'image-js': (file) => decode(file).convertColor('RGBA').getRawImage().data,
    sharp: async (file) => sharp(file).ensureAlpha().raw().toBuffer(),
};
const near = (found, expected) => found.every((value, at) => Math.abs(value - expected[at]) < 8);
for (const [name, read] of Object.entries(readers)) {
    const version = JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version;
    for (const file of ['ycc.jpg', 'rgb.jpg']) {
        const data = await read(fs.readFileSync(file));
        const [white, brown] = [8, 24].map((x) => Array.from(data.slice(4 * x, 4 * x + 3)));
        console.log(`${name} ${version}, ${file}: expected 255,255,255 and 200,100,50, seen ${white} and ${brown}`);
        const wrong = file === 'rgb.jpg' && name !== 'sharp';
        assert(near(white, wrong ? [255, 120, 255] : [255, 255, 255]), name);
        assert(near(brown, wrong ? [90, 255, 150] : [200, 100, 50]), name);
    }
}
END
node read.mjs
