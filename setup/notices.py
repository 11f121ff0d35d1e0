#!/usr/bin/env python3
"""Writes the licences of everything that is inside the program.

    notices.py FILE [options of cargo that choose features]

The crates are those that `cargo metadata` says the program is linked from on this machine, and their licences are the
files that each has in its source, where code of others that a crate brings along (libjpeg-turbo, zstd) has its own.
Fails when a crate has none, so that nothing gets into the program without its notice.
"""
import json
import pathlib
import re
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parent.parent
# README.ijg: the licence of libjpeg.
NOTICE = re.compile(r"(licen[cs]e|unlicense|copying|copyright|notice).*(?<!\.rs)(?<!\.rtf)|README\.ijg", re.IGNORECASE)
# Crates without a licence in their source, and where the same text is: another crate, and its file.
SAME_AS = {
    "alloc-stdlib": ("alloc-no-stdlib", "LICENSE"),
    "libdav1d-sys": ("libdav1d-sys", "vendor/COPYING"),  # dav1d's, which is the same
    "maud": ("clap", "LICENSE-APACHE"),
    "maud_macros": ("clap", "LICENSE-APACHE"),
    "turbojpeg-sys": ("memchr", "UNLICENSE"),
    "usearch": ("clap", "LICENSE-APACHE"),
}
# What zstd offers as well as the BSD licence that is chosen here: the GPL.
NOT_CHOSEN = {"zstd/COPYING"}
# What is not built into the program.
NOT_BUILT = {"tests", "test", "examples", "benches"}

HEAD = """\
Third-party notices for simsearch

simsearch itself is under the MIT licence or the Apache licence 2.0, at your option: LICENSE-MIT, LICENSE-APACHE.
The program also contains the parts below, and the standard library of Rust (MIT or Apache licence 2.0, copyright of The
Rust Project contributors). This software is based in part on the work of the Independent JPEG Group.

"""


def output_of(*command: str) -> str:
    return subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked_crates(features: list[str]) -> list[dict]:
    """The crates that the program is linked from; not those that only build it: macros, build scripts, tests."""
    (host,) = re.findall("^host: (.*)$", output_of("rustc", "-vV"), re.MULTILINE)
    platform = ["--format-version=1", "--locked", f"--filter-platform={host}"]
    metadata = json.loads(output_of("cargo", "metadata", *platform, *features))
    packages = {package["id"]: package for package in metadata["packages"]}
    needs = {
        node["id"]: [
            need["pkg"] for need in node["deps"] if any(kind["kind"] is None for kind in need["dep_kinds"])
        ]
        for node in metadata["resolve"]["nodes"]
    }
    root = metadata["resolve"]["root"]
    found, open_ids = set(), [root]
    while open_ids:
        crate = open_ids.pop()
        is_macro = any("proc-macro" in target["kind"] for target in packages[crate]["targets"])
        if crate not in found and not is_macro:
            found.add(crate)
            open_ids += needs[crate]
    return sorted((packages[crate] for crate in found - {root}), key=lambda package: package["name"])


def folder(crate: dict) -> pathlib.Path:
    return pathlib.Path(crate["manifest_path"]).parent


def notices(crate: dict, crates: list[dict]) -> list[pathlib.Path]:
    top = folder(crate)
    files = [file for file in sorted(top.rglob("*")) if file.is_file() and NOTICE.fullmatch(file.name)]
    files = [file for file in files if str(file.relative_to(top)) not in NOT_CHOSEN]
    files = [file for file in files if NOT_BUILT.isdisjoint(file.relative_to(top).parts)]
    if not any(file.parent == top for file in files):
        if crate["name"] not in SAME_AS:
            sys.exit(f"notices: {top} has no licence file; add {crate['name']} to SAME_AS in {__file__}")
        other, name = SAME_AS[crate["name"]]
        (other,) = [one for one in crates if one["name"] == other]
        files.insert(0, folder(other) / name)
    return files


def main() -> None:
    destination, features = pathlib.Path(sys.argv[1]), sys.argv[2:]
    crates = linked_crates(features)
    sections: dict[str, tuple[str, list[str]]] = {}  # words of a text: the text, and what is under it
    for crate in crates:
        for file in notices(crate, crates):
            text = file.read_text(errors="replace").strip("\n")
            inside = file.parent.name if file.parent.parent == folder(crate) else ""
            label = f"{crate['name']} {crate['version']}" + (f" ({inside})" if inside else "")
            _, labels = sections.setdefault(" ".join(text.split()), (text, []))
            if label not in labels:
                labels.append(label)
    lines = [f"{crate['name']} {crate['version']}: {crate['license']}" for crate in crates]
    parts = [HEAD, "\n".join(lines), "\n"]
    for text, labels in sections.values():
        parts.append(f"\n{'=' * 80}\n{', '.join(labels)}\n{'-' * 80}\n\n{text}\n")
    destination.parent.mkdir(parents=True, exist_ok=True)
    destination.write_text("".join(parts))
    print(f"notices: {len(crates)} crates, {len(sections)} texts in {destination}")


if __name__ == "__main__":
    main()
