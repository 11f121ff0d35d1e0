#!/usr/bin/env python3
"""Makes resample.ptx of resample.cu with NVIDIA's run-time compiler, which needs no GPU.

    compile.py      fetches the compiler with pip

PTX is text that the driver compiles for the card it finds; this version of it is read by drivers since 530.
"""
import ctypes
import pathlib
import subprocess
import sys
import tempfile
import zipfile

COMPILER = "nvidia-cuda-nvrtc-cu12==12.1.105"
ARCHITECTURE = b"--gpu-architecture=compute_60"

here = pathlib.Path(__file__).resolve().parent
with tempfile.TemporaryDirectory() as scratch:
    scratch = pathlib.Path(scratch)
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, COMPILER]
    subprocess.run(fetch, check=True)
    for wheel in scratch.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(scratch)
    libraries = scratch / "nvidia" / "cuda_nvrtc" / "lib"
    ctypes.CDLL(str(libraries / "libnvrtc-builtins.so.12.1"), mode=ctypes.RTLD_GLOBAL)
    compiler = ctypes.CDLL(str(libraries / "libnvrtc.so.12"))
    compiler.nvrtcGetErrorString.restype = ctypes.c_char_p

    def check(status):
        if status:
            size = ctypes.c_size_t()
            compiler.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            compiler.nvrtcGetProgramLog(program, log)
            sys.exit(f"{compiler.nvrtcGetErrorString(status).decode()}\n{log.value.decode()}")

    program = ctypes.c_void_p()
    source = (here / "resample.cu").read_bytes()
    check(compiler.nvrtcCreateProgram(ctypes.byref(program), source, b"resample.cu", 0, None, None))
    check(compiler.nvrtcCompileProgram(program, 1, (ctypes.c_char_p * 1)(ARCHITECTURE)))
    size = ctypes.c_size_t()
    check(compiler.nvrtcGetPTXSize(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    check(compiler.nvrtcGetPTX(program, text))
(here / "resample.ptx").write_bytes(text.value.rstrip(b"\0"))
