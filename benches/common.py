"""What the benchmarks share: the shared data, trees of objects, and tables."""
import datetime
import hashlib
import os
import pathlib
import platform
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = PROJECT / "target" / "release" / "simsearch"
PYTHON = PROJECT / ".python" / "python"
REFERENCE_MODEL = "mobilenet_v3_large_random.onnx"


def shared_folder():
    """The shared pictures and models; ends the program where they are not."""
    folder = pathlib.Path(os.environ.get("SIMSEARCH_SHARED", PROJECT.parent / "shared")).resolve()
    if not (folder / "media" / "object").is_dir():
        say(f"no shared pictures and models at {folder}; SIMSEARCH_SHARED names their folder")
        sys.exit(2)
    return folder


def say(line):
    """Progress; stdout is for the tables."""
    print(line, file=sys.stderr, flush=True)


def environment(**additions):
    """The environment without what would set options of simsearch."""
    options = {"MEDIA_DIR", "FEATURE_DIR", "ONNX_MODEL_PATH", "ORT_DYLIB_PATH"}
    kept = {name: value for name, value in os.environ.items() if name not in options}
    return kept | {name: str(value) for name, value in additions.items()}


def work_folder(name, parent=PROJECT / "target"):
    """A fresh folder, by default on the disk of the project, removed at the end of the program and not before.

    On ext4, removing thousands of files makes the creation of files slower for half a minute: a benchmark that cleans
    up between its runs times the cleaning of the run before.
    """
    parent.mkdir(exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=f"{name}-", dir=parent)


def object_paths(count):
    """Sorted paths of objects below a media tree, named as by SHA-1."""
    names = (hashlib.sha1(str(index).encode()).hexdigest() for index in range(count))
    return sorted(f"object/{name[:2]}/{name[2:4]}/{name}.jpg" for name in names)


def make_media(folder, count, originals):
    """A media tree of `count` objects, hard links of the originals in turn, and its list.

    The originals are copied once: a link needs them on the same disk, and ext4 allows 65,000 to a file.
    """
    copies = []
    folder.mkdir(parents=True)
    for number in range(max(len(originals), count // 60_000 + 1)):
        copies.append(folder / f"original{number}")
        shutil.copyfile(originals[number % len(originals)], copies[-1])
    paths = object_paths(count)
    for index, path in enumerate(paths):
        link(copies[index % len(copies)], folder / path)
    (folder / "objects.txt").write_text("".join(f"{path}\n" for path in paths))
    return folder


def make_features(folder, paths, length=1280):
    """A complete feature file for every object, each a file of its own."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({length},), }}"
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + f"{header:<117}\n".encode()
    data = os.urandom(4 * length)
    # Of the four bytes of a float the last one holds the exponent: 1 to 2, and never NaN.
    values = start + b"".join(data[at : at + 2] + b"\x80\x3f" for at in range(0, len(data), 4))
    for path in paths:
        name = path.rsplit("/", 1)[1]
        file = folder / name[:2] / name[2:4] / f"{name}.npy"
        make_parent(file)
        file.write_bytes(values)


def make_parent(path):
    try:
        path.parent.mkdir()
    except FileExistsError:
        pass
    except FileNotFoundError:
        path.parent.mkdir(parents=True)


def link(original, path):
    make_parent(path)
    os.link(original, path)


def middle(values, digits=1):
    """Median, least and greatest."""
    low, median, high = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return median if len(values) == 1 else f"{median} ({low}–{high})"


def table(head, rows):
    """Prints a Markdown table."""
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def describe_machine():
    """One line on the machine and the moment."""
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    models = {line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.date.today()}; {', '.join(sorted(models)) or platform.machine()}, {cores()} cores, "
        f"{memory:.0f} GiB, Linux {platform.release()}; "
        f"load average at the beginning {os.getloadavg()[0]:.2f}"
    )


def cores():
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def runtime_version(folder):
    """The version in the name of the library, which has its full name only behind the links."""
    return (folder / "libonnxruntime.so").resolve().name.removeprefix("libonnxruntime.so.")


def run(command, **options):
    """Runs a command to its end; what it prints is shown when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout
